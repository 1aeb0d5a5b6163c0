"""Registries with every kind of access, and the judges, seen to work with each other.

The product has no part in it. A machine that cannot have the programs skips, and says why.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import pytest

from tests.harness import Unavailable, cache, debian, images, judges
from tests.harness.judges import JUDGES, Crane, Judge, Oras, Skopeo
from tests.harness.leaks import open_files
from tests.harness.realm import Asked, Realm
from tests.harness.registry import Registry
from tests.harness.tls import Files

pytestmark = [pytest.mark.registry, pytest.mark.turns(3)]

T = TypeVar("T")
Open = Callable[[AbstractContextManager[T]], T]

SECRET = "hush-canary"
USERS = {"user": SECRET, "reader": "r"}
IMAGE = images.index_of(
    {name: images.scratch({"a": name.encode()}) for name in ("linux/amd64", "linux/s390x")}
)
OTHER = images.scratch({"a": b"other"})


def have(name: str) -> None:
    """Skip if a program cannot be had; one that is there has to work."""
    try:
        debian.program(name, prefer_path=name == "openssl")
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    """What every test needs."""
    for name in ("docker-registry", "htpasswd", "openssl"):
        have(name)


@pytest.fixture
def opened() -> Iterator[Callable[[Any], Any]]:
    """Opens registries and realms, and closes them at the end."""
    with ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture(params=JUDGES, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[Judge]:
    """Each of the judges."""
    found: type[Judge] = request.param
    have(found.name)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Certificates."""
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image as a folder."""
    return images.write_layout(IMAGE, tmp_path_factory.mktemp("layout"), "latest")


def all_works(judge: Judge, layout: Path, repository: str) -> None:
    judge.push(layout, f"{repository}:1")
    judge.copy(f"{repository}:1", f"{repository}-copy:2")
    assert judge.manifest(f"{repository}-copy:2") == IMAGE.blobs[IMAGE.digest]
    assert judge.digest(f"{repository}@{IMAGE.digest}") == IMAGE.digest
    judge.copy(f"{repository}:1", f"{repository}:0")
    assert judge.tags(repository) == ["0", "1"]


def ask(
    url: str, form: Mapping[str, str] | None = None, authorization: str = ""
) -> tuple[int, http.client.HTTPMessage, Any]:
    """GET, or POST a form; returns the status, the headers and the JSON, if it is JSON."""
    place = urlsplit(url)
    with closing(http.client.HTTPConnection(place.netloc, timeout=10)) as connection:
        method, body = ("GET", None) if form is None else ("POST", urlencode(form))
        headers = {"Authorization": authorization} if authorization else {}
        connection.request(method, f"{place.path}?{place.query}", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        is_json = answer.headers.get_content_subtype() == "json"
        return answer.status, answer.headers, json.loads(said) if is_json else None


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def use(registry: Registry, token: str) -> int:
    """The registry's status for the tags of app."""
    url = f"{registry.url}/v2/app/tags/list"
    return ask(url, authorization=f"Bearer {token}")[0]


@pytest.mark.parametrize("name", ["host", "localhost"])
def test_judges_over_plain_http(
    kind: type[Judge], name: str, layout: Path, opened: Open[Registry]
) -> None:
    registry = opened(Registry())
    host: str = getattr(registry, name)
    all_works(kind(plain=[host]), layout, f"{host}/app")


def test_uploads_go_on_under_the_name_that_was_asked(opened: Open[Registry]) -> None:
    registry = opened(Registry())
    for host in (registry.host, registry.localhost):
        status, headers, _ = ask(f"http://{host}/v2/app/blobs/uploads/", {})
        assert status == 202
        assert urlsplit(headers["Location"]).netloc == host


def test_a_judge_is_not_waited_for_without_end(kind: type[Judge]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(subprocess.TimeoutExpired, match=r"after 0\.\d+ seconds"):
            kind(plain=[host], timeout=0.5).digest(f"{host}/app:1")


def test_a_judge_fails_in_words(
    kind: type[Judge], opened: Open[Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = opened(Registry())
    ref = images.push(OTHER, registry.host, "app", "1")
    judge = kind(plain=[registry.host])
    with pytest.raises(RuntimeError, match=rf"(?i){kind.name} [\w-]+ exited .*(404|name.unknown)"):
        judge.tags(f"{registry.host}/no/such")
    size = len(judge.manifest(ref))
    monkeypatch.setattr(judges, "_MAX_OUTPUT", size)
    assert len(judge.manifest(ref)) == size
    monkeypatch.setattr(judges, "_MAX_OUTPUT", size - 1)
    with pytest.raises(RuntimeError, match="more than"):
        judge.manifest(ref)


def test_judges_with_a_password(kind: type[Judge], layout: Path, opened: Open[Registry]) -> None:
    registry = opened(Registry(("user", SECRET)))
    host = registry.host
    all_works(kind(plain=[host], logins={host: ("user", SECRET)}), layout, f"{host}/app")
    wrong = kind(plain=[host], logins={host: ("user", f"not-{SECRET}")})
    with pytest.raises(RuntimeError, match=r"(?i)unauthorized") as caught:
        wrong.digest(f"{host}/app:1")
    assert SECRET not in str(caught.value) + repr(wrong)


def test_judges_do_not_read_the_files_of_the_user(
    kind: type[Judge], opened: Open[Registry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = opened(Registry(("user", SECRET)))
    images.push(OTHER, registry.host, "app", "1", ("user", SECRET))
    monkeypatch.setenv(cache.VARIABLE, str(cache.folder()))
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    path = tmp_path / ".docker" / "config.json"
    monkeypatch.setenv("DOCKER_CONFIG", str(path.parent))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
    path.parent.mkdir()
    auth = basic("user", SECRET).partition(" ")[2]
    path.write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
    with pytest.raises(RuntimeError, match=r"(?i)unauthorized|not found"):
        kind(plain=[registry.host]).digest(f"{registry.host}/app:1")
    assert list(tmp_path.rglob("*")) == [path.parent, path]


def test_judges_over_tls(
    kind: type[Judge], layout: Path, files: Files, opened: Open[Registry]
) -> None:
    registry, plain = opened(Registry(tls=files.server)), opened(Registry())
    assert registry.url == f"https://{registry.host}"
    judge = kind(plain=[plain.host], authority=files.authority.certificate)
    for host in (registry.host, registry.localhost):
        all_works(judge, layout, f"{host}/app")
    judge.copy(images.push(OTHER, plain.host, "app", "1"), f"{registry.host}/app:plain")
    assert judge.digest(f"{registry.host}/app:plain") == OTHER.digest
    for other in (None, files.other.certificate):
        with pytest.raises(RuntimeError, match="unknown authority"):
            kind(authority=other).digest(f"{registry.host}/app:1")


def test_a_cut_and_its_end_over_tls(files: Files, opened: Open[Registry]) -> None:
    authority = files.authority.certificate
    registry = opened(Registry(tls=files.server, clients=authority))
    assert registry.serves()
    registry.stop()
    assert not registry.serves()
    registry.start()
    assert registry.serves()
    assert ask(f"http://{registry.host}/v2/")[0] == 400


@pytest.mark.parametrize("sort", [Skopeo, Oras])
def test_judges_show_their_certificate(
    sort: type[Judge], layout: Path, files: Files, opened: Open[Registry]
) -> None:
    have(sort.name)
    authority = files.authority.certificate
    registry = opened(Registry(tls=files.server, clients=authority))
    all_works(sort(authority=authority, client=files.client), layout, f"{registry.host}/app")
    for other in (None, files.stranger):
        with pytest.raises(RuntimeError, match="https://"):  # the words differ each time
            sort(authority=authority, client=other).digest(f"{registry.host}/app:1")


def test_what_cannot_be(files: Files) -> None:
    with pytest.raises(ValueError, match="certificates"):
        Registry(clients=files.authority.certificate)
    with pytest.raises(ValueError, match="crane"):
        Crane(client=files.client).digest("127.0.0.1:1/a:b")


@pytest.mark.parametrize("safe", [False, True], ids=["http", "https"])
def test_judges_with_tokens(
    kind: type[Judge], safe: bool, layout: Path, files: Files, opened: Open[Any]
) -> None:
    tls = files.server if safe else None
    realm = opened(Realm(USERS, tls=tls))
    registry = opened(Registry(realm, tls=tls))
    host = registry.host
    way: Any = {"authority": files.authority.certificate} if safe else {"plain": [host]}
    all_works(kind(**way, logins={host: ("user", SECRET)}), layout, f"{host}/app")
    assert {one.status for one in realm.asked} == {200}
    assert all(one.credentials for one in realm.asked)
    assert kind(**way).digest(f"{host}/app:1") == IMAGE.digest
    assert realm.asked[-1] == Asked("GET", ("repository:app:pull",), "", False, 200)
    with pytest.raises(RuntimeError, match=r"(?i)unauthorized|denied"):
        kind(**way).push(layout, f"{host}/other:1")
    with pytest.raises(RuntimeError, match=r"(?i)unauthorized|denied|401"):
        kind(**way, logins={host: ("user", "wrong")}).digest(f"{host}/app:1")
    assert realm.asked[-1].status == 401


def test_the_rule_decides(layout: Path, opened: Open[Any]) -> None:
    have("oras")
    seen = []

    def may(user: str, name: str, action: str) -> bool:
        seen.append((user, name, action))
        return action == "pull" or (user == "user" and name.startswith("team/"))

    registry = opened(Registry(opened(Realm(USERS, may=may))))
    host = registry.host
    user = Oras(plain=[host], logins={host: ("user", SECRET)})
    user.push(layout, f"{host}/team/app:1")
    assert ("user", "team/app", "push") in seen
    for judge in (user, Oras(plain=[host], logins={host: ("reader", "r")})):
        with pytest.raises(RuntimeError, match=r"(?i)unauthorized"):
            judge.copy(f"{host}/team/app:1", f"{host}/mine/app:1")


def test_no_password_is_an_argument(kind: type[Judge], opened: Open[Any]) -> None:
    running: list[bytes] = []

    def may(*_: str) -> bool:  # is asked while the judge waits for its token
        for path in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
            with suppress(OSError):  # it has ended
                running.append(path.read_bytes())
        return True

    registry = opened(Registry(opened(Realm(USERS, may=may))))
    host = registry.host
    with pytest.raises(RuntimeError):
        kind(plain=[host], logins={host: ("user", SECRET)}).digest(f"{host}/app:1")
    assert [one for one in running if f"{host}/app".encode() in one]
    encoded = basic("user", SECRET).partition(" ")[2]
    assert not [one for one in running if SECRET.encode() in one or encoded.encode() in one]


PASSWORD = {"grant_type": "password", "username": "user", "password": SECRET}
FOR_APP = {"service": Realm.service, "scope": "repository:app:pull registry:catalog:*"}


def test_forms_get_tokens(opened: Open[Any]) -> None:
    realm = opened(Realm(USERS))
    registry = opened(Registry(realm))
    status, headers, _ = ask(f"{registry.url}/v2/app/tags/list")
    assert status == 401
    assert f'realm="{realm.url}",service="{realm.service}"' in headers["Www-Authenticate"]
    status, _, said = ask(realm.url, {**FOR_APP, **PASSWORD, "access_type": "offline"})
    assert (status, said["expires_in"]) == (200, 300)
    assert use(registry, said["access_token"]) == 404  # it may come in, but nothing is there
    fresh = {"grant_type": "refresh_token", "refresh_token": said["refresh_token"]}
    kept = {**fresh, "refresh_token": realm.refresh_token("reader")}
    for form in (fresh, kept):
        status, _, said = ask(realm.url, {**FOR_APP, **form})
        assert (status, "refresh_token" in said) == (200, False)
        assert use(registry, said["access_token"]) == 404
    scopes = ("repository:app:pull", "registry:catalog:*")
    assert realm.asked == [
        Asked("POST", scopes, grant, True, 200)
        for grant in ("password", "refresh_token", "refresh_token")
    ]
    assert SECRET not in repr(realm.asked) + repr(realm)


def test_queries_get_tokens(opened: Open[Any]) -> None:
    realm = opened(Realm(USERS))
    registry = opened(Registry(realm))
    query = urlencode([("service", realm.service), ("scope", "repository:app:pull")])
    for login in ("", basic("user", SECRET)):
        status, _, said = ask(f"{realm.url}?{query}&offline_token=true", authorization=login)
        assert (status, "refresh_token" in said) == (200, bool(login))
        assert use(registry, said["token"]) == 404
    for wrong in (query.replace("service=", "service=no-"), query.replace("scope=", "no-scope=")):
        assert use(registry, ask(f"{realm.url}?{wrong}")[2]["token"]) == 401


def test_refusals_of_the_realm(opened: Open[Any]) -> None:
    realm = opened(Realm(USERS, anonymous=False))
    wrong = {**PASSWORD, "password": "wrong"}
    stale = {"grant_type": "refresh_token", "refresh_token": "made up"}
    answers = [
        ask(realm.url)[0],
        ask(realm.url, authorization=basic("user", "wrong"))[0],
        ask(realm.url, authorization=basic("nobody", ""))[0],
        ask(realm.url, authorization="Basic !")[0],
        *(ask(realm.url, form)[0] for form in (wrong, stale, {"grant_type": "magic"}, {})),
    ]
    assert answers == [401, 401, 401, 400, 401, 401, 400, 400]
    assert [one.status for one in realm.asked] == answers
    assert [one.credentials for one in realm.asked] == [False] + 5 * [True] + 2 * [False]
    with closing(http.client.HTTPConnection(urlsplit(realm.url).netloc, timeout=10)) as connection:
        connection.request("POST", "/token", headers={"Content-Length": str(1 << 20)})
        assert connection.getresponse().status == 413
    assert ask(realm.url + "/other")[0] == 404
    assert len(realm.asked) == len(answers)


def test_a_realm_that_takes_no_forms(opened: Open[Any]) -> None:
    realm = opened(Realm(USERS, post=False))
    assert ask(realm.url, PASSWORD)[0] == 405
    assert ask(realm.url, authorization=basic("user", SECRET))[0] == 200
    assert [one.status for one in realm.asked] == [405, 200]


@pytest.mark.parametrize(("lifetime", "status"), [(1, 404), (-61, 401)])
def test_tokens_grow_old(lifetime: int, status: int, opened: Open[Any]) -> None:
    realm = opened(Realm(USERS, lifetime=lifetime))
    registry = opened(Registry(realm))
    said = ask(realm.url, {**FOR_APP, **PASSWORD})[2]
    assert said["expires_in"] == lifetime
    assert use(registry, said["access_token"]) == status


def test_a_mirror_keeps_what_it_passed_on(kind: type[Judge], opened: Open[Registry]) -> None:
    upstream = opened(Registry())
    images.push(OTHER, upstream.host, "app", "1")
    mirror = opened(Registry(proxy=upstream.url))
    judge = kind(plain=[mirror.host])
    ref = f"{mirror.host}/app@{OTHER.digest}"
    assert judge.digest(f"{mirror.host}/app:1") == OTHER.digest
    assert judge.manifest(ref) == OTHER.blobs[OTHER.digest]
    upstream.stop()
    assert judge.manifest(ref) == OTHER.blobs[OTHER.digest]
    assert ask(f"{mirror.url}/v2/app/blobs/uploads/", {})[0] == 405


def test_nothing_stays(
    kind: type[Judge], files: Files, layout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, threads = set(open_files().items()), set(threading.enumerate())
    with tempfile.TemporaryDirectory(prefix="apart-", dir="/tmp") as place, ExitStack() as stack:
        monkeypatch.setattr(tempfile, "tempdir", place)
        realm = stack.enter_context(Realm(USERS, tls=files.server))
        registry = stack.enter_context(Registry(realm, tls=files.server))
        host, authority = registry.host, files.authority.certificate
        with pytest.raises(RuntimeError):
            kind(authority=authority).push(layout, f"{host}/app:1")
        login = {host: ("user", SECRET)}
        all_works(kind(authority=authority, logins=login), layout, f"{host}/app")
        assert sorted(path.name[:4] for path in Path(place).iterdir()) == ["ctd-", "ctd-"]
        url = realm.url
        stack.close()
        assert list(Path(place).iterdir()) == []
    with pytest.raises(OSError, match="refused"):
        ask(url)
    assert set(threading.enumerate()) == threads
    assert set(open_files().items()) == before

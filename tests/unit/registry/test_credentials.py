"""The files that hold credentials: where they are, what they may say, and what broken ones get."""

from __future__ import annotations

import base64
import json
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from containerd_lite.errors import InvalidArgument, RegistryUnauthorized
from containerd_lite.registry.credentials import Credentials, default_credentials, docker_config
from containerd_lite.registry.logins.auth_files import auth_files

ME = Credentials("me", "pass:word")
TOKEN = Credentials("", "", identity_token="refresh")
CANARY = "canary-secret"


def encoded(text: str = "me:pass:word") -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def write(path: Path, config: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(config if isinstance(config, bytes) else json.dumps(config).encode())
    return path


def look(folder: Path, config: object, host: str) -> Credentials | None:
    write(folder / "config.json", config)
    return docker_config(host, {"DOCKER_CONFIG": str(folder), "PATH": f"{folder}:/usr/bin:/bin"})


# ---- the record --------------------------------------------------------------------------------


def test_it_shows_no_secret_but_to_who_asks() -> None:
    both = Credentials("me", CANARY, identity_token="canary-token")
    assert repr(both) == str(both) == "Credentials()"
    basic = base64.b64encode(b"me:canary-secret").decode()
    assert both.basic() == f"Basic {basic}"
    assert both.secrets == (CANARY, basic, "canary-token")
    assert TOKEN.secrets == ("refresh",)
    assert Credentials("", "").secrets == ()
    assert TOKEN.basic() == Credentials("me", "", identity_token="refresh").basic() == ""


def test_it_is_a_value() -> None:
    for one in (ME, TOKEN):
        assert pickle.loads(pickle.dumps(one)) == one
    assert Credentials("", "") != TOKEN
    assert len({ME, Credentials("me", "pass:word"), TOKEN}) == 2
    with pytest.raises(InvalidArgument, match="colon"):
        Credentials("a:b", "c")


# ---- auths -------------------------------------------------------------------------------------

KEYS = [
    ("quay.io", "quay.io"),
    ("https://quay.io", "quay.io"),
    ("http://quay.io", "quay.io"),
    ("https://quay.io/v1/", "quay.io"),
    ("quay.io/", "quay.io"),
    ("localhost:5000", "localhost:5000"),
    ("[::1]:5000", "[::1]:5000"),
    ("https://index.docker.io/v1/", "docker.io"),
    ("https://index.docker.io/v1/", "registry-1.docker.io"),
    ("index.docker.io", "docker.io"),
    ("docker.io", "docker.io"),
    ("docker.io", "index.docker.io"),
    ("registry-1.docker.io", "docker.io"),
]


@pytest.mark.parametrize(("key", "host"), KEYS)
def test_found(tmp_path: Path, key: str, host: str) -> None:
    config = {"auths": {"other.example": encoded("other:x"), key: encoded()}}
    assert look(tmp_path, config, host) == ME
    environ = {"REGISTRY_AUTH_FILE": str(tmp_path / "config.json")}
    assert default_credentials(host, environ) == ME


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"auths": None},
        {"auths": {}},
        {"auths": {"quay.io": {}}},
        {"auths": {"quay.io": None}},
        {"auths": {"quay.io": {"auth": ""}}},
        {"auths": {"quay.io": {"username": "me"}}},
        {"auths": {"quay.io": {"password": "x"}}},
        {"auths": {"quay.io": encoded("me:")}},
        {"auths": {"quay.io:443": encoded()}},
        {"auths": {"evil.quay.io": encoded()}},
        {"auths": {"quay.io.evil": encoded()}},
        {"auths": {"https://evil/quay.io": encoded()}},
        {"auths": {"https://evil/x://quay.io": encoded()}},
        {"auths": {"https://index.docker.io/v1/": encoded()}},
        {"credHelpers": None, "credsStore": None},
        {"credsStore": "", "credHelpers": {"docker.io": "missing"}},
    ],
)
def test_not_found(tmp_path: Path, config: object) -> None:
    assert look(tmp_path, config, "quay.io") is None


def test_an_exact_key_comes_first(tmp_path: Path) -> None:
    auths = {"https://quay.io": encoded("other:x"), "quay.io": encoded()}
    assert look(tmp_path, {"auths": auths}, "quay.io") == ME
    auths = {"docker.io": encoded("other:x"), "https://index.docker.io/v1/": encoded()}
    assert look(tmp_path, {"auths": auths}, "docker.io") == ME


def test_an_empty_entry_hides_no_other(tmp_path: Path) -> None:
    auths = {"quay.io": {}, "https://quay.io/v1/": encoded()}
    assert look(tmp_path, {"auths": auths}, "quay.io") == ME


def test_plain_fields_and_padding(tmp_path: Path) -> None:
    plain = {"username": "me", "password": "pass:word"}
    assert look(tmp_path, {"auths": {"a.b": plain}}, "a.b") == ME
    assert look(tmp_path, {"auths": {"a.b": {**plain, "auth": ""}}}, "a.b") == ME
    assert look(tmp_path, {"auths": {"a.b": {**encoded(), "username": "other"}}}, "a.b") == ME
    assert look(tmp_path, {"auths": {"a.b": encoded("me:pass:word\0\0")}}, "a.b") == ME


def test_identity_tokens(tmp_path: Path) -> None:
    token = {"identitytoken": "refresh"}
    assert look(tmp_path, {"auths": {"a.b": token}}, "a.b") == TOKEN
    found = look(tmp_path, {"auths": {"a.b": {**encoded("me:"), **token}}}, "a.b")
    assert found == Credentials("me", "", identity_token="refresh")
    found = look(tmp_path, {"auths": {"a.b": {**encoded(), **token}}}, "a.b")
    assert found == Credentials("me", "pass:word", identity_token="refresh")


def test_only_dockers_file_takes_the_key_of_a_repository_for_the_host(tmp_path: Path) -> None:
    auths = {"quay.io/team": encoded("team:x"), "quay.io/team/app": encoded("app:x")}
    assert look(tmp_path, {"auths": auths}, "quay.io") == Credentials("team", "x")
    environ = {"REGISTRY_AUTH_FILE": str(write(tmp_path / "auth.json", {"auths": auths}))}
    assert default_credentials("quay.io", environ) is None
    write(tmp_path / "auth.json", {"auths": {**auths, "quay.io": encoded()}})
    assert default_credentials("quay.io", environ) == ME
    write(tmp_path / "auth.json", {"credHelpers": {"quay.io/team": "missing"}})
    assert default_credentials("quay.io", environ) is None


# ---- helpers -----------------------------------------------------------------------------------

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes a helper that notes what it is asked for, then runs ``script``."""

    def put(name: str, user: str = "me", secret: str = "pass:word", script: str = "") -> Path:
        answer = json.dumps({"ServerURL": "", "Username": user, "Secret": secret})
        log = tmp_path / f"asked-{name}"
        path = tmp_path / f"docker-credential-{name}"
        path.write_text(
            f"#!/bin/sh\ncat >> {log}; echo >> {log}\n" + (script or f"echo '{answer}'") + "\n"
        )
        path.chmod(0o755)
        return log

    return put


NONE = "echo 'credentials not found in native keychain'; exit 1"
BROKEN = f"echo {CANARY}; echo {CANARY} >&2; exit 1"


@pytest.mark.parametrize(("key", "host"), KEYS)
def test_the_hosts_helper_is_asked(tmp_path: Path, put: Put, key: str, host: str) -> None:
    log = put("mine")
    config = {"credHelpers": {"other.example": "missing", key: "mine"}, "credsStore": "missing"}
    assert look(tmp_path, config, host) == ME
    server = "https://index.docker.io/v1/" if "docker" in host else host
    assert log.read_text() == f"{server}\n"


def test_the_store_is_asked_about_all_other_hosts(tmp_path: Path, put: Put) -> None:
    log = put("store")
    config = {"credHelpers": {"a.b": "missing"}, "credsStore": "store", "auths": {"c.d": encoded()}}
    assert look(tmp_path, config, "c.d") == ME
    assert look(tmp_path, config, "docker.io") == ME
    assert log.read_text() == "c.d\nhttps://index.docker.io/v1/\n"


@pytest.mark.parametrize("unset", ["", None])
def test_a_host_can_be_taken_from_the_store(tmp_path: Path, unset: str | None) -> None:
    config = {"credHelpers": {"a.b": unset}, "credsStore": "missing", "auths": {"a.b": encoded()}}
    assert look(tmp_path, config, "a.b") == ME


def test_a_helper_may_have_an_identity_token(tmp_path: Path, put: Put) -> None:
    put("mine", "<token>", "refresh")
    assert look(tmp_path, {"credsStore": "mine"}, "a.b") == TOKEN


def test_a_helper_that_has_none_ends_the_look_into_its_file(tmp_path: Path, put: Put) -> None:
    log = put("none", script=NONE)
    store = put("store")
    auths = {"a.b": encoded("old:x")}
    assert look(tmp_path, {"credsStore": "none", "auths": auths}, "a.b") is None
    config = {"credHelpers": {"a.b": "none"}, "credsStore": "store", "auths": auths}
    assert look(tmp_path, config, "a.b") is None
    assert log.read_text() == "a.b\n" * 2  # the file has changed
    assert not store.exists()


@pytest.mark.parametrize("name", ["broken", "missing", "../store", "store/../store"])
@pytest.mark.parametrize("host", ["a.b", "docker.io"])
def test_no_other_secret_is_taken_where_a_helper_fails(
    tmp_path: Path, put: Put, name: str, host: str
) -> None:
    """CVE-2021-41092: one whose helper was broken sent the password of Docker Hub elsewhere."""
    put("broken", script=BROKEN)
    store = put("store", secret=CANARY)
    auths = {host: encoded(f"me:{CANARY}"), "https://index.docker.io/v1/": encoded()}
    config = {"credHelpers": {host: name}, "credsStore": "store", "auths": auths}
    podman = write(tmp_path / "containers" / "auth.json", {"auths": auths})
    write(tmp_path / "config.json", config)
    folders = {"DOCKER_CONFIG": str(tmp_path), "XDG_RUNTIME_DIR": str(podman.parents[1])}
    environ = {**folders, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    for find in (docker_config, default_credentials):
        with pytest.raises(RegistryUnauthorized, match="docker-credential-") as caught:
            find(host, environ)
        assert str(tmp_path / "config.json") in caught.value.remedy
        check_quiet(caught.value)
    assert not store.exists()


def check_quiet(error: BaseException) -> None:
    """Neither the error nor what led to it says anything of the secret."""
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    told: BaseException | None = error
    while told:
        lines += [str(told), repr(told)]
        told = told.__cause__ or told.__context__
    assert "canary" not in "".join(lines)


# ---- broken files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        b"", b"{", b"[]", b"\xff", b"canary-secret", b"[" * 100_000, b" " * (5 << 20),
        {"auths": []}, {"auths": {"a.b": "canary-secret"}}, {"auths": {"a.b": {"auth": 7}}},
        {"auths": {"a.b": {"auth": "canary-secret!"}}}, {"auths": {"a.b": {"auth": ["canary-"]}}},
        {"auths": {"a.b": encoded("canary-secret")}}, {"auths": {"a.b": encoded(":canary")}},
        {"auths": {"a.b": {"auth": "/w=="}}}, {"auths": {"a.b": {"username": ["canary-secret"]}}},
        {"auths": {"a.b": {"identitytoken": ["canary-secret"]}}},
        {"auths": {"a.b": {"username": "a:canary", "password": "canary"}}},
        {"auths": {"a.b": {"Auth": "canary"}}}, {"credsstore": "canary"},
        {"credsStore": ["canary"]}, {"credHelpers": ["canary"]}, {"credHelpers": {"x": ["canary"]}},
        b'{"auths": {"a.b": {"auth": "canary", "auth": ""}}}',
        {"auths": {"a.b": {"auth": "bWU6!eA=="}}},
    ],
)  # fmt: skip
def test_broken_files_are_named_but_not_quoted(tmp_path: Path, config: object) -> None:
    with pytest.raises(InvalidArgument, match=r"config\.json") as caught:
        look(tmp_path, config, "a.b")
    assert caught.value.remedy
    check_quiet(caught.value)
    environ = {"REGISTRY_AUTH_FILE": str(tmp_path / "config.json")}
    with pytest.raises(InvalidArgument, match=r"config\.json"):
        default_credentials("a.b", environ)


def test_entries_of_other_hosts_may_be_anything(tmp_path: Path) -> None:
    auths = {"c.d": {"auth": "!"}, "e.f": 7, "a.b": encoded()}
    assert look(tmp_path, {"auths": auths, "psFormat": [], "HttpHeaders": 7}, "a.b") == ME


@pytest.mark.parametrize("required", [False, True])
def test_what_cannot_be_read_is_an_error(tmp_path: Path, required: bool) -> None:
    path = tmp_path / "config.json"
    environ = {"REGISTRY_AUTH_FILE": str(path)} if required else {"DOCKER_CONFIG": str(tmp_path)}
    path.mkdir()
    with pytest.raises(InvalidArgument, match=r"config\.json.*cannot be read \(Is a directory\)"):
        default_credentials("a.b", environ)
    path.rmdir()
    path.symlink_to(path)
    with pytest.raises(InvalidArgument, match=r"cannot be read \(Too many levels"):
        default_credentials("a.b", environ)
    path.unlink()
    path.touch()
    os.truncate(path, 1 << 40)  # far more than fits into memory
    with pytest.raises(InvalidArgument, match="cannot be used"):
        default_credentials("a.b", environ)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InvalidArgument, match="cannot be used"):
        default_credentials("a.b", environ)
    writer = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(InvalidArgument, match="cannot be used"):
            default_credentials("a.b", environ)
    finally:
        os.close(writer)


# ---- where the files are -----------------------------------------------------------------------


def test_where_dockers_file_is(tmp_path: Path) -> None:
    assert docker_config("a.b", {"HOME": str(tmp_path)}) is None
    assert docker_config("a.b", {"DOCKER_CONFIG": str(tmp_path / "none")}) is None
    write(tmp_path / ".docker" / "config.json", {"auths": {"a.b": encoded()}})
    assert docker_config("a.b", {"HOME": str(tmp_path)}) == ME
    assert docker_config("a.b", {"HOME": str(tmp_path), "REGISTRY_AUTH_FILE": "/none"}) == ME
    (tmp_path / "link").symlink_to(tmp_path / ".docker")
    assert docker_config("a.b", {"DOCKER_CONFIG": str(tmp_path / "link")}) == ME
    (tmp_path / "file").touch()
    assert docker_config("a.b", {"DOCKER_CONFIG": str(tmp_path / "file")}) is None


def test_the_environment_is_the_process_own_unless_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "config.json", {"auths": {"a.b": encoded()}})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert docker_config("a.b") == ME
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    assert default_credentials("a.b") == ME


def test_the_first_file_with_credentials_wins(tmp_path: Path, put: Put) -> None:
    put("none", script=NONE)
    environ = {
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "PATH": f"{tmp_path}:/usr/bin:/bin",
    }
    assert default_credentials("a.b", environ) is None
    last = tmp_path / ".config" / "containers" / "auth.json"
    for place, path in [
        ("home", last),
        ("run", tmp_path / "run" / "containers" / "auth.json"),
        ("docker", tmp_path / ".docker" / "config.json"),
    ]:
        write(path, {"auths": {"a.b": {}, "c.d": encoded()}})
        assert default_credentials("c.d", environ) == ME
        write(path, {"credHelpers": {"a.b": "none"}})
        before = default_credentials("a.b", environ)
        write(path, {"auths": {"a.b": encoded(f"{place}:x")}})
        assert default_credentials("a.b", environ) == Credentials(place, "x")
        assert before != Credentials(place, "x")
    write(last, b"{")
    assert default_credentials("a.b", environ) == Credentials("docker", "x")
    with pytest.raises(InvalidArgument, match=r"auth\.json"):
        default_credentials("e.f", environ)


def test_where_podmans_files_are(tmp_path: Path) -> None:
    environ = {"HOME": "/h", "XDG_RUNTIME_DIR": "/r", "XDG_CONFIG_HOME": "/c"}
    assert [str(file.path) for file in auth_files(environ)] == [
        "/h/.docker/config.json",
        "/r/containers/auth.json",
        "/c/containers/auth.json",
    ]
    assert [str(file.path) for file in auth_files({"HOME": "/h"})] == [
        "/h/.docker/config.json",
        f"/run/containers/{os.getuid()}/auth.json",
        "/h/.config/containers/auth.json",
    ]


def test_a_registry_auth_file_is_the_only_one_and_must_be_there(tmp_path: Path) -> None:
    write(tmp_path / ".docker" / "config.json", {"auths": {"a.b": encoded()}})
    own = write(tmp_path / "own.json", {"auths": {"c.d": encoded("own:x")}})
    environ = {"HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(own)}
    assert default_credentials("c.d", environ) == Credentials("own", "x")
    assert default_credentials("a.b", environ) is None
    for missing in ("none.json", "own.json/none"):
        environ["REGISTRY_AUTH_FILE"] = str(tmp_path / missing)
        with pytest.raises(InvalidArgument, match=r"\$REGISTRY_AUTH_FILE.*no such file") as caught:
            default_credentials("a.b", environ)
        assert "unset it" in caught.value.remedy
    environ["REGISTRY_AUTH_FILE"] = ""
    assert default_credentials("a.b", environ) == ME

"""Login and logout: what registries are asked, and what becomes of files and of real helpers."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import stat
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import CancelToken, login, logout
from containerd_lite.errors import (
    Cancelled,
    ContainerdError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    RegistryError,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from containerd_lite.registry.credentials import Credentials, default_credentials
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.logins import auth_files
from containerd_lite.registry.logins.account import _write_entry
from containerd_lite.registry.logins.auth_files import AuthFile
from tests.harness.tls import localhost_pem
from tests.unit.registry.scripted import Request, Scripted, challenge, reply

pytestmark = pytest.mark.interpreter

SECRET = "canary-secret"
BASIC = base64.b64encode(f"me:{SECRET}".encode()).decode()
HUB = "https://index.docker.io/v1/"
#: A helper that keeps what it is told to store in a folder, as it was sent, and logs its actions.
HELPER = """#!/bin/sh
echo "$1" >> "$SHELF/calls"
case $1 in
  store) cat > "$SHELF/stored";;
  get)
    if [ -e "$SHELF/stored" ]; then cat "$SHELF/stored"
    else echo "credentials not found in native keychain"; exit 1; fi;;
  erase) cat > "$SHELF/erased"; rm "$SHELF/stored";;
esac
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own, which is also on the PATH, for helpers."""
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("SHELF", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


@pytest.fixture
def config(home: Path) -> Path:
    return home / ".docker" / "config.json"


def guard(server: Scripted) -> Scripted:
    """Let the server accept only the right user name and password."""

    def answer(request: Request) -> bytes:
        if request.headers.get("authorization") == f"Basic {BASIC}":
            return reply(200)
        return challenge('Basic realm="x"')

    server.on("GET", "/v2/", answer)
    return server


@pytest.fixture
def host(server: Scripted) -> str:
    return guard(server).host


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def put_helper(folder: Path, script: str = HELPER) -> Path:
    path = folder / "docker-credential-mine"
    path.write_text(script)
    path.chmod(0o755)
    return path


def shown(error: ContainerdError) -> str:
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return str(error) + repr(error) + "".join(lines)


# ---- the file ----------------------------------------------------------------------------------


def test_a_new_file_is_for_the_user_alone(host: str, config: Path) -> None:
    login(host, "me", SECRET)
    assert json.loads(config.read_text()) == {"auths": {host: {"auth": BASIC}}}
    assert (mode(config), mode(config.parent)) == (0o600, 0o700)
    assert os.listdir(config.parent) == [config.name]
    assert default_credentials(host) == Credentials("me", SECRET)
    assert logout(host) is True
    assert json.loads(config.read_text()) == {"auths": {}}
    assert default_credentials(host) is None
    before = config.stat()
    assert logout(host) is False
    assert config.stat() == before


def test_nothing_is_made_by_a_logout(home: Path) -> None:
    assert logout("registry.example") is False
    assert os.listdir(home) == []


def test_all_other_fields_stay(host: str, config: Path) -> None:
    content: dict[str, Any] = {
        "HttpHeaders": {"a": "ü \ud800"},
        "auths": {"other.example": {"auth": "eDp5", "email": None}, host: {"identitytoken": "x"}},
        "psFormat": "{{.ID}}",
        "n": [1.5, 12345678901234567890, True],
    }
    write(config, content).chmod(0o644)
    login(host, "me", SECRET)
    content["auths"][host] = {"auth": BASIC}
    found = json.loads(config.read_text())
    assert found == content
    assert list(found) == list(content)
    assert mode(config) == 0o600
    logout(host)
    del content["auths"][host]
    assert json.loads(config.read_text()) == content


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_a_link(host: str, config: Path, home: Path, is_there: bool) -> None:
    target = home / "dotfiles" / "docker.json"
    if is_there:
        write(target, {"n": 1})
    config.parent.mkdir()
    config.symlink_to("../dotfiles/docker.json")
    login(host, "me", SECRET)
    assert config.is_symlink()
    assert json.loads(target.read_text())["auths"] == {host: {"auth": BASIC}}
    assert mode(target) == 0o600


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "",
        "[]",
        '{"auths": {}, "auths": {}}',
        '{"Auths": {}}',
        '{"auths": []}',
        '{"auths": 5}',
        '{"credHelpers": 5}',
        '{"auths": {}, "n": 1e999}',
    ],
)
def test_a_file_that_cannot_be_parsed_stays(content: str, host: str, config: Path) -> None:
    write(config, content)
    with pytest.raises(InvalidArgument, match=r"config\.json cannot be used") as caught:
        login(host, "me", SECRET)
    assert SECRET not in shown(caught.value)
    assert config.read_text() == content
    assert os.listdir(config.parent) == [config.name]
    if "1e999" not in content:
        with pytest.raises(InvalidArgument, match="cannot be used"):
            logout(host)


def test_it_is_parsed_before_the_registry_hears_the_password(
    server: Scripted, host: str, config: Path
) -> None:
    write(config, "{")
    with pytest.raises(InvalidArgument):
        login(host, "me", SECRET)
    assert server.requests == []


def test_what_cannot_be_written(host: str, config: Path, home: Path) -> None:
    write(home / ".docker", "a file")
    with pytest.raises(ContainerdError, match=r"\.docker"):
        login(host, "me", SECRET)
    (home / ".docker").unlink()
    config.mkdir(parents=True)
    with pytest.raises(InvalidArgument, match="Is a directory"):
        login(host, "me", SECRET)
    assert os.listdir(config.parent) == [config.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(host: str, config: Path) -> None:
    config.parent.mkdir(mode=0o500)
    with pytest.raises(PermissionDenied):
        login(host, "me", SECRET)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays(host: str, config: Path) -> None:
    os.chown(write(config, {}), 1234, 1234)
    login(host, "me", SECRET)
    assert (config.stat().st_uid, config.stat().st_gid) == (1234, 1234)


def test_logins_at_the_same_time_are_all_kept(
    another: Callable[[], Scripted], config: Path
) -> None:
    hosts = [guard(another()).host for _ in range(12)]
    gate, errors = threading.Barrier(len(hosts)), []

    def run(host: str) -> None:
        try:
            gate.wait(30)
            login(host, "me", SECRET)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert json.loads(config.read_text())["auths"].keys() == set(hosts)
    assert os.listdir(config.parent) == [config.name]


def test_a_lock_that_another_program_keeps_ends_no_login(
    host: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.parent.mkdir()
    monkeypatch.setattr(auth_files, "_LOCK_TIMEOUT", 0.05)
    descriptor = os.open(config.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        login(host, "me", SECRET)
    finally:
        os.close(descriptor)
    assert default_credentials(host) == Credentials("me", SECRET)


def test_a_failed_write_leaves_the_old_file(
    host: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(config, {"n": 1})

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ContainerdError, match="No space left"):
        login(host, "me", SECRET)
    assert json.loads(config.read_text()) == {"n": 1}
    assert os.listdir(config.parent) == [config.name]


# ---- keys, and podman's files ------------------------------------------------------------------


def test_the_variables_name_the_file(
    host: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "docker"))
    login(host, "me", SECRET)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "podman" / "auth.json"))
    assert logout(host) is False
    login(host, "me", SECRET)
    files = [home / "docker" / "config.json", home / "podman" / "auth.json"]
    assert files[0].read_text() == files[1].read_text()
    assert logout(host) is True
    assert not (home / ".docker").exists()
    assert host in files[0].read_text()


def test_logout_forgets_all_that_would_be_found(config: Path, home: Path) -> None:
    entry = {"auth": "eDp5"}
    host, other = "quay.io", "https://quay.io.example"
    spellings = [host, f"https://{host}", f"http://{host}/v1/", f"{host}/"]
    write(config, {"auths": dict.fromkeys([*spellings, other], entry)})
    podman = [home / "run/containers/auth.json", home / ".config/containers/auth.json"]
    for path in podman:
        write(path, {"auths": dict.fromkeys([host, f"{host}/team/app"], entry)})
    assert logout(host) is True
    assert default_credentials(host) is None
    assert json.loads(config.read_text()) == {"auths": {other: entry}}
    for path in podman:
        assert json.loads(path.read_text()) == {"auths": {f"{host}/team/app": entry}}


@pytest.mark.parametrize("name", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_the_names_of_docker_hub(name: str, config: Path) -> None:
    names = [HUB, "docker.io", "index.docker.io", "https://registry-1.docker.io/v2/"]
    write(config, {"auths": {key: {"auth": "eDp5"} for key in names}})
    assert logout(name) is True
    assert json.loads(config.read_text()) == {"auths": {}}


@pytest.mark.parametrize(("repositories", "key"), [(False, HUB), (True, "docker.io")])
def test_the_key_of_docker_hub(repositories: bool, key: str, config: Path) -> None:
    """Each program's own key; no other key comes before it."""
    names = [HUB, "docker.io", "index.docker.io"]
    write(config, {"auths": {name: {"auth": "eDp5"} for name in names}})
    file = AuthFile(config, repositories=repositories)
    _write_entry(file, "docker.io", {"auth": BASIC})
    auths = json.loads(config.read_text())["auths"]
    assert auths[key] == {"auth": BASIC}
    assert file.matching_keys(auths, "docker.io")[0] == key
    assert "index.docker.io" in auths


# ---- helpers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["credsStore", "credHelpers"])
def test_a_helper_stores_and_erases(named: str, host: str, config: Path, home: Path) -> None:
    put_helper(home)
    names = "mine" if named == "credsStore" else {host: "mine"}
    write(config, {named: names, "auths": {host: {"auth": "eDp5"}}})
    assert default_credentials(host) is None  # an answer that the process keeps
    login(host, "me", SECRET)
    stored = json.loads((home / "stored").read_text())
    assert stored == {"ServerURL": host, "Username": "me", "Secret": SECRET}
    # An empty entry is what docker writes, and the change ends the keeping of the old answer.
    assert json.loads(config.read_text()) == {named: names, "auths": {host: {}}}
    assert default_credentials(host) == Credentials("me", SECRET)
    assert logout(host) is True
    assert (home / "erased").read_text() == host
    assert json.loads(config.read_text()) == {named: names, "auths": {}}
    assert default_credentials(host) is None
    assert logout(host) is False
    assert (home / "calls").read_text().split().count("erase") == 1


def test_an_entry_that_only_the_helper_has(config: Path, home: Path) -> None:
    put_helper(home)
    write(home / "stored", {"ServerURL": "a.example", "Username": "me", "Secret": "x"})
    write(config, {"credsStore": "mine"})
    assert default_credentials("a.example") == Credentials("me", "x")
    assert logout("a.example") is True
    assert default_credentials("a.example") is None


@pytest.mark.parametrize(
    "script",
    ["#!/bin/sh\ncat; cat >&2; exit 1", "#!/bin/sh\nexec /nonexistent", "no program", None],
)
def test_a_helper_that_fails(script: str | None, host: str, config: Path, home: Path) -> None:
    if script is not None:
        put_helper(home, script)
    content = json.dumps({"credHelpers": {host: "mine"}})
    write(config, content)
    for call in (lambda: login(host, "me", SECRET), lambda: logout(host)):
        with pytest.raises(FailedPrecondition, match="docker-credential-mine") as caught:
            call()
        assert SECRET not in shown(caught.value)
        assert "Install or repair" in caught.value.remedy
    assert config.read_text() == content


# ---- what registries say -----------------------------------------------------------------------


def test_a_wrong_password_is_not_stored(host: str, home: Path) -> None:
    with pytest.raises(RegistryUnauthorized, match="does not accept the user name") as caught:
        login(host, "me", f"not-{SECRET}")
    assert caught.value.status == 401
    assert caught.value.remedy.startswith("Check the user name and the password")
    assert SECRET not in shown(caught.value)
    assert os.listdir(home) == []


def test_a_token_server_is_asked(server: Scripted, config: Path) -> None:
    def answer(request: Request) -> bytes:
        if request.headers.get("authorization") == "Bearer abc":
            return reply(200)
        return challenge(f'Bearer realm="{server.origin}/token",service="s"')

    def token(request: Request) -> bytes:
        return reply(200, {"token": "abc"}) if SECRET.encode() in request.body else reply(401)

    server.on("GET", "/v2/", answer)
    server.on("POST", "/token", token)
    server.on("GET", "/token", reply(401, {"details": "wrong"}))
    with pytest.raises(RegistryUnauthorized, match="does not accept the user name"):
        login(server.host, "me", "wrong")
    assert not config.exists()
    login(server.host, "me", SECRET)
    assert json.loads(config.read_text())["auths"] == {server.host: {"auth": BASIC}}


@pytest.fixture(scope="module")
def pem() -> Path:
    """A certificate; it is made before a test has a home folder of its own."""
    return localhost_pem()


def test_a_registry_with_tls(pem: Path, another: Callable[..., Scripted], config: Path) -> None:
    host = guard(another(tls=True)).host
    with pytest.raises(RegistryUnavailable, match="TLS"):
        login(host, "me", SECRET, plain_http=False)
    assert not config.exists()
    login(host, "me", SECRET, tls=TlsFiles((pem,)))
    assert json.loads(config.read_text())["auths"] == {host: {"auth": BASIC}}


def test_a_host_without_a_registry(server: Scripted, home: Path) -> None:
    with pytest.raises(RegistryError, match="is not the host of a registry"):
        login(server.host, "me", SECRET)
    server.let_nobody_in()
    with pytest.raises(RegistryUnavailable):
        login(server.host, "me", SECRET)
    assert os.listdir(home) == []


def test_a_registry_that_hosts_toml_sends_elsewhere(
    server: Scripted, host: str, tmp_path: Path
) -> None:
    folder = tmp_path / "certs.d"
    write(folder / "registry.example" / "hosts.toml", f'server = "{server.origin}"')
    with pytest.raises(InvalidArgument, match=r"hosts\.toml sends") as caught:
        login("registry.example", "me", SECRET, hosts_dirs=[folder])
    assert caught.value.remedy == f"Log in to {host}"
    assert server.requests == []


def test_it_can_be_cancelled(server: Scripted, home: Path) -> None:
    token = CancelToken()

    def stall(request: Request) -> bytes:
        token.cancel()
        server.closing.wait(30)
        return reply(200)

    server.on("GET", "/v2/", stall)
    with pytest.raises(Cancelled, match=f"login to {server.host} was cancelled"):
        login(server.host, "me", SECRET, cancel=token)
    with pytest.raises(Cancelled):
        logout(server.host, cancel=token)
    with pytest.raises(DeadlineExceeded, match="has not finished after"):
        login(server.host, "me", SECRET, timeout=0.2)
    assert os.listdir(home) == []

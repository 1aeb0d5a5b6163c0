"""skopeo, crane and oras use what our login stored, and our logout ends what theirs stored."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import login, logout
from containerd_lite.errors import RegistryUnauthorized
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.credentials import Credentials, default_credentials
from containerd_lite.registry.registry import Registry
from tests.e2e.registry.conftest import have
from tests.e2e.registry.rounds import named, push
from tests.harness import debian
from tests.harness.images import Image
from tests.harness.realm import Realm
from tests.harness.registry import Registry as Server

pytestmark = pytest.mark.registry

Open = Callable[[Any], Any]

USER, PASSWORD = "user", "hush-canary"
#: How each program logs in with a password from stdin, and fetches a manifest.
LOGIN = {
    "skopeo": "skopeo login --tls-verify=false -u user --password-stdin {host}",
    "crane": "crane auth login -u user --password-stdin {host}",
    "oras": "oras login --plain-http=true -u user --password-stdin {host}",
}
FETCH = {
    "skopeo": "skopeo inspect --raw --tls-verify=false docker://{ref}",
    "crane": "crane manifest {ref}",
    "oras": "oras manifest fetch --plain-http=true {ref}",
}
#: A helper that keeps one login in a file, as it was sent.
HELPER = """#!/bin/sh
file="$DOCKER_CONFIG/kept"
case $1 in
  store) cat > "$file";;
  get) cat "$file" || { echo "credentials not found in native keychain"; exit 1; };;
  erase) cat > /dev/null; rm "$file";;
esac
"""


@pytest.fixture(params=sorted(FETCH))
def name(request: pytest.FixtureRequest) -> str:
    """The name of each program in turn."""
    found: str = request.param
    have(found, required=False)
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder for us and for the programs, which is on the PATH."""
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    (tmp_path / "registries.conf").touch()
    (tmp_path / "run").mkdir(mode=0o700)
    for variable, value in {
        "DOCKER_CONFIG": str(tmp_path / ".docker"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "CONTAINERS_REGISTRIES_CONF": str(tmp_path / "registries.conf"),
        "_CONTAINERS_ROOTLESS_UID": "1",
    }.items():
        monkeypatch.setenv(variable, value)
    return tmp_path


def call(
    home: Path, command: str, input: str = "", **parts: object
) -> subprocess.CompletedProcess[bytes]:
    """Run a program in the home folder."""
    name, *arguments = command.format(**parts).split()
    argv = [*debian.program(name).argv, *arguments]
    environ = {**os.environ, "HOME": str(home)}  # the cache of the harness is in our own
    return subprocess.run(
        argv, input=input.encode(), capture_output=True, timeout=60, env=environ, cwd=home
    )


@pytest.mark.parametrize("way", ["password", "tokens", "helper"])
def test_a_login_is_one_for_all(
    way: str, name: str, home: Path, opened: Open, image: Image
) -> None:
    auth: Any = (USER, PASSWORD)
    if way == "tokens":
        auth = opened(Realm({USER: PASSWORD}, anonymous=False))
    server = opened(Server(auth))
    host, reference = server.host, named(server.host)
    push(opened(Registry(host, credentials=Credentials(USER, PASSWORD))), reference, image)
    if way == "helper":
        helper = home / "docker-credential-mine"
        helper.write_text(HELPER)
        helper.chmod(0o755)
        (home / ".docker").mkdir()
        names = {"credHelpers": {host: "mine"}}
        (home / ".docker" / "config.json").write_text(json.dumps(names))

    with pytest.raises(RegistryUnauthorized, match="does not accept") as caught:
        login(host, USER, f"not-{PASSWORD}")
    assert PASSWORD not in str(caught.value)
    assert default_credentials(host) is None

    login(host, USER, PASSWORD)
    check(home, name, reference, image)
    text = (home / ".docker" / "config.json").read_text()
    assert ('"auth"' in text) == (way != "helper")
    assert logout(host) is True
    check(home, name, reference, None)

    done = call(home, LOGIN[name], PASSWORD, host=host)
    assert done.returncode == 0, done.stderr
    check(home, name, reference, image)
    assert logout(host) is True
    check(home, name, reference, None)
    assert logout(host) is False


def check(home: Path, name: str, reference: Reference, image: Image | None) -> None:
    """Check that we and the program have access to an image, or none of us."""
    done = call(home, FETCH[name], ref=reference)
    with Registry(reference.host, credentials=default_credentials) as registry:
        if image is not None:
            assert done.returncode == 0, done.stderr
            assert done.stdout == image.blobs[image.digest]
            assert registry.resolve(reference).digest == image.digest
            return
        assert done.returncode != 0
        with pytest.raises(RegistryUnauthorized):
            registry.resolve(reference)

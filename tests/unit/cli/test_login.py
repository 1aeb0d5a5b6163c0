"""``containerd-lite login`` and ``logout``: where the password comes from, and what is printed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.screen import Screen
from tests.unit.registry.scripted import Request, Scripted, challenge, reply

pytestmark = pytest.mark.interpreter

#: "me:a canary", as Basic authentication encodes it.
PASSWORD, BASIC = "a canary", "bWU6YSBjYW5hcnk="
COMMAND = [sys.executable, "-W", "error", "-m", "containerd_lite"]


@pytest.fixture
def server() -> Iterator[Scripted]:
    def answer(request: Request) -> bytes:
        is_right = request.headers.get("authorization") == f"Basic {BASIC}"
        return reply(200) if is_right else challenge('Basic realm="x"')

    with Scripted() as scripted:
        scripted.on("GET", "/v2/", answer)
        yield scripted


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config.json"


def run(*argv: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command without a terminal."""
    return subprocess.run(
        [*COMMAND, *argv], input=input, capture_output=True, timeout=30, start_new_session=True
    )


def test_the_password_from_stdin(server: Scripted, config: Path) -> None:
    argv = ("login", "-u", "me", "--password-stdin", server.host)
    wrong = run(*argv, input=b"wrong canary")
    assert (wrong.returncode, wrong.stdout) == (4, b"")
    assert b"does not accept the user name and the password" in wrong.stderr
    assert b"canary" not in wrong.stderr
    assert not config.exists()
    done = run("--debug", *argv, input=PASSWORD.encode() + b"\r\n")
    assert (done.returncode, done.stdout) == (0, f"logged in to {server.host}\n".encode())
    assert b"canary" not in done.stderr
    assert BASIC.encode() not in done.stderr
    assert json.loads(config.read_text())["auths"] == {server.host: {"auth": BASIC}}
    done = run("logout", server.host)
    assert (done.returncode, done.stdout) == (0, f"logged out of {server.host}\n".encode())
    done = run("logout", server.host)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"there are no stored credentials" in done.stderr


@pytest.mark.parametrize(
    ("argv", "input", "said"),
    [
        (["-u", "me"], b"x", "there is no terminal to ask for it. Pass --password-stdin"),
        (["--password-stdin"], b"x", "a user name is needed. Pass --username"),
        ([], b"me\nx\n", "a user name is needed"),
        (["-u", "me", "--password-stdin"], b"\xff", "the password is not UTF-8"),
        (["-u", "me", "--password-stdin"], b"x" * 70_000, "has more than the 65536 bytes"),
        (["-u", "me", "--password-stdin"], b"", "password must not be empty"),
        (["-u", "a:b", "--password-stdin"], b"x", "a user name with a colon"),
    ],
)
def test_what_is_missing_or_wrong(
    argv: list[str], input: bytes, said: str, server: Scripted, config: Path
) -> None:
    done = run("login", *argv, server.host, input=input)
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert server.requests == []
    assert not config.exists()


@contextmanager
def terminal(*argv: str) -> Iterator[tuple[Screen, subprocess.Popen[bytes]]]:
    """Run a command in a terminal, which must afterwards be as it was before."""
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [*COMMAND, *argv], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    try:
        yield Screen(ours), process
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)


def test_the_terminal_asks(server: Scripted, config: Path) -> None:
    with terminal("login", server.host) as (screen, process):
        screen.expect(b"User name: ")
        screen.type(b"me\n")
        screen.expect(b"Password: ")
        screen.type(PASSWORD.encode() + b"\n")
        assert PASSWORD.encode() not in screen.expect(b"logged in to")
        assert process.wait(30) == 0
    assert json.loads(config.read_text())["auths"] == {server.host: {"auth": BASIC}}

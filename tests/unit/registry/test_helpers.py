"""Credential helpers, all of them real programs: what they are told, and how they may fail."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from containerd_lite.errors import InvalidArgument, RegistryUnauthorized
from containerd_lite.registry.logins.helpers import ask_helper
from tests.harness.leaks import open_files
from tests.harness.process import wait_until

pytestmark = pytest.mark.interpreter

HOST = "registry.example:5000"
LOGIN = """echo '{"ServerURL":"registry.example:5000","Username":"me","Secret":"canary"}'"""
#: In all that a broken helper writes, and in nothing that we say.
CANARY = "canary-secret"
NOT_FOUND = "credentials not found in native keychain"
#: Long enough for a loaded machine to start a shell, in seconds.
SOON = 3.0


class Shelf:
    """A folder of helpers, each a shell script, on a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.json"
        self.environ = {"PATH": f"{folder}:/usr/bin:/bin", "SHELF": str(folder)}

    def put(self, script: str, name: str = "mine") -> None:
        path = self.folder / f"docker-credential-{name}"
        path.write_text(f'#!/bin/sh\necho "$@" >> "$SHELF/calls-{name}"\n{script}\n')
        path.chmod(0o755)

    def calls(self, name: str = "mine") -> list[str]:
        path = self.folder / f"calls-{name}"
        return path.read_text().splitlines() if path.exists() else []

    def ask(
        self, name: str = "mine", host: str = HOST, timeout: float = 30.0
    ) -> tuple[str, str] | None:
        return ask_helper(name, host, self.config, self.environ, timeout)

    def fails(self, name: str = "mine", timeout: float = 30.0) -> str:
        """What is said when it fails; checks what must be, and must not be, in any error."""
        with pytest.raises(RegistryUnauthorized) as caught:
            self.ask(name, timeout=timeout)
        error = caught.value
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        assert CANARY not in str(error) + repr(error) + "".join(lines)
        assert error.__context__ is None
        assert f"docker-credential-{name}" in error.remedy
        assert HOST in error.remedy
        return error.message


def in_threads(count: int, work: Callable[[], object]) -> list[object]:
    found: list[object] = []
    gate = threading.Barrier(count)

    def run() -> None:
        gate.wait(30)
        found.append(work())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_it_is_told_the_host_and_nothing_else(shelf: Shelf) -> None:
    shelf.environ["COLOUR"] = "green"
    shelf.put(f'cat > "$SHELF/told"; echo "$COLOUR" > "$SHELF/environ"; {LOGIN}')
    assert shelf.ask() == ("me", "canary")
    assert shelf.calls() == ["get"]
    assert (shelf.folder / "told").read_text() == HOST
    assert (shelf.folder / "environ").read_text() == "green\n"


def test_it_may_answer_without_reading(shelf: Shelf) -> None:
    shelf.put(f"exec 0<&-; {LOGIN}")
    assert shelf.ask() == ("me", "canary")


def test_it_is_asked_once_for_each_host_and_config_file(shelf: Shelf) -> None:
    shelf.put(LOGIN)
    shelf.put(LOGIN, "other")
    for _ in range(3):
        assert shelf.ask() == shelf.ask(host="another.example") == ("me", "canary")
    assert shelf.calls() == ["get", "get"]
    shelf.config = shelf.folder / "elsewhere"
    shelf.ask()
    assert shelf.calls() == ["get", "get", "get"]
    shelf.ask("other")
    assert shelf.calls("other") == ["get"]


def test_it_is_asked_again_after_a_login_or_a_logout(shelf: Shelf) -> None:
    """Docker writes its config file then, even if only the helper has something new."""
    shelf.put(LOGIN)
    shelf.config.write_text("{}")
    assert shelf.ask() == shelf.ask() == ("me", "canary")
    shelf.put(LOGIN.replace('"me"', '"you"'))
    new = shelf.folder / "new"
    new.write_text("{}")
    new.rename(shelf.config)
    assert shelf.ask() == shelf.ask() == ("you", "canary")
    shelf.put(f"echo '{NOT_FOUND}'; exit 1")
    assert shelf.ask() == ("you", "canary")
    shelf.config.unlink()
    assert shelf.ask() is None
    assert shelf.calls() == ["get"] * 3


def test_after_none_it_is_asked_again(shelf: Shelf) -> None:
    """skopeo and oras let a helper store a login, and do not write the config file."""
    shelf.config.write_text("{}")
    shelf.put(f"echo '{NOT_FOUND}'; exit 1")
    assert shelf.ask() is None
    shelf.put(LOGIN)
    assert shelf.ask() == shelf.ask() == ("me", "canary")
    assert shelf.calls() == ["get", "get"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (f"echo {CANARY}; echo {CANARY} >&2; exit 1", "exit code 1"),
        ("exit 7", "exit code 7"),
        (f"echo '{NOT_FOUND}' >&2; exit 1", "exit code 1"),
        (f"echo 'no, {NOT_FOUND}'; exit 1", "exit code 1"),
        (f"{LOGIN}; exit 1", "exit code 1"),
        ("kill -9 $$", "signal 9"),
        (f"echo '{NOT_FOUND}'", "not the JSON object"),
        ("", "not the JSON object"),
        (f"echo {CANARY}", "not the JSON object"),
        (f"""echo '["{CANARY}"]'""", "not the JSON object"),
        (f"""echo '{{"Username":"{CANARY}"}}'""", "not the JSON object"),
        (f"""echo '{{"Secret":"{CANARY}"}}'""", "not the JSON object"),
        ("""echo '{"Username":"","Secret":""}'""", "not the JSON object"),
        (f"""echo '{{"Username":"me","Secret":["{CANARY}"]}}'""", "not the JSON object"),
        (f"""echo '{{"Username":"me","Secret":"{CANARY}","Secret":"x"}}'""", "not the JSON object"),
        (f"""echo '{{"Username":"me","Secret":"{CANARY}","secret":"x"}}'""", "not the JSON object"),
        (f"""echo '{{"Username":"a:b","Secret":"{CANARY}"}}'""", "contains a colon"),
        (f"{LOGIN}; echo {CANARY}", "not the JSON object"),
        (f"while :; do echo {CANARY}; done", "more than 1048576 bytes"),
        ("head -c 1048577 /dev/zero", "more than 1048576 bytes"),
    ],
)
def test_a_failure_is_told_without_its_words_and_not_kept(
    shelf: Shelf, script: str, reason: str
) -> None:
    shelf.put(script)
    assert reason in shelf.fails()
    assert reason in shelf.fails()
    assert shelf.calls() == ["get", "get"]
    shelf.put(LOGIN)
    assert shelf.ask() == ("me", "canary")


def test_a_flood_on_stderr_is_nothing(shelf: Shelf) -> None:
    shelf.put(f"head -c 4194304 /dev/zero >&2; {LOGIN}")
    assert shelf.ask() == ("me", "canary")


@pytest.mark.parametrize("name", ["", "../mine", "a/b", "-mine", ".mine", "mi ne", "mine\n", "é"])
def test_a_name_that_cannot_be_is_not_looked_for(shelf: Shelf, name: str) -> None:
    shelf.put(LOGIN)
    (shelf.folder / "docker-credential-..").mkdir()
    with pytest.raises(RegistryUnauthorized, match="the helper's name is invalid"):
        shelf.ask(name)
    assert shelf.calls() == []


def test_what_is_no_program_is_missing(shelf: Shelf) -> None:
    assert "no such program" in shelf.fails()
    (shelf.folder / "docker-credential-plain").write_text(f"#!/bin/sh\n{LOGIN}\n")
    assert "no such program" in shelf.fails("plain")
    (shelf.folder / "docker-credential-folder").mkdir()
    assert "no such program" in shelf.fails("folder")


@pytest.mark.parametrize("path", ["", ".", ":", "/nowhere:", "./", ":/nowhere"])
def test_the_current_folder_is_never_searched(
    shelf: Shelf, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(LOGIN)
    monkeypatch.chdir(shelf.folder)
    shelf.environ["PATH"] = path
    assert "no such program" in shelf.fails()
    assert shelf.calls() == []


@pytest.mark.parametrize("body", ["#!/nowhere/at/all\n", f"{CANARY}: no script\n"])
def test_a_program_that_cannot_be_started(shelf: Shelf, body: str) -> None:
    shelf.put(LOGIN)
    (shelf.folder / "docker-credential-mine").write_text(body)
    assert "cannot be started" in shelf.fails()


@pytest.mark.parametrize("host", ["", "a b", "a\nb", "a\0b", "é.example", "a" * 1025])
def test_a_host_that_cannot_be_is_not_asked_about(shelf: Shelf, host: str) -> None:
    shelf.put(LOGIN)
    with pytest.raises(InvalidArgument, match="not the name of a registry"):
        shelf.ask(host=host)
    assert shelf.calls() == []


# ---- time --------------------------------------------------------------------------------------


def ended(pid: int) -> bool:
    """Whether a process does nothing any more; somebody else's may still wait to be reaped."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


HANGING = {
    "silent": "BEGIN; wait",
    "closed": "exec >&-; BEGIN; wait",
    "answers": f"BEGIN; {LOGIN}; wait",
    "leaves": f"BEGIN; {LOGIN}; exit 0",
    "deaf": "trap '' TERM INT HUP; BEGIN; while :; do sleep 300; done",
}


def test_those_that_hang_are_ended_with_all_that_they_began(shelf: Shelf) -> None:
    for name, script in HANGING.items():
        begin = f'sleep 300 & echo $$ $! > "$SHELF/pids-{name}"'
        shelf.put(script.replace("BEGIN", begin), name)
    before = set(open_files().items())
    names = list(HANGING)
    said = in_threads(len(names), lambda: shelf.fails(names.pop(), timeout=SOON))
    assert [message for message in said if "in time" in str(message)] == said
    assert len(said) == len(HANGING)
    for name in HANGING:
        own, child = map(int, (shelf.folder / f"pids-{name}").read_text().split())
        assert not Path(f"/proc/{own}").exists(), name  # reaped too
        assert wait_until(lambda child=child: ended(child), 5), name  # type: ignore[misc]
    assert set(open_files().items()) <= before


def test_nothing_stays_open_or_unreaped(shelf: Shelf) -> None:
    before = set(open_files().items())
    shelf.put(f'echo $$ > "$SHELF/pids"; {LOGIN}')
    shelf.ask()
    own = int((shelf.folder / "pids").read_text())
    assert not Path(f"/proc/{own}").exists()
    assert set(open_files().items()) <= before


# ---- threads and forks -------------------------------------------------------------------------


def test_threads_share_one_question(shelf: Shelf) -> None:
    shelf.put(LOGIN)
    assert in_threads(16, shelf.ask) == [("me", "canary")] * 16
    assert shelf.calls() == ["get"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_who_finds_another_asking_waits_so_long_and_a_forked_child_does_not(shelf: Shelf) -> None:
    os.mkfifo(shelf.folder / "gate")
    gate = os.open(shelf.folder / "gate", os.O_RDWR)  # does not wait for the other end
    # The first one waits at the gate, the others do not.
    shelf.put(f'mkdir "$SHELF/first" && read line < "$SHELF/gate"; {LOGIN}')
    found: list[object] = []
    first = threading.Thread(target=lambda: found.append(shelf.ask()))
    first.start()
    try:
        assert wait_until((shelf.folder / "first").exists, 30)
        assert "in time" in shelf.fails(timeout=0.1)
        assert shelf.calls() == ["get"]
        pid = os.fork()
        if not pid:
            code = 1
            with suppress(BaseException):
                code = 0 if shelf.ask() == ("me", "canary") else 2
            os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        os.write(gate, b"\n")
        first.join(60)
        os.close(gate)
    assert found == [("me", "canary")] == [shelf.ask()]
    assert shelf.calls() == ["get", "get"]

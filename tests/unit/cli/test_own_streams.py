"""What becomes of the command line whose own streams are closed, full, unread or of few letters."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from containerd_lite.cli import main

pytestmark = [pytest.mark.interpreter, pytest.mark.turns(2)]

Done = subprocess.CompletedProcess[str]
Command = tuple[str, ...]
Variables = dict[str, str]
_PYTHON = (sys.executable, "-X", "dev", "-W", "error")
_PROGRAM = (*_PYTHON, "-m", "containerd_lite", "-a", "/nowhere/é")
DOCTOR, VERSION, USAGE = (*_PROGRAM, "doctor"), (*_PROGRAM, "version"), (*_PROGRAM, "nonsense")
HELP = (*_PROGRAM, "pull", "--help")
_OURS = ("PYTHONIOENCODING", "PYTHONUNBUFFERED", "PYTHONUTF8", "PYTHONCOERCECLOCALE", "LC_ALL")


def environment(variables: Variables) -> Variables:
    rest = {name: value for name, value in os.environ.items() if name not in _OURS}
    return {**rest, "PYTHONUTF8": "1", **variables}


def shell(command: Command, redirection: str = "", env: Variables | None = None) -> Done:
    """The command line, as a shell begins it that redirects its streams."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *command],
        capture_output=True,
        env=environment(env or {}),
        text=True,
        encoding="utf-8",
        timeout=30,
    )


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def unbuffered(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_letters_that_an_encoding_lacks_are_escaped(variables: Variables) -> None:
    for command, stream, code in ((DOCTOR, "stdout", 1), (VERSION, "stderr", 5)):
        done = shell(command, env=variables)
        assert done.returncode == code, done.stderr
        assert "/nowhere/\\" in getattr(done, stream)
    done = shell(HELP, env=variables)
    assert (done.returncode, done.stderr) == (0, "")


def test_bytes_that_are_no_letters_are_escaped() -> None:
    done = shell((*DOCTOR, "-a", "/nowhere/\udcff"))
    assert done.returncode == 1
    assert "/nowhere/\\udcff" in done.stdout


@pytest.mark.parametrize("command", [DOCTOR, HELP, (*_PROGRAM, "--version")])
def test_output_that_cannot_be_written(command: Command, unbuffered: str) -> None:
    for place, why in (
        (">/dev/full", "No space left on device. Free disk space, or use another path"),
        ("1</dev/null", "Bad file descriptor"),
    ):
        done = shell(command, place, {"PYTHONUNBUFFERED": unbuffered})
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("containerd-lite: ")
        assert done.stderr.endswith(f"standard output: {why}\n")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "code", "said"), [(DOCTOR, 1, 0), (HELP, 0, 0), (VERSION, 5, 1), (USAGE, 2, 5)]
)
def test_output_that_nobody_wants(command: Command, code: int, said: int) -> None:
    done = shell(command, ">&-")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", said), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "shown"), [(DOCTOR, 1, 4), (VERSION, 5, 0), (USAGE, 2, 0)]
)
def test_words_that_nobody_wants(command: Command, code: int, shown: int) -> None:
    for place in ("2>&-", "2>/dev/full", "2</dev/null", "<&- 2>&-"):
        done = shell(command, place)
        assert (done.returncode, done.stderr) == (code, "")
        assert done.stdout.count("\n") == shown, (place, done.stdout)


@contextmanager
def left() -> Iterator[int]:
    """The end to write to of a pipe that has nobody at the other."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@pytest.mark.parametrize("command", [DOCTOR, HELP])
def test_a_reader_that_has_gone_is_not_talked_of(command: Command, unbuffered: str) -> None:
    env = environment({"PYTHONUNBUFFERED": unbuffered})
    with left() as writer:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=env, timeout=30)
    assert (done.returncode, done.stderr) == (1, b"")


#: Writes much to a stream that does not block, and a little to the other.
_NON_BLOCKING = """
import os, sys
from containerd_lite.cli.own_streams import standard_streams
much, little = sys.argv[1:]
os.set_blocking(getattr(sys, much).fileno(), False)
with standard_streams():
    print("x" * 4_000_000, file=getattr(sys, much))
    print("y", file=getattr(sys, little))
"""


@pytest.mark.parametrize(("much", "little"), [("stdout", "stderr"), ("stderr", "stdout")])
def test_a_pipe_that_does_not_block_is_waited_for(much: str, little: str) -> None:
    done = shell((*_PYTHON, "-c", _NON_BLOCKING, much, little))
    assert done.returncode == 0, done.stderr
    assert getattr(done, much) == "x" * 4_000_000 + "\n"
    assert getattr(done, little) == "y\n"


#: Which numbers a program gets once the command line has been in it, and a child of it.
_NUMBERS = """
import json, os, subprocess, sys
from containerd_lite.cli import main
main(["-a", "/nowhere", "version"])
child = subprocess.run(["sh", "-c", "true <&0 >&1 2>&2"], close_fds=False)
with open(sys.argv[1], "w") as file:
    json.dump([file.fileno(), child.returncode, [str(sys.stdout), str(sys.stderr)]], file)
"""


def test_nothing_else_gets_the_numbers_of_streams(tmp_path: Path) -> None:
    assert shell((*_PYTHON, "-c", _NUMBERS, f"{tmp_path}/found"), "<&- >&- 2>&-").returncode == 0
    number, child, streams = json.loads((tmp_path / "found").read_text())
    assert number > 2
    assert child == 0
    assert streams == ["None", "None"]


def test_streams_of_a_caller_stay() -> None:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        assert main(["doctor", "-a", "/nowhere"]) == 1
        assert main(["version", "-a", "/nowhere"]) == 5
        assert (sys.stdout, sys.stderr) == (out, err)
    assert "/nowhere" in out.getvalue()
    assert "/nowhere" in err.getvalue()

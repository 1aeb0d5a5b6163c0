"""The command line without a daemon: parsing, exit codes, where what is printed."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
from pathlib import Path

import pytest

from containerd_lite import cli
from containerd_lite.cli import exit_code, main
from containerd_lite.cli.output import print_names, print_rows
from containerd_lite.cli.program import _COMMANDS
from containerd_lite.cli.progress_display import show_progress
from containerd_lite.errors import (
    ContainerdError,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    SignatureError,
    SignaturesUnavailable,
    SocketNotFound,
    SocketPermissionDenied,
    Unsigned,
    Untrusted,
)
from containerd_lite.progress import ProgressEvent
from tests.unit.registry.scripted import Scripted, reply

pytestmark = pytest.mark.interpreter


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound(), 3),
        (RegistryNotFound(), 3),
        (RegistryUnauthorized(), 4),
        (SocketPermissionDenied(), 4),
        (SocketNotFound(), 5),
        (RegistryUnavailable(), 5),
        (DeadlineExceeded(), 6),
        (InvalidArgument(), 2),
        (Internal(), 1),
        (SignatureError(), 7),
        (Unsigned(), 7),
        (Untrusted(), 7),
        (SignaturesUnavailable(), 5),
    ],
)
def test_exit_codes(error: ContainerdError, code: int) -> None:
    assert exit_code(error, "pull") == code
    assert exit_code(error, "run") == exit_code(error, "exec") == 125


def test_an_error_is_one_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-a", f"{tmp_path}/none", "version"]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("containerd-lite: Version.Version: there is no socket")
    assert err.count("\n") == 1
    # The options may stand behind the command, too.
    assert main(["images", "--address", f"{tmp_path}/none"]) == 5
    assert main(["run", "-a", f"{tmp_path}/none", "x", "true"]) == 125
    assert main(["version", "-a", "ftp://x"]) == 2


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(SocketNotFound):
        main(["--debug", "-a", f"{tmp_path}/none", "version"])


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "terminated"),
        (signal.SIGHUP, "hung up"),
        (signal.SIGQUIT, "quit"),
    ],
)
def test_interrupted(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    said: str,
) -> None:
    def interrupt(options: object) -> int:
        signal.raise_signal(number)
        raise AssertionError("it went on")

    monkeypatch.setattr("containerd_lite.cli.commands.version.client_of", interrupt)
    former = signal.signal(number, signal.SIG_DFL)  # whoever runs this may have it ignored
    try:
        assert main(["version"]) == 128 + number
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, former)
    assert capsys.readouterr().err == f"containerd-lite: {said}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["--timeout", "0", "version"],
        ["--timeout", "x", "version"],
        ["version", "--connect-timeout", "-1"],
        ["images", "--format", "yaml"],
        ["pull"],
        ["run"],
        ["verify"],
        ["verify", "a", "--identity", "x", "--identity-regexp", "x"],
        ["verify", "a", "--manifests", "all"],
        ["sign", "a", "--key", "k", "--form", "bundle"],
        ["attest", "a", "--key", "k", "--type", "t"],
        ["tree", "a", "--address", "unix:///x"],
        ["login"],
        ["login", "-u", "me", "--password", "x", "a", "b"],
        ["logout", "a", "b"],
        ["key"],
        ["key", "delete"],
        ["key", "import"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: containerd-lite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND is missing: write one of version, pull,"),
        (["--vesion"], "unrecognized arguments: --vesion"),
        (["--vesion", "version"], "unrecognized arguments: --vesion"),
        (["pull", "--plaform", "linux/arm64", "x"], "unrecognized arguments: --plaform"),
    ],
)
def test_a_wrong_option_is_named(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-d", "-it"], "--detach does not wait for the command, so it excludes -i and -t."),
        (["-d", "-t"], "excludes -t. Leave out either --detach or -t"),
        (["-d", "--stop-after", "5"], "excludes --stop-after."),
        (["--restart", "always"], "--restart requires --detach, because"),
        (["--restart", "always", "-it"], "--restart requires --detach, because"),
        (["--log", "/x"], "--log requires --detach."),
        (["--pull", "never", "--policy", "/x"], "--policy requires a pull, because"),
    ],
)
def test_run_names_options_that_exclude_each_other(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "-a", f"{tmp_path}/none", *arguments, "x", "true"]) == 125
    out, err = capsys.readouterr()
    assert said in err
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    "command", ["", "version", "pull", "images", "run", "exec", "stats", "doctor"]
)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*([command] if command else []), "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "--address" in out
    assert "$CONTAINERD_ADDRESS" in out
    assert out.isascii()  # what any terminal can show


@pytest.mark.parametrize(
    "command",
    [
        *("login", "logout", "verify", "sign", "attest", "tree"),
        *("key", "key generate", "key import", "key public"),
    ],
)
def test_help_of_commands_without_a_daemon(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: containerd-lite {command} " in out
    assert "--debug" in out
    assert "--address" not in out
    assert out.isascii()


def test_readme_lists_the_commands() -> None:
    text = (Path(__file__).resolve().parents[3] / "README.md").read_text()
    listed = re.findall(r"^    containerd-lite (\w+)", text, re.MULTILINE)
    assert list(dict.fromkeys(listed)) == list(_COMMANDS)


def test_version_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("containerd-lite 0.")


def test_doctor_without_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "-a", f"{tmp_path}/none", "--format", "jsonl"]) == 1
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [finding["check"] for finding in findings] == ["socket", "daemon"]
    assert all(finding["state"] == "missing" and finding["remedy"] for finding in findings)
    (tmp_path / "file").write_text("")
    assert main(["doctor", "-a", f"{tmp_path}/file"]) == 1
    out = capsys.readouterr().out
    assert "is not a socket" in out
    assert out.isascii()


def test_rows(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, object]] = [
        {"name": "a", "long_name": "bb", "more": [1]},
        {"name": "ccc", "long_name": "d"},
    ]
    print_rows(rows, ("name", "long_name"), "table")
    assert capsys.readouterr().out == "NAME  LONG NAME\na     bb\nccc   d\n"
    print_rows(rows, (), "json")
    assert json.loads(capsys.readouterr().out) == rows
    print_rows(rows, (), "jsonl")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    print_rows([], ("name",), "table")
    assert capsys.readouterr().out == "NAME\n"


def test_names(capsys: pytest.CaptureFixture[str]) -> None:
    for names in (["a", "b\u00e9"], []):
        print_names(names, "table")
        assert capsys.readouterr().out.splitlines() == names
        print_names(names, "json")
        assert json.loads(capsys.readouterr().out) == names
        print_names(names, "jsonl")
        assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == names


def test_progress_is_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(False) as progress:
        assert progress is not None
        for offset in range(0, 100, 10):
            progress(ProgressEvent("downloading", "sha256:" + "a" * 64, offset, 100))
        progress(ProgressEvent("downloaded", "sha256:" + "a" * 64, 100, 100))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "downloading sha256:aaaaaaaaaaaa 100 bytes",
        "downloaded  sha256:aaaaaaaaaaaa",
    ]
    with show_progress(True) as quiet:
        assert quiet is None


def test_progress_is_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="rich is not installed")
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with show_progress(False) as progress:
        assert progress is not None
        progress(ProgressEvent("downloading", "sha256:" + "a" * 64, 50, 100))
    assert "sha256:aaaaaaaaaaaa" in terminal.getvalue()
    assert "50/100" in terminal.getvalue()


def test_a_pull_that_waits_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Scripted() as server:
        busy = reply(429, "wait", Retry_After="1")
        server.on("HEAD", "/v2/a/manifests/1", busy, reply(404))
        code = main(["pull", f"{server.host}/a:1", "--to", str(tmp_path / "layout")])
    assert code == 3
    assert "retrying" in capsys.readouterr().err


def test_nothing_else_prints() -> None:
    package = Path(cli.__file__).parents[1]
    for file in package.rglob("*.py"):
        if "cli" not in file.relative_to(package).parts:
            assert not re.search(r"\bprint\(", file.read_text()), file

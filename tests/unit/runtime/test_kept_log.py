"""Where the log of a detached container is, who can read it, and how it is removed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from containerd_lite.errors import FailedPrecondition, InvalidArgument
from containerd_lite.runtime.io import BinaryLogger
from containerd_lite.runtime.kept import KeptLog, is_log_of, logger, new_log, remove_log
from containerd_lite.runtime.kept.kept_log import _make_within, _roots


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a daemon that sees the files of this process: it is this process."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        yield f"unix://{tmp_path}/s"


def test_a_new_log_is_private_and_no_other_containers(address: str, tmp_path: Path) -> None:
    root = tmp_path / "a" / "logs"
    made = [new_log(address, str(root), "ns", "web") for _ in range(3)]
    assert len(set(made)) == 3
    for folder in map(str, made):
        assert os.path.dirname(folder) == f"{root}/ns"
        assert os.path.basename(folder).startswith("web-")
        for place in (folder, f"{root}/ns", str(root)):
            assert os.stat(place).st_mode & 0o777 == 0o700
        assert os.listdir(folder) == [logger.SYNC]
        remove_log(folder)
    assert os.listdir(root / "ns") == []


def test_abstract_sockets(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        name = f"lite-{os.urandom(8).hex()}"
        listener.bind(f"\0{name}")
        listener.listen()
        assert new_log(f"unix-abstract:{name}", str(tmp_path), "ns", "c1")


_LISTENER = """
import os, socket, sys
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    exec(sys.argv[2])
    listener.listen()
    print(flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_daemon(folder: Path, code: str = "", *, mount: str = "true") -> Iterator[str]:
    """The address of a process that listens after a command of the shell, and after code."""
    python = [sys.executable, "-c", _LISTENER, str(folder / "other"), code]
    argv = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", *python]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"\n"
        yield f"unix://{folder}/other"


def test_no_log_without_a_daemon_here(tmp_path: Path) -> None:
    root = tmp_path / "logs"
    assert new_log("tcp://localhost:1", str(root), "ns", "c1") is None
    assert new_log(f"unix://{tmp_path}/none", str(root), "ns", "c1") is None
    assert not root.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other mounts and users")
def test_no_log_where_the_daemon_sees_other_files(tmp_path: Path) -> None:
    """Such as one whose socket is mounted into a container, in which the client runs."""
    root = tmp_path / "logs"
    root.mkdir()
    with other_daemon(tmp_path, mount=f"mount -t tmpfs none {root}") as address:
        assert new_log(address, str(root), "ns", "c1") is None
    assert os.listdir(root / "ns") == []
    (tmp_path / "other").unlink()
    with other_daemon(tmp_path, f"os.chroot({str(root)!r})") as address:
        assert new_log(address, "/dev/null/unused", "ns", "c1") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other mounts and users")
def test_a_plain_file_where_the_daemon_sees_no_logger(tmp_path: Path) -> None:
    """Such as a service of systemd that may not see the homes of users."""
    package = os.path.dirname(logger.__spec__.origin or "")
    with other_daemon(tmp_path, mount=f"mount -t tmpfs none {package}") as address:
        folder = new_log(address, str(tmp_path / "logs"), "ns", "c1")
    assert folder is not None
    assert KeptLog(folder).stdio.stdout == f"file://{folder}/output.log"
    assert os.stat(f"{folder}/output.log").st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other mounts and users")
def test_no_log_where_the_daemon_cannot_write(tmp_path: Path) -> None:
    with other_daemon(tmp_path) as address:
        assert new_log(address, str(tmp_path / "logs"), "ns", "c1") is not None
    (tmp_path / "other").unlink()
    with other_daemon(tmp_path, "os.setuid(65534)") as address:
        assert new_log(address, str(tmp_path / "logs"), "ns", "c1") is None


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    monkeypatch.setenv("CONTAINERD_LITE_LOGS", "/of/variable")
    assert list(_roots(None)) == ["/of/variable"]
    assert list(_roots("/given")) == ["/given"]
    monkeypatch.delenv("CONTAINERD_LITE_LOGS")
    first, second = _roots(None)
    assert second == f"{tmp_path}/t/containerd-lite-{os.geteuid()}"
    assert first == ("/var/log/containerd-lite" if not os.geteuid() else first)
    code = "from containerd_lite.runtime.kept.kept_log import _roots; print(*_roots(None))"
    if not os.geteuid():
        code = f"import os; {code.replace('; ', '; os.setuid(65534); ')}"
    for home, wanted in (
        ({"HOME": "/h"}, "/h/.local/state/containerd-lite/logs"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/s"}, "/s/containerd-lite/logs"),
        ({"HOME": "/h", "XDG_STATE_HOME": "s"}, "/h/.local/state/containerd-lite/logs"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code], env=home, capture_output=True, text=True
        )
        assert done.stdout.split()[0] == wanted, done.stderr


def test_a_folder_that_cannot_be_made(address: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match=r"file.*logs_dir=.*NullIO"):
        new_log(address, str(tmp_path / "file" / "logs"), "ns", "c1")


def test_a_temporary_folder_of_another_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    place = tmp_path / f"containerd-lite-{os.geteuid()}"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    with pytest.raises(PermissionError):
        _make_within(str(place), "ns", "c1")
    place.chmod(0o700)
    assert os.path.isdir(_make_within(str(place), "ns", "c1"))


def test_only_the_log_is_removed(tmp_path: Path) -> None:
    folder, victim = tmp_path / "log", tmp_path / "victim"
    folder.mkdir()
    victim.mkdir()
    for name in (logger.LOG, f"{logger.LOG}.4", "output.log", "notes"):
        (folder / name).touch()
        (victim / name).touch()
    os.mkfifo(folder / logger.SYNC)
    remove_log(str(folder))
    assert os.listdir(folder) == ["notes"]
    (folder / "notes").unlink()
    remove_log(str(folder))
    assert not folder.exists()
    remove_log(str(folder))
    folder.symlink_to(victim)
    remove_log(str(folder))
    assert len(os.listdir(victim)) == 4


def test_streams_of_a_logger(tmp_path: Path) -> None:
    folder = f"{tmp_path}/a b'\N{SNOWMAN}\udcff;&+%"
    streams = KeptLog(folder)
    assert streams.stdio.stdout == streams.stdio.stderr
    assert streams.stdio.stdout.isascii()
    assert is_log_of(streams.stdio.stdout, folder)
    for other in (f"{tmp_path}/a b", str(tmp_path), ""):
        assert not is_log_of(streams.stdio.stdout, f"{other}x")
    assert not is_log_of("file:///x", folder)
    assert not is_log_of(BinaryLogger("/x", {"a": "b"}).stdio.stdout, folder)
    with pytest.raises(FailedPrecondition, match=r"made no log.*NullIO"):
        streams.start(None)  # type: ignore[arg-type]
    assert KeptLog(folder, terminal=True).stdio.terminal
    assert "has_stderr%3DFalse" in KeptLog(folder, terminal=True).stdio.stdout


@pytest.mark.parametrize("program", ["", "/usr/bin/uwsgi", "/opt/app/server", "python3"])
def test_a_plain_file_where_python_is_not_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
) -> None:
    """A program that has Python within would start itself."""
    monkeypatch.setattr(sys, "executable", program)
    assert KeptLog(str(tmp_path)).stdio.stdout == f"file://{tmp_path}/output.log"
    assert KeptLog(str(tmp_path), terminal=True).stdio.stdout == "/dev/null"


def test_a_plain_file_stays_one(tmp_path: Path) -> None:
    """A container that a package in an archive has started, started again by one in a folder."""
    (tmp_path / "output.log").touch()
    assert KeptLog(str(tmp_path)).stdio.stdout == f"file://{tmp_path}/output.log"

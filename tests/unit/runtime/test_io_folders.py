"""Which FIFOs there are, who serves them, and who removes them; the test is the shim."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from containerd_lite.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from containerd_lite.runtime.io import (
    PIPE,
    STDOUT,
    BinaryLogger,
    Capture,
    Fifos,
    LogFile,
    NullIO,
    ProcessStreams,
    Streams,
    attach,
    discard_fifos,
    fifos,
)
from containerd_lite.services.tasks import NULL_STDIO, Stdio
from tests.harness.shim import Shim

pytestmark = [pytest.mark.interpreter, pytest.mark.usefixtures("fifo_folder")]

#: A client that makes streams, says which, and waits to be killed.
_CLIENT = """
import sys
from pathlib import Path
from containerd_lite.runtime.io import PIPE, Streams, fifos
fifos.FIFO_FOLDER = Path(sys.argv[1])
streams = Streams(PIPE, PIPE)
print(streams.stdio.stdout, flush=True)
sys.stdin.read()
"""


def test_streams_that_others_serve(tmp_path: Path) -> None:
    null: ProcessStreams = NullIO()
    assert null.stdio == NULL_STDIO
    with null:
        assert null.wait(0)
    uri = "file:///var/log/a%20b%23c.log"
    assert LogFile("/var/log/x/../a b#c.log").stdio == Stdio("", uri, uri)
    assert LogFile("//host/log").stdio.stdout == "file:///host/log"
    uri = "binary:///bin/log%25?id=a+b%26c&level="
    logger = BinaryLogger(Path("/bin/log%"), {"level": "", "id": "a b&c"}, terminal=True)
    assert logger.stdio == Stdio("", uri, uri, terminal=True)
    assert BinaryLogger("/bin/log", ready_byte=True).stdio.stdout == "binary-v2:///bin/log"
    for path in ("relative", ""):
        with pytest.raises(InvalidArgument, match="not absolute"):
            LogFile(path)


def test_fifos_that_are_there_already(tmp_path: Path) -> None:
    fifo, file = str(tmp_path / "fifo"), str(tmp_path / "file")
    os.mkfifo(fifo)
    Path(file).touch()
    assert Fifos(fifo).stdio == Stdio(fifo, "/dev/null", "/dev/null")
    assert Fifos("", fifo, fifo).stdio == Stdio("", fifo, fifo)
    assert Fifos(fifo, fifo, terminal=True).stdio == Stdio(fifo, fifo, "", terminal=True)
    with pytest.raises(NotFound, match="does not exist"):
        Fifos("", fifo + "2")
    with pytest.raises(FailedPrecondition, match="is not a FIFO"):
        Fifos("", file)
    with pytest.raises(InvalidArgument, match="not absolute"):
        Fifos("", "fifo")
    with pytest.raises(InvalidArgument, match="has no stderr"):
        Fifos("", fifo, fifo, terminal=True)


def test_attaching_takes_what_was_written_and_leaves_the_fifos(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("in", "out", "err")]
    for path in paths:
        os.mkfifo(path)
    stdio = Stdio(paths[0], paths[1], paths[2])
    readers = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in paths[1:]]
    writer = os.open(paths[0], os.O_RDWR)
    shim = Shim(stdio)
    for descriptor in (writer, *readers):
        os.close(descriptor)
    os.write(shim.stdout, b"before ")
    out, err = Capture(100), Capture(100)
    for text in (b"one", b"two"):
        with attach(stdio, None, out) as streams:
            streams.start(shim)
            os.write(shim.stdout, text)
            os.write(shim.stderr, b"not wanted")
            assert not streams.wait(0.05)
    assert out.data == b"before onetwo"
    with attach(stdio, b"in", out, err) as streams:
        streams.start(shim)
        assert shim.read_input() == b"in"
        os.write(shim.stderr, b"last")
        shim.close()
        assert streams.wait(5)
    assert err.data == b"last"
    assert all(Path(path).is_fifo() for path in paths)
    with attach(Stdio("", paths[1], paths[2]), None, PIPE, PIPE) as streams:  # nobody is there
        streams.start(shim)
        assert streams.stdout is not None
        assert streams.stdout.read() == b""


def test_attaching_to_a_process_whose_shim_is_gone_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out")
    path = str(tmp_path / "out")
    with attach(Stdio("", path, path), None, Capture(0)) as streams:
        streams.start(_NOBODY)
        assert streams.wait(5)


def test_what_cannot_be_attached_to(tmp_path: Path, fifo_folder: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    with pytest.raises(FailedPrecondition, match="no streams"):
        attach(Stdio())
    with pytest.raises(FailedPrecondition, match="no streams"):
        attach(Stdio("", "/dev/null", "/dev/null"))
    with pytest.raises(FailedPrecondition, match="goes to file:///log"):
        attach(LogFile("/log").stdio)
    with pytest.raises(NotFound, match="does not exist"):
        attach(Stdio("", fifo + "2", fifo + "3"), None, PIPE)
    with pytest.raises(NotFound, match="does not exist"):
        attach(Stdio("", f"{fifo_folder}/lite-gone/stdout"), None, PIPE)
    with pytest.raises(FailedPrecondition, match="is not a FIFO"):
        attach(Stdio("", __file__), None, PIPE)
    with pytest.raises(FailedPrecondition, match="without stdin"):
        attach(Stdio("", fifo, fifo), PIPE)
    with pytest.raises(FailedPrecondition, match="has no reader"):
        attach(Stdio(fifo, "/dev/null", "/dev/null"), PIPE)
    os.mkfifo(fifo + "2")
    with pytest.raises(InvalidArgument, match="two outputs"):
        attach(Stdio("", fifo, fifo + "2"), None, PIPE, STDOUT)


def test_one_client_at_a_time(fifo_folder: Path) -> None:
    with (
        Streams(None, PIPE) as streams,
        pytest.raises(FailedPrecondition, match="another client"),
    ):
        attach(streams.stdio, None, PIPE)


def test_who_has_no_right_to_the_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionDenied, match="cannot be written"):
        Streams(None, PIPE)


def killed_client(folder: Path) -> Path:
    """The FIFO of stdout of a client that was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", _CLIENT, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as client:
        assert client.stdout is not None
        path = Path(client.stdout.readline().decode().strip())
        fifos._remove_abandoned.cache_clear()
        with Streams(None, PIPE):
            assert path.is_fifo()  # it lives
        client.send_signal(signal.SIGKILL)
    assert path.is_fifo()
    return path


def test_what_a_killed_client_left_is_removed(fifo_folder: Path) -> None:
    path = killed_client(fifo_folder)
    fifos._remove_abandoned.cache_clear()
    (fifo_folder / "lite-with-a-file").mkdir()
    (fifo_folder / "lite-with-a-file" / "file").touch()
    (fifo_folder / "other").mkdir()
    with Streams(None, PIPE):
        assert not path.parent.exists()
        assert (fifo_folder / "lite-with-a-file" / "file").exists()
        (fifo_folder / "lite-with-a-file" / "file").unlink()
        (fifo_folder / "lite-with-a-file").rmdir()
        (fifo_folder / "other").rmdir()


def test_what_a_shim_still_uses_is_not(fifo_folder: Path) -> None:
    path = killed_client(fifo_folder)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # runc's shim has this, too
    fifos._remove_abandoned.cache_clear()
    with Streams(None, PIPE):
        assert path.is_fifo()
    os.close(reader)
    discard_fifos(Stdio(str(path.parent / "stdin"), str(path), "/dev/null"))  # the task is deleted
    assert not path.parent.exists()


def test_only_folders_of_ours_are_discarded(tmp_path: Path, fifo_folder: Path) -> None:
    os.mkfifo(tmp_path / "stdout")
    discard_fifos(Stdio("", str(tmp_path / "stdout"), ""))
    assert (tmp_path / "stdout").is_fifo()
    with Streams(None, PIPE) as streams:
        discard_fifos(streams.stdio)
        assert Path(streams.stdio.stdout).is_fifo()  # it goes when that client ends
    discard_fifos(streams.stdio)
    discard_fifos(Stdio("", "file:///x", ""))


class _Nobody:
    def poll(self) -> None: ...

    def close_io(self) -> None: ...

    def resize(self, columns: int, rows: int) -> None: ...


_NOBODY = _Nobody()

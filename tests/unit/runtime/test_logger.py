"""The process that writes the log of a detached container."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerd_lite.runtime.kept import logger
from tests.harness import kernel
from tests.harness.logger_process import LoggerProcess, read_bytes, read_lines
from tests.harness.process import wait_until

_RECORD = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) [FP] [^\n]{,16384}\n"
)


def write_all(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / logger.SYNC)
    return tmp_path


@given(st.lists(st.one_of(st.binary(max_size=50), st.integers(16_000, 40_000)), max_size=10))
def test_the_records_have_all_bytes(pieces: list[bytes | int]) -> None:
    """Whatever the lines, and wherever reads cut them."""
    stream, found, sizes, written = logger.Stream(b"stderr"), b"", 0, b""
    for piece in pieces:
        data = piece if isinstance(piece, bytes) else b"x" * piece + b"\n" * (piece % 2)
        records, size = stream.records(data)
        written, found, sizes = written + data, found + records, sizes + size
        assert len(stream.rest) <= logger.MAX_TEXT
    records, size = stream.flush()
    found += records
    assert sizes + size == len(written)
    text = b""
    for record in found.split(b"\n")[:-1]:
        assert _RECORD.fullmatch(record + b"\n"), record
        _, _, tag, line = record.split(b" ", 3)
        text += line + (b"\n" if tag == b"F" else b"")
    assert text == written


@pytest.mark.interpreter
def test_both_streams_in_the_format_of_the_cri(folder: Path) -> None:
    with LoggerProcess(folder) as process:
        os.write(process.stdout, b"one\ntwo\n")
        assert wait_until(lambda: read_bytes(folder) == b"one\ntwo\n", 10)
        os.write(process.stderr, b"oops")
        # A reader sees at once what has been written, also an unfinished line.
        assert read_bytes(folder) == b"one\ntwo\noops"
        os.write(process.stderr, b"!\n")
    lines = (folder / logger.LOG).read_bytes().split(b"\n")
    assert [line.split(b" ", 1)[1] for line in lines[:-1]] == [
        b"stdout F one", b"stdout F two", b"stderr P oops", b"stderr F !",
    ]  # fmt: skip
    assert [(line.stream, line.data) for line in read_lines(folder)] == [
        ("stdout", b"one"), ("stdout", b"two"), ("stderr", b"oops!"),
    ]  # fmt: skip
    assert (folder / logger.LOG).stat().st_mode & 0o777 == 0o600


def test_a_reader_sees_unfinished_lines_beside_a_flood(folder: Path) -> None:
    is_seen = threading.Event()

    def flood() -> None:
        while not is_seen.is_set():
            write_all(process.stdout, b"x" * 99 + b"\n")

    with LoggerProcess(folder) as process:
        writer = threading.Thread(target=flood)
        writer.start()
        os.write(process.stderr, b"unfinished")
        found = read_bytes(folder)
        is_seen.set()
        writer.join(10)
    assert b"unfinished" in found


def test_a_terminal_has_one_stream(folder: Path) -> None:
    """runc's shim never closes the other one."""
    with LoggerProcess(folder, terminal=True) as process:
        os.write(process.stdout, b"on a terminal\r\n")
        os.close(process.stdout)
        process.stdout = -1
        process.wait()
    assert read_bytes(folder) == b"on a terminal\r\n"


def test_five_files_of_ten_mebibytes(folder: Path) -> None:
    data = b"".join(b"%0100d\n" % number for number in range(500_000))
    with LoggerProcess(folder) as process:
        write_all(process.stdout, data)
    sizes = [path.stat().st_size for path in folder.glob(f"{logger.LOG}*")]
    assert len(sizes) == 5
    assert max(sizes) <= 10 << 20
    assert sorted(sizes)[1] > 9 << 20
    kept = read_bytes(folder)
    assert len(kept) > 20 << 20
    assert data.endswith(kept)  # the last lines, none of them twice


def test_the_log_goes_on_after_a_restart_and_a_kill(folder: Path) -> None:
    with LoggerProcess(folder) as process:
        os.write(process.stdout, b"one\n")
    with (folder / logger.LOG).open("ab") as file:
        file.write(b"2026-12-01T00:00:00.0")  # what a logger leaves that is killed while it writes
    with LoggerProcess(folder) as process:
        os.write(process.stdout, b"two\n")
    assert read_bytes(folder) == b"one\ntwo\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_the_log_belongs_to_the_user_who_reads_it(folder: Path) -> None:
    """A user who may use the socket of root's daemon."""
    os.chown(folder, 65534, 65533)
    with LoggerProcess(folder) as process:
        write_all(process.stdout, b"x" * (6 << 20) + (b"x" * 99 + b"\n") * 50_000)
    for path in folder.glob(f"{logger.LOG}*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533)


def test_signals_do_not_end_it(folder: Path) -> None:
    with LoggerProcess(folder) as process:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(process.pid, number)
        os.write(process.stdout, b"still here\n")
        assert wait_until(lambda: read_bytes(folder) == b"still here\n", 10)


def test_a_full_disk_leaves_a_gap_and_blocks_nothing(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root mounts")
    noise = random.Random(1)
    with kernel.small_disk(tmp_path, 1 << 20):
        hog = tmp_path / "hog"
        with LoggerProcess(tmp_path) as process:
            os.write(process.stdout, b"before\n")
            assert wait_until(lambda: read_bytes(tmp_path) == b"before\n", 10)
            hog.write_bytes(b"x" * (512 << 10))
            for _ in range(40):  # 1.25 MiB, more than the disk and the pipe have room for
                write_all(process.stdout, noise.randbytes(32 << 10))
            hog.unlink()
            write_all(process.stdout, b"\nafter\n")
        text = read_bytes(tmp_path)
        lines = (tmp_path / logger.LOG).read_bytes().split(b"\n")
    notes = re.findall(rb"\[containerd-lite: (\d+) bytes are missing here: No space left", text)
    assert len(notes) >= 1
    assert text.startswith(b"before\n")
    assert text.endswith(b"after\n")
    assert all(_RECORD.fullmatch(line + b"\n") for line in lines[:-1])
    plain = re.sub(rb"\[containerd-lite: .*?\]\n", b"", text)
    assert len(plain) + sum(map(int, notes)) == len(b"before\n\nafter\n") + 40 * (32 << 10)


def test_a_folder_that_is_gone_blocks_nothing(folder: Path) -> None:
    (folder / "gone").mkdir()
    with LoggerProcess(folder / "gone") as process:
        for path in (folder / "gone").iterdir():
            path.unlink()
        (folder / "gone").rmdir()
        write_all(process.stdout, b"x" * 79 + b"\n")
        write_all(process.stdout, (b"x" * 79 + b"\n") * (12 << 20 >> 6))
    assert not (folder / "gone").exists()

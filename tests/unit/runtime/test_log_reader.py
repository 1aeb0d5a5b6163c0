"""Reading the log of a detached container: lines, times, tails, and over rotation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.errors import FailedPrecondition, InvalidArgument, NotFound
from containerd_lite.runtime.kept import LogLine, logger, read_plain_log, since_of
from containerd_lite.runtime.kept.log_reader import read_kept_log
from tests.harness.logger_process import query, read_bytes, read_lines

_DAY = datetime(2026, 12, 1, tzinfo=timezone.utc)


def stamp(second: int) -> bytes:
    return since_of(_DAY + timedelta(seconds=second))


def write(folder: Path, *records: str) -> None:
    """Write records, which begin with a number of seconds."""
    with (folder / logger.LOG).open("ab") as file:
        for record in records:
            second, rest = record.split(" ", 1)
            file.write(stamp(int(second)) + f" {rest}\n".encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "1 stdout F one", "2 stdout P two a", "3 stderr F oops", "4 stdout F nd a half")
    write(tmp_path, "5 stdout F ", "6 stderr P unfinished")
    return tmp_path


def test_bytes(folder: Path) -> None:
    assert read_bytes(folder) == b"one\ntwo aoops\nnd a half\n\nunfinished"
    assert read_bytes(folder, timestamps=True) == (
        b"%s one\n%s two a%s oops\nnd a half\n%s \n%s unfinished"
        % tuple(map(stamp, (1, 2, 3, 5, 6)))
    )


def test_lines(folder: Path) -> None:
    def at(second: int) -> datetime:
        return _DAY + timedelta(seconds=second)

    assert read_lines(folder) == [
        LogLine(b"one", "stdout", at(1)),
        LogLine(b"oops", "stderr", at(3)),
        LogLine(b"two and a half", "stdout", at(4)),
        LogLine(b"", "stdout", at(5)),
        LogLine(b"unfinished", "stderr", at(6)),
    ]
    assert [line.data for line in read_lines(folder, since=stamp(5))] == [b"", b"unfinished"]
    with pytest.raises(AttributeError):
        LogLine(b"").data = b"x"  # type: ignore[misc]


def test_tails(folder: Path) -> None:
    whole = [line.data for line in read_lines(folder)]
    for number in range(7):
        found = [line.data for line in read_lines(folder, tail=number)]
        assert found == whole[max(0, len(whole) - number) :] or number == 3, number
    # The line that the other stream interrupts has lost its beginning.
    assert [line.data for line in read_lines(folder, tail=3)] == [b"nd a half", b"", b"unfinished"]
    assert [line.data for line in read_lines(folder, tail=9, since=stamp(5))] == whole[-2:]


def test_damage(tmp_path: Path) -> None:
    write(tmp_path, "1 stdout F one")
    with (tmp_path / logger.LOG).open("ab") as file:
        file.write(
            b"2026-1\n\nno record at all\n" + b"x" * (1 << 20) + b"\n" + stamp(2) + b" a F b\n"
        )
        file.write(b"not a time stdout F x\n" + b"zzzz-01-01T00:00:00.000000000Z stdout F x\n")
    write(tmp_path, "3 stdout F two")
    assert read_bytes(tmp_path) == b"one\ntwo\n"
    with (tmp_path / logger.LOG).open("ab") as file:
        file.write(stamp(4) + b" stdout F not yet wri")
    assert [line.data for line in read_lines(tmp_path)] == [b"one", b"two"]


def test_a_record_that_is_half_written_is_read_later(tmp_path: Path) -> None:
    record = stamp(1) + b" stdout F one\n"
    parts = [record[:7], record[7:40], record[40:]]

    def runs() -> bool:
        with (tmp_path / logger.LOG).open("ab") as file:
            file.write(parts.pop(0))
        return bool(parts)

    (tmp_path / logger.LOG).touch()
    assert list(read_kept_log(str(tmp_path), query(), follow=runs, timeout=None)) == [b"one\n"]


def test_a_long_line_takes_bounded_memory(tmp_path: Path) -> None:
    piece = "x" * logger.MAX_TEXT
    write(tmp_path, *(f"1 stdout P {piece}" for _ in range(65)), "2 stdout F end")
    assert [len(line.data) for line in read_lines(tmp_path)] == [1 << 20, logger.MAX_TEXT + 3]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """A function that logs a number, in files of three records."""
    monkeypatch.setattr(logger, "FILE_SIZE", 150)
    log = logger.Log(str(tmp_path))
    yield lambda number: log.write(*logger.Stream(b"stdout").records(b"%06d\n" % number))
    os.close(log._file)


def test_across_the_files(small: Callable[[int], None], tmp_path: Path) -> None:
    for number in range(40):
        small(number)
    names = [logger.LOG, *(f"{logger.LOG}.{number}" for number in range(1, logger.FILES))]
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    whole = read_bytes(tmp_path).split()
    assert whole == [b"%06d" % number for number in range(27, 40)]
    for tail in (1, 2, 5, 12, 99):
        assert read_bytes(tmp_path, tail=tail).split() == whole[-tail:]
    times = [line.split()[0] for line in read_bytes(tmp_path, timestamps=True).splitlines()]
    for since in times:
        assert read_bytes(tmp_path, since=since).split() == whole[times.index(since) :]


@pytest.mark.parametrize("step", [1, 2, 3, 4, 7, 9])
def test_following_over_rotation(
    small: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr("containerd_lite.runtime.kept.log_reader.POLL_INTERVAL", 0)
    small(0)
    left = list(range(1, 70))

    def runs() -> bool:
        for _ in left[:step]:
            small(left.pop(0))
        return bool(left)

    pieces = read_kept_log(str(tmp_path), query(), follow=runs, timeout=None)
    found = [int(number) for piece in pieces for number in piece.split()]  # type: ignore[union-attr]
    assert found == list(range(70))


def test_files_that_are_deleted_before_they_are_read(
    small: Callable[[int], None], tmp_path: Path
) -> None:
    """The open file is read to its end, and then the oldest that is still there."""
    small(0)
    times = [40, 0]

    def runs() -> bool:
        for number in range(times[0]):
            small(number + 1)
        return bool(times.pop(0))

    pieces = read_kept_log(str(tmp_path), query(), follow=runs, timeout=None)
    found = [int(number) for piece in pieces for number in piece.split()]  # type: ignore[union-attr]
    assert found == [0, 1, 2, *range(27, 41)]


def test_what_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"container\.log does not exist"):
        read_bytes(tmp_path)
    (tmp_path / "away").write_bytes(b"secret\n")
    (tmp_path / logger.LOG).symlink_to(tmp_path / "away")
    with pytest.raises((FailedPrecondition, InvalidArgument)):
        read_bytes(tmp_path)
    (tmp_path / logger.LOG).unlink()
    os.mkfifo(tmp_path / logger.LOG)
    with pytest.raises((FailedPrecondition, InvalidArgument)):
        read_bytes(tmp_path)


def test_times() -> None:
    zone = timezone(timedelta(hours=2))
    assert since_of(datetime(2026, 12, 1, 2, 0, 0, 7, zone)) == b"2026-12-01T00:00:00.000007000Z"
    assert since_of(None) == since_of(float("inf")) == b""
    before = logger.now()[:26]
    assert before <= since_of(0)[:26] <= logger.now()[:26]
    hour = datetime.now(timezone.utc) - timedelta(hours=1)
    assert (
        since_of(hour - timedelta(minutes=1))
        < since_of(3600)
        < since_of(hour + timedelta(minutes=1))
    )
    wrongs: list[Any] = [datetime(2026, 12, 1), "5", -1, float("nan"), True, b"x", []]
    for wrong in wrongs:
        with pytest.raises(InvalidArgument, match=r"since cannot be .* how many seconds ago"):
            since_of(wrong)


def test_lines_of_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n\n" + b"x" * (2 << 20) + b"\nlast")
    found = read_plain_log(os.fsencode(path), query(lines=True), follow=None, timeout=None)
    lines = [line.data for line in found if isinstance(line, LogLine)]
    assert lines[:2] == [b"one", b""]
    assert b"".join(lines[2:-1]) == b"x" * (2 << 20)
    assert max(map(len, lines)) <= (1 << 20) + (64 << 10)
    assert lines[-1] == b"last"
    found = read_plain_log(os.fsencode(path), query(lines=True, tail=1), follow=None, timeout=None)
    assert list(found) == [LogLine(b"last")]

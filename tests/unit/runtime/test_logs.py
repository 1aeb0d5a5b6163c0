"""Reading a log file's end, and following it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from containerd_lite.errors import FailedPrecondition, NotFound
from containerd_lite.runtime.watch.logs import log_path, read_log


def read(path: Path, tail: int | None = None) -> bytes:
    return b"".join(read_log(os.fsencode(path), tail=tail, follow=None, timeout=None))


@pytest.mark.parametrize("end", [b"", b"unfinished"])
@pytest.mark.parametrize("width", [0, 10, 200_000])
def test_tail(tmp_path: Path, end: bytes, width: int) -> None:
    lines = [b"%d%s\n" % (n, b"x" * width) for n in range(5)] + ([end] if end else [])
    log = tmp_path / "log"
    log.write_bytes(b"".join(lines))
    assert read(log) == b"".join(lines)
    for number in range(8):
        assert read(log, number) == b"".join(lines[max(0, len(lines) - number) :])
        if not number:
            assert read(log, 0) == b""


def test_an_empty_log(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    assert read(tmp_path / "log", 3) == b""
    with pytest.raises(NotFound, match=r"log file .* does not exist"):
        read(tmp_path / "none")


def test_following_ends_with_the_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old\n")
    left = [b"one\n", b"two\n", b"last\n"]

    def runs() -> bool:
        with log.open("ab") as file:
            file.write(left.pop(0))
        return bool(left)

    pieces = read_log(os.fsencode(log), tail=1, follow=runs, timeout=None)
    assert b"".join(pieces) == b"old\none\ntwo\nlast\n"


def test_following_for_a_while(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old\n")
    assert (
        b"".join(read_log(os.fsencode(log), tail=None, follow=lambda: True, timeout=0.05))
        == b"old\n"
    )


def test_paths() -> None:
    assert log_path("file:///var/log/a%20b") == b"/var/log/a b"
    for uri in ("", "binary:///bin/x", "binary-v2:///bin/x", "/dev/null", "/run/fifo"):
        with pytest.raises(FailedPrecondition, match=r"no log|not to a log file"):
            log_path(uri)

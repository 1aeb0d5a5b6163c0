"""Frames that a client sends, as an independent reader sees them."""

from __future__ import annotations

import pytest

from containerd_lite.wire import frames
from tests.wire.peer import Frame, split


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (frames.window_update(7, 65536), Frame(8, 0, 7, b"\0\1\0\0")),
        (frames.rst_stream(3, frames.CANCEL), Frame(3, 0, 3, b"\0\0\0\x08")),
        (frames.goaway(11), Frame(7, 0, 0, b"\0\0\0\0\0\0\0\x0b")),
        (frames.goaway(0, b"why"), Frame(7, 0, 0, b"\0" * 8 + b"why")),
        (frames.ping_ack(b"12345678"), Frame(6, 1, 0, b"12345678")),
        (frames.headers(1, b"block", 16384), Frame(1, 4, 1, b"block")),
        (frames.headers(1, b"12345", 5), Frame(1, 4, 1, b"12345")),
    ],
)
def test_one_frame(data: bytes, expected: Frame) -> None:
    assert split(data) == ([expected], b"")


@pytest.mark.parametrize("length", [0, 1, 255, 256, 65535, 65536, (1 << 24) - 1])
def test_header(length: int) -> None:
    head = frames.header(frames.DATA, frames.END_STREAM, 0x7FFFFFFF, length)
    assert head == length.to_bytes(3, "big") + b"\x00\x01\x7f\xff\xff\xff"
    assert frames.unpack_header(head, 0) == (length << 8 | frames.DATA, 1, 0x7FFFFFFF)


@pytest.mark.parametrize("size", [6, 10, 11, 15])
def test_a_long_block_goes_on_in_continuation(size: int) -> None:
    block = bytes(range(size))
    found, rest = split(frames.headers(5, block, 5))
    assert rest == b""
    assert [f.kind for f in found] == [1] + [9] * (len(found) - 1)
    assert [f.flags for f in found] == [0] * (len(found) - 1) + [4]
    assert {f.stream_id for f in found} == {5}
    assert all(len(f.payload) <= 5 for f in found)
    assert b"".join(f.payload for f in found) == block

"""Bytes to frames: whole, byte by byte, with bytes behind; and what is no frame."""

from __future__ import annotations

import pytest

from containerd_lite.wire import frames
from containerd_lite.wire.frame_reader import (
    MAX_BLOCK,
    MAX_CONTINUATIONS,
    ConnectionFault,
    FrameReader,
)
from tests.wire import peer
from tests.wire.peer import END_HEADERS, HAS_PRIORITY, PADDED, frame

Seen = list[tuple[int, bytes, int, int, int]]
HELLO = peer.settings()


def feed(data: bytes, step: int = 0, behind: bytes = b"") -> Seen:
    """The handled frames of some bytes, given in steps; what is not used comes again."""
    seen: Seen = []

    def handler(kind: int) -> object:
        def handle(payload: memoryview, flags: int, stream_id: int, size: int) -> None:
            seen.append((kind, bytes(payload), flags, stream_id, size))

        return handle

    kinds = set(range(10)) - {frames.CONTINUATION, frames.PRIORITY}
    reader = FrameReader({kind: handler(kind) for kind in kinds})  # type: ignore[misc]
    if not step:
        assert reader.feed(memoryview(data + behind)) == len(data)
        return seen
    waiting = b""
    for at in range(0, len(data), step):
        waiting += data[at : at + step]
        waiting = waiting[reader.feed(memoryview(waiting)) :]
    assert waiting == b""
    return seen


VALID: dict[str, tuple[bytes, Seen]] = {
    "data": (peer.data(1, b"abc", end=True), [(0, b"abc", 1, 1, 3)]),
    "empty": (peer.data(1, b""), [(0, b"", 0, 1, 0)]),
    "padded": (peer.data(1, b"abc", padding=4), [(0, b"abc", PADDED, 1, 8)]),
    "padding of nothing": (peer.data(1, b"abc", padding=0), [(0, b"abc", PADDED, 1, 4)]),
    "only padding": (peer.data(1, b"", padding=255), [(0, b"", PADDED, 1, 256)]),
    "flags of HEADERS on DATA": (
        frame(0, HAS_PRIORITY, 1, b"abc"),
        [(0, b"abc", HAS_PRIORITY, 1, 3)],
    ),
    "headers": (frame(1, END_HEADERS, 3, b"block"), [(1, b"block", END_HEADERS, 3, 5)]),
    "headers, padding, priority": (
        frame(1, END_HEADERS | PADDED | HAS_PRIORITY, 3, b"\x02prio.block\0\0"),
        [(1, b"block", END_HEADERS | PADDED | HAS_PRIORITY, 3, 13)],
    ),
    "headers, priority": (
        frame(1, END_HEADERS | HAS_PRIORITY, 3, b"prio.block"),
        [(1, b"block", END_HEADERS | HAS_PRIORITY, 3, 10)],
    ),
    "continuation": (
        frame(1, 1, 3, b"bl") + frame(9, 0, 3, b"o") + frame(9, END_HEADERS, 3, b"ck"),
        [(1, b"block", 1, 3, 2)],
    ),
    "reserved bit": (frame(0, 0, 0x80000001, b"x"), [(0, b"x", 0, 1, 1)]),
    "rst": (peer.rst(5, 8), [(3, b"\0\0\0\x08", 0, 5, 4)]),
    "ping": (peer.ping(), [(6, b"12345678", 0, 0, 8)]),
    "goaway": (peer.goaway(3, 2, b"x"), [(7, b"\0\0\0\3\0\0\0\2x", 0, 0, 9)]),
    "window update": (peer.window_update(0, 9), [(8, b"\0\0\0\x09", 0, 0, 4)]),
    "settings come whole": (peer.settings({4: 1}), [(4, peer.settings({4: 1}), 0, 0, 6)]),
    "unknown types": (frame(0xFA, 255, 0, b"x" * 99) + frame(10, 0, 77), []),
    "priority": (frame(2, 0, 3, b"prio."), []),
    "the largest": (peer.data(1, b"x" * 16384), [(0, b"x" * 16384, 0, 1, 16384)]),
    "two": (peer.ping() + peer.rst(1, 0), [(6, b"12345678", 0, 0, 8), (3, b"\0\0\0\0", 0, 1, 4)]),
}


@pytest.mark.parametrize("name", VALID)
def test_frames(name: str) -> None:
    data, expected = VALID[name]
    expected = [(4, HELLO, 0, 0, 0), *expected]
    assert feed(HELLO + data) == expected
    assert feed(HELLO + data, behind=b"\0\0\x09\0\0\0\0\0") == expected
    for step in (1, 2, 9, 10):
        assert feed(HELLO + data, step) == expected


BLOCK = frame(1, 0, 3, b"x")
INVALID: dict[str, tuple[bytes, int]] = {
    "too long": (frame(0, 0, 1, b"x" * 16385), frames.FRAME_SIZE_ERROR),
    "ping of 7": (peer.ping(b"1234567"), frames.FRAME_SIZE_ERROR),
    "rst of 5": (frame(3, 0, 1, b"12345"), frames.FRAME_SIZE_ERROR),
    "window update of 3": (frame(8, 0, 1, b"123"), frames.FRAME_SIZE_ERROR),
    "priority of 4": (frame(2, 0, 1, b"1234"), frames.FRAME_SIZE_ERROR),
    "goaway of 7": (frame(7, 0, 0, b"1234567"), frames.FRAME_SIZE_ERROR),
    "data on stream 0": (frame(0, 0, 0, b"x"), frames.PROTOCOL_ERROR),
    "headers on stream 0": (frame(1, END_HEADERS, 0, b"x"), frames.PROTOCOL_ERROR),
    "rst on stream 0": (peer.rst(0, 1), frames.PROTOCOL_ERROR),
    "priority on stream 0": (frame(2, 0, 0, b"prio."), frames.PROTOCOL_ERROR),
    "continuation on stream 0": (frame(9, 0, 0, b"x"), frames.PROTOCOL_ERROR),
    "settings on a stream": (frame(4, 0, 1), frames.PROTOCOL_ERROR),
    "ping on a stream": (frame(6, 0, 1, b"12345678"), frames.PROTOCOL_ERROR),
    "goaway on a stream": (frame(7, 0, 1, b"12345678"), frames.PROTOCOL_ERROR),
    "padding as long as the frame": (frame(0, PADDED, 1, b"\x03ab"), frames.PROTOCOL_ERROR),
    "padded, and empty": (frame(0, PADDED, 1), frames.PROTOCOL_ERROR),
    "headers padded, and empty": (frame(1, END_HEADERS | PADDED, 1), frames.PROTOCOL_ERROR),
    "priority cut short": (frame(1, END_HEADERS | HAS_PRIORITY, 1, b"1234"), frames.PROTOCOL_ERROR),
    "padding over priority": (
        frame(1, END_HEADERS | HAS_PRIORITY | PADDED, 1, b"\x01prio."),
        frames.PROTOCOL_ERROR,
    ),
    "continuation alone": (frame(9, END_HEADERS, 1, b"x"), frames.PROTOCOL_ERROR),
    "continuation of another": (BLOCK + frame(9, END_HEADERS, 5, b"x"), frames.PROTOCOL_ERROR),
    "a block interrupted": (BLOCK + peer.ping(), frames.PROTOCOL_ERROR),
    "a block interrupted by the unknown": (BLOCK + frame(99, 0, 3), frames.PROTOCOL_ERROR),
    "a block interrupted by a block": (BLOCK + BLOCK, frames.PROTOCOL_ERROR),
    "CVE-2024-27316, small": (
        BLOCK + frame(9, 0, 3) * (MAX_CONTINUATIONS + 1),
        frames.ENHANCE_YOUR_CALM,
    ),
    "CVE-2024-27316, large": (
        BLOCK + frame(9, 0, 3, bytes(16384)) * (MAX_BLOCK // 16384),
        frames.ENHANCE_YOUR_CALM,
    ),
}


@pytest.mark.parametrize("name", INVALID)
def test_faults(name: str) -> None:
    data, code = INVALID[name]
    for step in (0, 1) if len(data) < 10000 else (0, 1000):
        with pytest.raises(ConnectionFault) as caught:
            feed(HELLO + data, step)
        assert caught.value.code == code


def test_as_many_continuations_as_allowed() -> None:
    data = BLOCK + frame(9, 0, 3) * (MAX_CONTINUATIONS - 1) + frame(9, END_HEADERS, 3, b"y")
    assert feed(HELLO + data)[1:] == [(1, b"xy", 0, 3, 1)]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "something else"),
        (peer.ping(), "something else"),
    ],
)
def test_the_first_frame_is_settings(data: bytes, said: str) -> None:
    for step in (0, 1):
        with pytest.raises(ConnectionFault, match=said):
            feed(data, step)


def test_a_fault_is_seen_before_its_frame_is_whole() -> None:
    with pytest.raises(ConnectionFault):
        feed(HELLO + b"\xff\xff\xff\0\0\0\0\0\1")

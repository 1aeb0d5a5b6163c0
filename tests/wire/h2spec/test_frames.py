"""h2spec, client cases of section 4: frames as such, their size, header blocks."""

from __future__ import annotations

from tests.wire import peer
from tests.wire.h2spec.script import (
    COMPRESSION_ERROR,
    FRAME_SIZE_ERROR,
    NOT_FOUND,
    NOTHING,
    Case,
    each,
    goaway,
    ping_ack,
    play,
)
from tests.wire.peer import Frames, frame

#: The largest frame that a peer may send to whoever has not said more (RFC 9113, 6.5.2).
MAX_FRAME = 1 << 14
#: A message that fills such a frame, its prefix of 5 bytes included.
FULL = b"x" * (MAX_FRAME - 5)

UNDEFINED_FLAGS = 0x16
RESERVED_BIT = 1 << 31


def answer(server: Frames, subject: int, body: bytes) -> bytes:
    """An answer whose message comes in just one DATA frame, whatever its size."""
    whole = peer.data(subject, peer.message(body))
    return server.headers(subject) + whole + server.trailers(subject)


def large_headers(server: Frames, subject: int) -> bytes:
    """Fields that we take in smaller frames, in one frame that is too large."""
    block = server.block([*NOT_FOUND, ("x-large", "x" * 20000)])
    assert MAX_FRAME < len(block) < 20000
    return frame(peer.HEADERS, peer.END_STREAM | peer.END_HEADERS, subject, block)


FORMAT = [
    Case(
        "4.1/1",
        "4.1, 5.5",
        "a frame of unknown type is discarded",
        lambda server, subject: frame(0x16, 0, 0, bytes(8)),
        NOTHING,
    ),
    Case(
        "4.1/2",
        "4.1",
        "flags that PING does not define mean nothing",
        lambda server, subject: peer.ping(b"flagged!", UNDEFINED_FLAGS),
        ping_ack(b"flagged!"),
    ),
    Case(
        "4.1/3",
        "4.1",
        "the bit before the stream identifier means nothing",
        lambda server, subject: frame(peer.PING, UNDEFINED_FLAGS, RESERVED_BIT, b"reserved"),
        ping_ack(b"reserved"),
    ),
]

SIZE = [
    Case(
        "4.2/1",
        "4.2",
        "DATA of 2**14 bytes is taken",
        lambda server, subject: answer(server, subject, FULL),
        NOTHING,
        outcome=FULL,
    ),
    # A stream error would do; that it may be made a connection error, 5.4.1 says.  We do that at
    # once, not reading on for a frame that no honest peer sends.
    Case(
        "4.2/2",
        "4.2",
        "DATA of one byte more",
        lambda server, subject: answer(server, subject, FULL + b"x"),
        goaway(FRAME_SIZE_ERROR),
    ),
    Case(
        "4.2/3",
        "4.2",
        "HEADERS larger than a frame may be",
        large_headers,
        goaway(FRAME_SIZE_ERROR),
    ),
]

COMPRESSION = [
    Case(
        "4.3/1",
        "4.3",
        "a header block that ends behind the first byte of a literal field",
        lambda server, subject: frame(
            peer.HEADERS, peer.END_STREAM | peer.END_HEADERS, subject, b"\x40"
        ),
        goaway(COMPRESSION_ERROR),
    ),
]

CASES = [*FORMAT, *SIZE, *COMPRESSION]


@each(CASES)
def test_frames(case: Case, manner: str) -> None:
    play(case, manner)

"""h2spec, client cases of sections 6.1 to 6.4 and 6.10: the frames that belong to a stream."""

from __future__ import annotations

from containerd_lite.errors import NotFound
from tests.wire import peer
from tests.wire.h2spec.script import (
    CANCEL,
    FRAME_SIZE_ERROR,
    LATE,
    NOT_FOUND,
    NOTHING,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    Case,
    each,
    goaway,
    play,
)
from tests.wire.peer import END_HEADERS, END_STREAM, PADDED, RESPONSE, Field, Frames, frame

#: No dependency, and a weight: the five bytes of PRIORITY.
PRIORITY_FIELDS = bytes((0, 0, 0, 0, 255))


def padded(server: Frames, kind: int, flags: int, subject: int, padding: int, rest: bytes) -> bytes:
    """Headers of an answer if they are needed, and a frame that says it has `padding`."""
    before = server.headers(subject) if kind == peer.DATA else b""
    return before + frame(kind, flags | PADDED, subject, bytes((padding,)) + rest)


def headers(
    server: Frames, stream_id: int, flags: int = 0, fields: tuple[Field, ...] = RESPONSE
) -> bytes:
    """HEADERS with just these flags: more fields follow where END_HEADERS is not among them."""
    return frame(peer.HEADERS, flags, stream_id, server.block(fields))


def continuation(
    server: Frames, stream_id: int, flags: int = 0, fields: tuple[Field, ...] = LATE
) -> bytes:
    return frame(peer.CONTINUATION, flags, stream_id, server.block(fields))


def ended(server: Frames, subject: int) -> bytes:
    return headers(server, subject, END_STREAM | END_HEADERS, NOT_FOUND)


DATA = [
    Case(
        "6.1/1",
        "6.1",
        "DATA for stream 0",
        lambda server, subject: peer.data(0, b"test", end=True),
        goaway(PROTOCOL_ERROR),
    ),
    # 6.1 asks for RST_STREAM with STREAM_CLOSED; 5.1 forbids to send that on a stream which is
    # closed, not only half-closed, and lets us end the connection.
    Case(
        "6.1/2",
        "5.1, closed",
        "DATA for a stream that is neither open nor half-closed (local)",
        lambda server, subject: ended(server, subject) + peer.data(subject, b"test", end=True),
        goaway(STREAM_CLOSED),
        outcome=NotFound,
    ),
    Case(
        "6.1/3",
        "6.1",
        "DATA whose padding is as long as its payload",
        lambda server, subject: padded(server, peer.DATA, END_STREAM, subject, 5, b"Test"),
        goaway(PROTOCOL_ERROR),
    ),
]

HEADERS = [
    Case(
        "6.2/1",
        "6.2",
        "PRIORITY in the middle of a header block",
        lambda server, subject: (
            headers(server, subject)
            + frame(peer.PRIORITY, 0, subject, PRIORITY_FIELDS)
            + continuation(server, subject, END_HEADERS)
        ),
        goaway(PROTOCOL_ERROR),
    ),
    Case(
        "6.2/2",
        "6.2",
        "HEADERS for stream 0",
        lambda server, subject: headers(server, 0, END_STREAM | END_HEADERS, NOT_FOUND),
        goaway(PROTOCOL_ERROR),
    ),
    Case(
        "6.2/3",
        "6.2",
        "HEADERS whose padding is longer than its payload",
        lambda server, subject: padded(
            server, peer.HEADERS, END_HEADERS, subject, 17, server.block(RESPONSE)[:14]
        ),
        goaway(PROTOCOL_ERROR),
    ),
]

# RFC 9113 deprecates what PRIORITY says, not what it must look like: both of these still stand.
PRIORITY = [
    Case(
        "6.3/1",
        "6.3",
        "PRIORITY for stream 0",
        lambda server, subject: frame(peer.PRIORITY, 0, 0, PRIORITY_FIELDS),
        goaway(PROTOCOL_ERROR),
    ),
    # A stream error by 6.3; 5.4.1 lets us make it one of the connection, and on this stream, which
    # is closed, RST_STREAM must not be sent (5.1).
    Case(
        "6.3/2",
        "6.3, 5.4.1",
        "PRIORITY of 4 bytes",
        lambda server, subject: (
            ended(server, subject) + frame(peer.PRIORITY, 0, subject, b"\x80\0\0\1")
        ),
        goaway(FRAME_SIZE_ERROR),
        outcome=NotFound,
    ),
]

RST_STREAM = [
    Case(
        "6.4/1",
        "6.4",
        "RST_STREAM for stream 0",
        lambda server, subject: peer.rst(0, CANCEL),
        goaway(PROTOCOL_ERROR),
    ),
    Case(
        "6.4/2",
        "6.4",
        "RST_STREAM for an idle stream",
        lambda server, subject: peer.rst(2, CANCEL),
        goaway(PROTOCOL_ERROR),
    ),
    Case(
        "6.4/3",
        "6.4",
        "RST_STREAM of 3 bytes",
        lambda server, subject: (
            ended(server, subject) + frame(peer.RST_STREAM, 0, subject, bytes(3))
        ),
        goaway(FRAME_SIZE_ERROR),
        outcome=NotFound,
    ),
]

CONTINUATION = [
    Case(
        "6.10/1",
        "6.10",
        "HEADERS and several CONTINUATION are one block",
        lambda server, subject: (
            headers(server, subject, END_STREAM)
            + continuation(server, subject)
            + continuation(server, subject, END_HEADERS, (("grpc-status", "5"),))
        ),
        NOTHING,
        outcome=NotFound,
    ),
    Case(
        "6.10/2",
        "6.10",
        "DATA where CONTINUATION must follow CONTINUATION",
        lambda server, subject: (
            headers(server, subject)
            + continuation(server, subject)
            + peer.data(subject, b"test", end=True)
        ),
        goaway(PROTOCOL_ERROR),
    ),
    Case(
        "6.10/3",
        "6.10",
        "CONTINUATION for stream 0",
        lambda server, subject: (
            headers(server, subject, END_STREAM) + continuation(server, 0, END_HEADERS)
        ),
        goaway(PROTOCOL_ERROR),
    ),
    Case(
        "6.10/4",
        "6.10",
        "CONTINUATION behind HEADERS with END_HEADERS",
        lambda server, subject: ended(server, subject) + continuation(server, subject, END_HEADERS),
        goaway(PROTOCOL_ERROR),
        outcome=NotFound,
    ),
    Case(
        "6.10/5",
        "6.10",
        "CONTINUATION behind CONTINUATION with END_HEADERS",
        lambda server, subject: (
            headers(server, subject, END_STREAM, NOT_FOUND)
            + continuation(server, subject, END_HEADERS)
            + continuation(server, subject, END_HEADERS)
        ),
        goaway(PROTOCOL_ERROR),
        outcome=NotFound,
    ),
    Case(
        "6.10/6",
        "6.10",
        "CONTINUATION behind DATA",
        lambda server, subject: (
            headers(server, subject)
            + peer.data(subject, b"test", end=True)
            + continuation(server, subject)
            + continuation(server, 0, END_HEADERS)
        ),
        goaway(PROTOCOL_ERROR),
    ),
]

CASES = [*DATA, *HEADERS, *PRIORITY, *RST_STREAM, *CONTINUATION]


@each(CASES)
def test_frames_of_streams(case: Case, manner: str) -> None:
    play(case, manner)

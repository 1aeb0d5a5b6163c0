"""h2spec, client cases of section 5: states of streams, their identifiers, errors, extensions.

Frames for a stream that is closed are where RFC 9113 parted from RFC 7540.  RFC 7540, and h2spec
with it, wants STREAM_CLOSED, as an error of the stream if the peer had reset it, else of the
connection.  RFC 9113, 5.1 makes an error of the connection optional and lets an endpoint discard
such frames on every closed stream, once header blocks have been decoded and DATA has been counted
against the connection's window.  That is what we do: a client that keeps no state of closed
streams cannot tell a frame that crossed with its own RST_STREAM, which it must discard, from one
that came too late for another reason.  RST_STREAM in answer would be wrong in any case: after the
peer's own it is forbidden (6.4), and a closed stream may be sent nothing but PRIORITY (5.1).
"""

from __future__ import annotations

from containerd_lite.errors import Cancelled, NotFound
from tests.wire import peer
from tests.wire.h2spec.script import (
    CANCEL,
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
from tests.wire.peer import Frames, frame

#: A stream that the server would have to open, and cannot, since push is off.
IDLE = 2


def reset(server: Frames, subject: int) -> bytes:
    """The server begins to answer, then resets the stream: that closes it."""
    return server.headers(subject) + peer.rst(subject, CANCEL)


def ended(server: Frames, subject: int) -> bytes:
    """The server ends the stream; our end of it was closed with the request, so all of it is."""
    return server.headers(subject, NOT_FOUND, end=True)


def continuation(server: Frames, stream_id: int) -> bytes:
    return frame(peer.CONTINUATION, peer.END_HEADERS, stream_id, server.block(LATE))


IDLE_STREAMS = [
    Case(
        "5.1/1",
        "5.1, idle",
        "DATA for an idle stream",
        lambda server, subject: peer.data(IDLE, b"test", end=True),
        goaway(PROTOCOL_ERROR),
    ),
    Case(
        "5.1/2",
        "5.1, idle",
        "RST_STREAM for an idle stream",
        lambda server, subject: peer.rst(IDLE, CANCEL),
        goaway(PROTOCOL_ERROR),
    ),
    Case(
        "5.1/3",
        "5.1, idle",
        "WINDOW_UPDATE for an idle stream",
        lambda server, subject: peer.window_update(IDLE, 100),
        goaway(PROTOCOL_ERROR),
    ),
    Case(
        "5.1/4",
        "5.1, idle",
        "CONTINUATION for an idle stream",
        lambda server, subject: continuation(server, IDLE),
        goaway(PROTOCOL_ERROR),
    ),
]

# 5.1 lets us take what a peer sends behind its own end as an error of the connection, and h2spec
# asks for it.  What comes on a stream that we ended is passed over: it may have been on its way.
CLOSED_STREAMS = [
    Case(
        "5.1/5",
        "5.1, closed",
        "DATA behind RST_STREAM",
        lambda server, subject: reset(server, subject) + peer.data(subject, b"test", end=True),
        goaway(STREAM_CLOSED),
        outcome=Cancelled,
    ),
    Case(
        "5.1/6",
        "5.1, closed",
        "HEADERS behind RST_STREAM",
        lambda server, subject: reset(server, subject) + server.headers(subject, LATE, end=True),
        goaway(STREAM_CLOSED),
        outcome=Cancelled,
    ),
    # Not for the stream's state: it follows no HEADERS (6.10), and the block that it might
    # belong to was never seen.  h2spec takes PROTOCOL_ERROR as well as STREAM_CLOSED.
    Case(
        "5.1/7",
        "6.10",
        "CONTINUATION behind RST_STREAM",
        lambda server, subject: reset(server, subject) + continuation(server, subject),
        goaway(PROTOCOL_ERROR),
        outcome=Cancelled,
    ),
    Case(
        "5.1/8",
        "5.1, closed",
        "DATA behind END_STREAM",
        lambda server, subject: ended(server, subject) + peer.data(subject, b"test", end=True),
        goaway(STREAM_CLOSED),
        outcome=NotFound,
    ),
    Case(
        "5.1/9",
        "5.1, closed",
        "HEADERS behind END_STREAM",
        lambda server, subject: ended(server, subject) + server.headers(subject, LATE, end=True),
        goaway(STREAM_CLOSED),
        outcome=NotFound,
    ),
    Case(
        "5.1/10",
        "6.10",
        "CONTINUATION behind END_STREAM",
        lambda server, subject: ended(server, subject) + continuation(server, subject),
        goaway(PROTOCOL_ERROR),
        outcome=NotFound,
    ),
]

IDENTIFIERS = [
    Case(
        "5.1.1/1",
        "5.1.1",
        "HEADERS for a stream that we have not opened",
        lambda server, subject: server.headers(101, NOT_FOUND, end=True),
        goaway(PROTOCOL_ERROR),
    ),
]

# h2spec looks for the close in one case and for the GOAWAY in the other; we look for both in both.
ERRORS = [
    Case(
        "5.4.1/1",
        "5.4.1",
        "PING for a stream: the connection is closed behind GOAWAY",
        lambda server, subject: frame(peer.PING, 0, 3, bytes(8)),
        goaway(PROTOCOL_ERROR),
    ),
    Case(
        "5.4.1/2",
        "5.4.1",
        "PING for a stream: GOAWAY is sent before the connection is closed",
        lambda server, subject: frame(peer.PING, 0, 3, bytes(8)),
        goaway(PROTOCOL_ERROR),
    ),
]

EXTENSIONS = [
    Case(
        "5.5/1",
        "5.5",
        "a frame of an extension, with flags and a stream, is discarded",
        lambda server, subject: frame(0xFF, 0xFF, subject, b"whatever it says"),
        NOTHING,
    ),
]

CASES = [*IDLE_STREAMS, *CLOSED_STREAMS, *IDENTIFIERS, *ERRORS, *EXTENSIONS]


@each(CASES)
def test_streams(case: Case, manner: str) -> None:
    play(case, manner)

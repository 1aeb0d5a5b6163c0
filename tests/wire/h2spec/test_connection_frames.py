"""h2spec, client cases of sections 6.5 to 6.9: SETTINGS, PING, GOAWAY and WINDOW_UPDATE."""

from __future__ import annotations

from tests.wire import peer
from tests.wire.h2spec.script import (
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    SETTINGS_ACK,
    Case,
    each,
    goaway,
    ping_ack,
    play,
    reset,
)
from tests.wire.peer import ACK, frame

MAX_WINDOW = (1 << 31) - 1
UNKNOWN_SETTING = 0xFF

# Where a SETTINGS frame is broken in itself it comes behind the server's preface: in its place it
# would be a bad preface as well, and that has a code of its own (3.4).
SETTINGS = [
    Case(
        "6.5/1",
        "6.5",
        "SETTINGS with ACK and a payload",
        lambda server, subject: frame(peer.SETTINGS, ACK, 0, b"\0"),
        goaway(FRAME_SIZE_ERROR),
    ),
    Case(
        "6.5/2",
        "6.5",
        "SETTINGS for a stream",
        lambda server, subject: frame(peer.SETTINGS, 0, 1, peer.settings({3: 100})[9:]),
        goaway(PROTOCOL_ERROR),
        greets=False,
    ),
    Case(
        "6.5/3",
        "6.5",
        "SETTINGS whose length is no multiple of 6",
        lambda server, subject: frame(peer.SETTINGS, 0, 0, b"\0\3\0"),
        goaway(FRAME_SIZE_ERROR),
    ),
]

DEFINED_SETTINGS = [
    Case(
        "6.5.2/1",
        "6.5.2",
        "INITIAL_WINDOW_SIZE over 2**31-1",
        lambda server, subject: peer.settings({peer.INITIAL_WINDOW_SIZE: 1 << 31}),
        goaway(FLOW_CONTROL_ERROR),
        greets=False,
    ),
    Case(
        "6.5.2/2",
        "6.5.2",
        "MAX_FRAME_SIZE under 2**14",
        lambda server, subject: peer.settings({peer.MAX_FRAME_SIZE: (1 << 14) - 1}),
        goaway(PROTOCOL_ERROR),
        greets=False,
    ),
    Case(
        "6.5.2/3",
        "6.5.2",
        "MAX_FRAME_SIZE over 2**24-1",
        lambda server, subject: peer.settings({peer.MAX_FRAME_SIZE: 1 << 24}),
        goaway(PROTOCOL_ERROR),
        greets=False,
    ),
    Case(
        "6.5.2/4",
        "6.5.2",
        "a setting that nobody knows is ignored, and acknowledged with the others",
        lambda server, subject: peer.settings({UNKNOWN_SETTING: 1}),
        SETTINGS_ACK,
        greets=False,
    ),
]

SYNCHRONIZATION = [
    Case(
        "6.5.3/1",
        "6.5.3",
        "SETTINGS are acknowledged",
        lambda server, subject: peer.settings({peer.MAX_CONCURRENT_STREAMS: 100}),
        SETTINGS_ACK,
        greets=False,
    ),
]

PING = [
    Case(
        "6.7/1",
        "6.7",
        "PING is answered with its own payload",
        lambda server, subject: peer.ping(b"h2spec\0\0"),
        ping_ack(b"h2spec\0\0"),
    ),
    Case(
        "6.7/2",
        "6.7",
        "PING with ACK is not answered, the one behind it is",
        lambda server, subject: peer.ping(b"invalid\0", ACK) + peer.ping(b"h2spec\0\0"),
        ping_ack(b"h2spec\0\0"),
    ),
    Case(
        "6.7/3",
        "6.7",
        "PING for a stream",
        lambda server, subject: frame(peer.PING, 0, subject, bytes(8)),
        goaway(PROTOCOL_ERROR),
    ),
    Case(
        "6.7/4",
        "6.7",
        "PING of 6 bytes",
        lambda server, subject: frame(peer.PING, 0, 0, bytes(6)),
        goaway(FRAME_SIZE_ERROR),
    ),
]

GOAWAY = [
    Case(
        "6.8/1",
        "6.8",
        "GOAWAY for a stream",
        lambda server, subject: frame(peer.GOAWAY, 0, subject, bytes(8)),
        goaway(PROTOCOL_ERROR),
    ),
]

WINDOW_UPDATE = [
    Case(
        "6.9/1",
        "6.9",
        "WINDOW_UPDATE of 0 for the connection",
        lambda server, subject: peer.window_update(0, 0),
        goaway(PROTOCOL_ERROR),
    ),
    Case(
        "6.9/2",
        "6.9",
        "WINDOW_UPDATE of 0 for a stream",
        lambda server, subject: server.headers(subject) + peer.window_update(subject, 0),
        reset(PROTOCOL_ERROR),
    ),
    Case(
        "6.9/3",
        "6.9",
        "WINDOW_UPDATE of 3 bytes",
        lambda server, subject: frame(peer.WINDOW_UPDATE, 0, 0, b"\0\0\1"),
        goaway(FRAME_SIZE_ERROR),
    ),
]

# Either window is at 2**16-1 less a request to begin with: the first of the two is too much.  The
# second finds the stream closed, and is no reason for another RST_STREAM (5.4.2).
FLOW_CONTROL = [
    Case(
        "6.9.1/1",
        "6.9.1",
        "the connection's window over 2**31-1",
        lambda server, subject: peer.window_update(0, MAX_WINDOW) * 2,
        goaway(FLOW_CONTROL_ERROR),
    ),
    Case(
        "6.9.1/2",
        "6.9.1",
        "a stream's window over 2**31-1",
        lambda server, subject: (
            server.headers(subject) + peer.window_update(subject, MAX_WINDOW) * 2
        ),
        reset(FLOW_CONTROL_ERROR),
    ),
]

CASES = [
    *SETTINGS,
    *DEFINED_SETTINGS,
    *SYNCHRONIZATION,
    *PING,
    *GOAWAY,
    *WINDOW_UPDATE,
    *FLOW_CONTROL,
]


@each(CASES)
def test_frames_of_the_connection(case: Case, manner: str) -> None:
    play(case, manner)

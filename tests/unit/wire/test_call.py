"""One call's state: the table, and nothing that is not in it."""

from __future__ import annotations

import pytest

from containerd_lite.wire import call as states
from containerd_lite.wire.call import TRANSITIONS, Call, IllegalEvent, views_of
from containerd_lite.wire.metadata import Status

STATES = (states.QUEUED, states.AWAITING, states.RECEIVING, states.DONE)
EVENTS = (
    states.STARTED,
    states.INFORMATIONAL,
    states.RESPONSE,
    states.TRAILERS,
    states.MESSAGE_DATA,
    states.DATA_END,
    states.ENDED,
)


def new(state: str = states.QUEUED) -> Call:
    call = Call("/a.B/C", (), None, 100)
    call.state = state
    return call


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", EVENTS)
def test_each_step(state: str, event: str) -> None:
    call = new(state)
    expected = TRANSITIONS.get((state, event))
    if expected is None:
        with pytest.raises(IllegalEvent, match=event):
            call.advance(event)
        assert call.state == state
    else:
        call.advance(event)
        assert call.state == expected
        assert call.is_done == (expected == states.DONE)


def test_the_table_says_what_http2_permits() -> None:
    legal = {event for state, event in TRANSITIONS if state == states.AWAITING}
    assert legal == {states.INFORMATIONAL, states.RESPONSE, states.TRAILERS, states.ENDED}
    legal = {event for state, event in TRANSITIONS if state == states.RECEIVING}
    assert legal == {states.MESSAGE_DATA, states.DATA_END, states.TRAILERS, states.ENDED}
    assert not any(state == states.DONE for state, _ in TRANSITIONS)


def test_an_end_is_final() -> None:
    call = new(states.RECEIVING)
    call.outbox.append(memoryview(b"x"))
    call.unsent = 1
    call.end(Status(5))
    call.end(Status(6))
    assert call.status == Status(5)
    assert (call.unsent, call.is_sending, len(call.outbox)) == (0, False, 0)


def test_metadata() -> None:
    call = new()
    call.initial_fields = [(b":status", b"200"), (b"a", b"1")]
    call.trailing_fields = [(b"grpc-status", b"0"), (b"b-bin", b"AQ")]
    assert call.initial_metadata == (("a", "1"),)
    assert call.trailing_metadata == (("b-bin", b"\1"),)
    assert "/a.B/C" in repr(call)


def test_views_count_bytes_whatever_the_items_are() -> None:
    parts: list[bytes | bytearray | memoryview] = [
        b"ab",
        bytearray(b"c"),
        b"",
        bytearray(),
        memoryview(b"\1\0\0\0\2\0\0\0").cast("I"),
    ]
    views = views_of(parts)
    assert [bytes(view) for view in views] == [b"ab", b"c", b"\1\0\0\0\2\0\0\0"]
    assert sum(map(len, views)) == 11

"""A peer that does not read: what waits to go out is bounded, and goes on once there is room."""

from __future__ import annotations

import pytest

from containerd_lite.errors import ResourceExhausted
from containerd_lite.wire import metadata
from containerd_lite.wire.connection import Connection
from containerd_lite.wire.sender import MAX_UNSENT
from tests.wire import peer
from tests.wire.client import CANCELLED, PATH, Client, code
from tests.wire.peer import message


def fill(client: Client) -> None:
    """As calls do that are begun and given up, while nothing goes out."""
    while len(client.wire.outgoing) < MAX_UNSENT:
        client.wire.cancel(client.wire.start(PATH), CANCELLED)


def test_calls_wait_for_room() -> None:
    client = Client()
    fill(client)
    call, given_up = client.wire.start(PATH), client.wire.start(PATH)
    client.wire.send(call, b"x")
    client.wire.send(call)
    client.wire.send(call, last=True)
    client.wire.send(call, last=True)
    client.wire.cancel(given_up, CANCELLED)
    assert (call.stream_id, given_up.stream_id) == (0, 0)
    client.give(client.server.answer(1))  # of a call that was cancelled
    assert call.stream_id == 0
    client.sent()
    assert call.stream_id
    head, body = client.sent()
    assert (head.kind, body) == (peer.HEADERS, peer.Frame(0, 1, call.stream_id, message(b"x")))
    client.give(client.server.answer(call.stream_id))
    assert code(call) == metadata.OK


def test_calls_end_while_there_is_no_room() -> None:
    client = Client()
    first = client.start()
    fill(client)
    queued = client.wire.start(PATH)
    client.give(client.server.answer(1))
    assert (code(first), queued.stream_id) == (metadata.OK, 0)
    client.wire.lose(CANCELLED)
    assert queued.status == CANCELLED


def test_a_window_that_opens_byte_by_byte() -> None:
    """CVE-2019-9511: what is held back is sent in large frames, once there is room."""
    client = Client({peer.INITIAL_WINDOW_SIZE: 0})
    call = client.wire.start(PATH)
    client.sent()
    client.wire.send(call, bytes(9995), last=True)
    for _ in range(10_000):
        client.give(peer.window_update(1, 1))
    assert len(client.wire.outgoing) <= MAX_UNSENT
    found = client.sent()
    assert max(len(frame.payload) for frame in found) == 1
    size = sum(len(frame.payload) for frame in found)
    (rest,) = client.sent()
    assert (size + len(rest.payload), rest.flags) == (10_000, peer.END_STREAM)


def test_some_room_is_not_enough() -> None:
    client = Client()
    fill(client)
    call = client.wire.start(PATH)
    for _ in range(10):
        client.wire.outgoing.popleft()
    client.wire.add_waiting_frames()
    assert call.stream_id == 0


def test_messages_that_are_too_large_to_send() -> None:
    wire = Connection(max_message=10)
    call = wire.start(PATH)
    wire.outgoing.clear()
    with pytest.raises(ResourceExhausted, match="11 bytes"):
        wire.send(call, b"x" * 6, b"x" * 5, last=True)
    assert not wire.outgoing
    with pytest.raises(ResourceExhausted, match="11 bytes"):
        wire.start(PATH, message=[b"x" * 11])
    assert not wire.outgoing
    wire.send(call, b"x" * 10, last=True)
    wire.send(call, b"x")  # behind its end: it is not sent
    assert sum(map(len, wire.outgoing)) == 9 + 5 + 10

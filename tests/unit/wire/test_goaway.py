"""GOAWAY, and how many calls there may be."""

from __future__ import annotations

from containerd_lite.wire import frames, metadata
from containerd_lite.wire.metadata import Status
from tests.wire import peer
from tests.wire.client import CANCELLED, PATH, Client, code
from tests.wire.peer import message


def test_goaway_lets_accepted_calls_finish(client: Client) -> None:
    one, two, three = (client.start() for _ in range(3))
    client.give(peer.goaway(3, 0, b"maintenance"))
    assert client.wire.is_draining
    assert (one.is_done, two.is_done) == (False, False)
    assert three.status is not None
    assert three.status.is_unprocessed
    assert "maintenance" in three.status.message
    client.give(client.server.answer(1, b"x"), peer.goaway(1), client.server.answer(3))
    assert (code(one), client.inbox(one)) == (metadata.OK, [b"x"])
    assert code(two) == metadata.UNAVAILABLE
    assert client.wire.is_idle
    assert client.wire.lost is None
    late = client.wire.start(PATH)
    assert code(late) == metadata.UNAVAILABLE
    assert client.sent() == []


def test_goaway_ends_what_is_queued() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 1})
    one, *queued = (client.start() for _ in range(4))
    client.wire.take_touched()
    client.give(peer.goaway((1 << 31) - 1))
    assert not one.is_done
    for call in queued:
        assert call.status is not None
        assert call.status.is_unprocessed
    assert set(client.wire.take_touched()) == set(queued)


def test_a_queue_for_streams() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 2})
    one, two, three, four, five = (client.start(b"%d" % n) for n in range(5))
    assert [call.stream_id for call in (one, two, three, four, five)] == [1, 3, 0, 0, 0]
    assert not client.wire.is_idle
    client.wire.cancel(four, CANCELLED)
    assert client.sent() == []
    client.give(client.server.answer(3))
    assert three.stream_id == 5
    assert [f.payload for f in client.sent() if f.kind == peer.DATA] == [message(b"2")]
    assert five.stream_id == 0
    client.give(peer.settings({peer.MAX_CONCURRENT_STREAMS: 3}))
    assert five.stream_id == 7
    client.give(*(client.server.answer(n) for n in (1, 5, 7)))
    assert [code(call) for call in (one, two, three, four, five)] == [0, 0, 0, 1, 0]
    assert client.wire.is_idle


def test_no_streams_at_all_and_then_some() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 0})
    call = client.start()
    client.give(peer.settings({peer.MAX_CONCURRENT_STREAMS: 1}))
    assert call.stream_id == 1


def test_the_last_stream_id() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 1})
    client.wire._next_id = frames.MAX_WINDOW - 2
    one, two, three = (client.start() for _ in range(3))
    client.give(client.server.answer(one.stream_id))
    assert two.stream_id == frames.MAX_WINDOW
    assert client.wire.is_draining
    assert three.status is not None
    assert three.status.is_unprocessed
    client.give(client.server.answer(two.stream_id))
    assert code(two) == metadata.OK


def test_lose() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 1})
    calls = [client.start() for _ in range(3)]
    gone = Status(metadata.UNAVAILABLE, "gone")
    client.wire.lose(gone)
    client.wire.lose(Status(metadata.INTERNAL, "again"))
    assert [call.status for call in calls] == [gone] * 3
    assert client.wire.lost == gone
    assert set(client.wire.take_touched()) == set(calls)

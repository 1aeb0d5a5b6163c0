"""The peer's windows and ours."""

from __future__ import annotations

import pytest

from containerd_lite.wire import frames, metadata
from containerd_lite.wire.credit import CONNECTION_WINDOW, STREAM_WINDOW
from tests.wire import peer
from tests.wire.client import CANCELLED, PATH, Client, code, resets
from tests.wire.peer import message


def upload(client: Client) -> int:
    return sum(len(f.payload) for f in client.sent() if f.kind == peer.DATA)


def test_a_window_of_zero() -> None:
    client = Client({peer.INITIAL_WINDOW_SIZE: 0})
    call = client.wire.start(PATH)
    client.wire.send(call, b"x" * 95, last=True)
    assert upload(client) == 0
    client.give(peer.window_update(1, 40))
    assert upload(client) == 40
    assert client.wire.take_touched() == [call]
    client.give(peer.settings({peer.INITIAL_WINDOW_SIZE: 60}))
    found = client.sent()
    assert sum(len(f.payload) for f in found if f.kind == peer.DATA) == 60
    assert found[-1].flags == peer.END_STREAM
    assert call.unsent == 0


def test_a_window_below_zero() -> None:  # grpclib #43, #74
    client = Client({peer.INITIAL_WINDOW_SIZE: 100})
    call = client.wire.start(PATH)
    client.wire.send(call, bytes(195))
    assert upload(client) == 100
    client.give(peer.settings({peer.INITIAL_WINDOW_SIZE: 10}))
    assert call.send_window == -90
    client.give(peer.window_update(1, 90))
    assert upload(client) == 0
    client.give(peer.window_update(1, 1))
    assert upload(client) == 1
    client.give(peer.settings({peer.INITIAL_WINDOW_SIZE: 50}))
    assert upload(client) == 40
    other = client.wire.start(PATH)
    assert other.send_window == 50


def test_the_connection_window_wakes_streams() -> None:  # grpclib #43
    client = Client({peer.INITIAL_WINDOW_SIZE: 1 << 20})
    one, two = client.wire.start(PATH), client.wire.start(PATH)
    client.wire.send(one, bytes(65530))
    client.wire.send(two, bytes(95))
    assert upload(client) == 65535
    client.wire.take_touched()
    client.give(peer.window_update(0, 1000))
    assert client.wire.take_touched() == [two]
    assert upload(client) == 100


def test_a_call_that_ends_gives_its_turn_to_others() -> None:
    client = Client({peer.INITIAL_WINDOW_SIZE: 1 << 20})
    one, two = client.wire.start(PATH), client.wire.start(PATH)
    client.wire.send(one, bytes(70_000))
    client.wire.send(two, bytes(95))
    assert upload(client) == 65535
    client.wire.cancel(one, CANCELLED)
    client.give(peer.window_update(0, 1000))
    assert [(f.stream_id, len(f.payload)) for f in client.sent()] == [(1, 4), (3, 100)]


def test_frames_are_as_large_as_the_peer_takes_them() -> None:
    client = Client({peer.MAX_FRAME_SIZE: 20000, peer.INITIAL_WINDOW_SIZE: 1 << 20})
    call = client.wire.start(PATH)
    client.wire.send(call, bytes(30000))
    assert [len(f.payload) for f in client.sent()][1:] == [20000, 10005]


@pytest.mark.parametrize(
    ("increment", "error"),
    [(0, frames.PROTOCOL_ERROR), ((1 << 31) - 1, frames.FLOW_CONTROL_ERROR)],
)
def test_a_bad_window_update_ends_its_stream(increment: int, error: int) -> None:
    client = Client()
    call = client.start()
    client.give(peer.window_update(1, increment))
    assert code(call) == metadata.INTERNAL
    assert resets(client.sent()) == [(1, error)]
    assert client.wire.lost is None


class Downloader:
    """A server that sends as much as it may, and counts what it may."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.call = client.start()
        client.give(client.server.headers(1))
        self.stream, self.connection = STREAM_WINDOW, CONNECTION_WINDOW

    def account(self) -> None:
        for found in self.client.sent():
            assert found.kind == peer.WINDOW_UPDATE
            if found.stream_id:
                self.stream += found.word
            else:
                self.connection += found.word

    def push(self, body: bytes, padding: int | None = None) -> int:
        """Send bytes as far as the windows go; returns how many."""
        at = 0
        over = 0 if padding is None else padding + 1
        while at < len(body):
            self.account()
            size = min(len(body) - at, 16384 - over, self.stream - over, self.connection - over)
            if size <= 0:
                break
            self.client.give(peer.data(1, body[at : at + size], padding=padding))
            self.stream -= size + over
            self.connection -= size + over
            at += size
        self.account()
        return at


@pytest.mark.parametrize("padding", [None, 0, 255])
@pytest.mark.parametrize("size", [1, 1 << 20, STREAM_WINDOW // 2 - 5, STREAM_WINDOW // 2, 16 << 20])
def test_a_stream_that_is_read_never_stalls(size: int, padding: int | None) -> None:
    """Messages of the same size, in one row of bytes: two of them share a frame."""
    client = Client()
    server = Downloader(client)
    count = 3 if size > 1 << 20 else 30
    row, got = message(bytes(size)) * count, 0
    while row:
        sent = server.push(row, padding)
        bodies = client.inbox(server.call)
        got += len(bodies)
        assert sent or bodies, "neither side can go on"
        row = row[sent:]
    assert got + len(client.inbox(server.call)) == count
    # Nothing of the credit was lost, nor was any given twice.
    server.account()
    assert server.stream + server.call.debt == STREAM_WINDOW
    assert server.call.receive_window == server.stream


@pytest.mark.parametrize("size", [100, 1 << 20, 3 << 20, 16 << 20])
def test_an_unread_stream_is_bounded_and_starves_nobody(size: int) -> None:
    client = Client()
    server = Downloader(client)
    body = message(bytes(size))
    taken = 0
    for _ in range(-(-(60 << 20) // size)):
        sent = server.push(body)
        taken += sent
        if sent < len(body):
            break
    assert taken <= STREAM_WINDOW + size + 5
    assert server.connection > CONNECTION_WINDOW // 2
    other = client.start()
    client.give(client.server.answer(other.stream_id, b"quick"))
    assert client.inbox(other) == [b"quick"]


def test_a_large_message_behind_unread_ones_gets_no_credit_early() -> None:
    client = Client()
    server = Downloader(client)
    small, large = message(bytes(1 << 20)), message(bytes(8 << 20))
    taken = server.push(small) + server.push(large)
    assert taken == STREAM_WINDOW
    assert len(client.inbox(server.call)) == 1
    assert server.push((small + large)[taken:]) == len(small + large) - taken
    assert len(client.inbox(server.call)) == 1


def test_credit_on_read_comes_in_large_steps() -> None:
    client = Client()
    server = Downloader(client)
    for _ in range(STREAM_WINDOW // 4 // 1005):
        client.give(peer.data(1, message(bytes(1000))))
    assert client.sent() == []
    for _ in range(1000):
        client.wire.take(server.call)
    assert client.sent() == []
    client.inbox(server.call)
    assert client.wire.take(server.call) is None
    client.give(peer.data(1, message(bytes(1000))))
    client.give(peer.data(1, message(bytes(1000))))
    client.inbox(server.call)
    (credit,) = client.sent()
    assert (credit.stream_id, credit.word >= STREAM_WINDOW // 4) == (1, True)


def test_a_call_that_is_over_needs_no_credit() -> None:
    client = Client()
    server = Downloader(client)
    server.push(message(bytes(STREAM_WINDOW // 4)))
    client.give(client.server.trailers(1))
    client.sent()
    assert len(client.inbox(server.call)) == 1
    assert client.sent() == []


def test_more_than_the_window() -> None:
    client = Client()
    call, other = client.start(), client.start()
    client.give(client.server.headers(1))
    part = peer.data(1, message(bytes(16384 - 5)))
    for _ in range(STREAM_WINDOW // 16384):
        client.give(part)
    assert not call.is_done
    client.give(peer.data(1, b"x"))
    assert code(call) == metadata.INTERNAL
    assert resets(client.sent()) == [(1, frames.FLOW_CONTROL_ERROR)]
    client.give(client.server.answer(3))
    assert code(other) == metadata.OK


def test_more_than_the_connections_window(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    client.start()
    client.give(client.server.headers(1))
    monkeypatch.setattr(client.wire._credit, "window", 10)
    client.give(peer.data(1, bytes(11)))
    assert client.wire.lost is not None
    assert int.from_bytes(client.sent()[-1].payload[4:8], "big") == frames.FLOW_CONTROL_ERROR


def test_data_of_closed_streams_gives_its_credit_back() -> None:  # hyperium/h2 0.4.14
    client = Client()
    client.wire.cancel(client.start(), CANCELLED)
    client.sent()
    credit = CONNECTION_WINDOW
    for _ in range(3 * CONNECTION_WINDOW // 16384):
        credit -= 16384
        assert credit >= 0
        client.give(peer.data(1, bytes(16384 - 256), padding=255))
        credit += sum(f.word for f in client.sent() if f.kind == peer.WINDOW_UPDATE)
    assert client.wire.lost is None

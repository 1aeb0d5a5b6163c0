"""Outgoing DATA, held back by windows; and the cap on answers."""

from __future__ import annotations

import pytest

from containerd_lite.wire import call as states
from containerd_lite.wire.call import Call
from containerd_lite.wire.frame_reader import ConnectionFault
from containerd_lite.wire.sender import MAX_UNSENT_REPLIES, Sender
from tests.wire.peer import Frame, split


def new(stream_id: int = 1, window: int = 65535, *parts: bytes, last: bool = False) -> Call:
    call = Call("/a.B/C", (), None, 0)
    call.advance(states.STARTED)
    call.stream_id, call.send_window = stream_id, window
    queue(call, *parts, last=last)
    return call


def queue(call: Call, *parts: bytes, last: bool = False) -> None:
    call.outbox.extend(map(memoryview, parts))
    call.unsent += sum(map(len, parts))
    call.is_sending = not last


def sent(sender: Sender) -> list[Frame]:
    found, rest = split(b"".join(sender.outgoing))
    sender.outgoing.clear()
    assert rest == b""
    return found


@pytest.mark.parametrize("parts", [(b"abc",), (b"a", b"b", b"c"), (b"ab", b"c")])
@pytest.mark.parametrize("max_frame", [1, 2, 3, 4])
def test_frames_do_not_align_with_parts(parts: tuple[bytes, ...], max_frame: int) -> None:
    sender = Sender()
    sender.max_frame = max_frame
    call = new(1, 100, *parts, last=True)
    assert sender.offer(call)
    found = sent(sender)
    assert all(len(f.payload) <= max_frame for f in found)
    assert b"".join(f.payload for f in found) == b"abc"
    assert [f.flags for f in found] == [0] * (len(found) - 1) + [1]  # with the last bytes
    assert call.send_window == 97


def test_zero_and_negative_windows() -> None:
    sender = Sender()
    call = new(1, 0, b"abcdef", last=True)
    assert not sender.offer(call)
    call.send_window -= 4
    assert sender.offer_blocked() == []
    assert sent(sender) == []
    call.send_window += 6
    assert sender.offer_blocked() == [call]
    assert sent(sender) == [Frame(0, 0, 1, b"ab")]
    call.send_window += 4
    sender.offer_blocked()
    assert sent(sender) == [Frame(0, 1, 1, b"cdef")]
    assert sender.offer_blocked() == []


def test_an_end_needs_no_window() -> None:  # grpclib #74
    sender = Sender()
    sender.offer(new(1, -5, last=True))
    assert sent(sender) == [Frame(0, 1, 1, b"")]


def test_the_connection_window_is_shared() -> None:
    sender = Sender()
    one, two = new(1, 1 << 20, bytes(60000)), new(3, 1 << 20, bytes(60000))
    sender.offer(one)
    assert sender.offer(two)
    assert (one.unsent, two.unsent) == (0, 60000 - 5535)
    assert sum(len(f.payload) for f in sent(sender)) == 65535
    sender.window += 10
    assert sender.offer_blocked() == [two]
    assert sent(sender) == [Frame(0, 0, 3, bytes(10))]
    sender.forget(two)
    sender.window += 10
    assert sender.offer_blocked() == []


def test_large_messages_are_sent_as_they_are_and_small_ones_in_one_piece() -> None:
    sender = Sender()
    body = bytes(5000)
    sender.offer(new(1, 1 << 20, b"pre", body))
    assert [len(part) for part in sender.outgoing] == [9, 3, 5000]
    assert sender.outgoing[2].obj is body  # type: ignore[union-attr]
    sender.outgoing.clear()
    sender.offer(new(3, 1 << 20, b"pre", b"body"))
    assert [len(part) for part in sender.outgoing] == [16]


def test_an_end_behind_a_message_that_was_sent() -> None:
    sender = Sender()
    call = new(1, 100, b"abc")
    sender.offer(call)
    call.is_sending = False
    sender.offer(call)
    assert sent(sender) == [Frame(0, 0, 1, b"abc"), Frame(0, 1, 1, b"")]


def test_a_flood_of_replies_is_capped() -> None:
    sender = Sender()
    for _ in range(MAX_UNSENT_REPLIES):
        sender.reply(b"x")
    with pytest.raises(ConnectionFault):
        sender.reply(b"x")


def test_replies_that_were_sent_do_not_count() -> None:
    sender = Sender()
    sender.outgoing.append(b"an upload that never pauses")
    for _ in range(MAX_UNSENT_REPLIES * 3):
        sender.reply(b"x")
        sender.outgoing.popleft()
        assert sender.outgoing

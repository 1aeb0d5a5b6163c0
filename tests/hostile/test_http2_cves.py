"""Known attacks on HTTP/2, played by a server against this client: each named after its CVE.

Memory is what `tracemalloc` counts; work is counted in frames or in this thread's CPU time.  The
peer does not read what the client sends, where the test does not say that it does: what waits to
go out then is part of what is counted.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from containerd_lite.errors import ContainerdError, ProtocolError, Unavailable
from containerd_lite.transport.channel import Channel
from containerd_lite.wire import frames, metadata
from tests.conftest import Count
from tests.wire import peer
from tests.wire.client import CANCELLED, PATH, Client, code
from tests.wire.peer import (
    PATIENCE,
    Frame,
    Peer,
    Request,
    Wire,
    answering,
    data,
    echo,
    frame,
    goaway,
    message,
    ping,
    rst,
    settings,
    window_update,
    word,
)

pytestmark = pytest.mark.dependencies

#: Less than any of the floods would take at 30 bytes a frame.
LITTLE = 256 << 10
#: A few header lists of 64 KiB by HTTP/2's measure, each of some 2,000 Python objects.
SOME = 2 << 20


@pytest.fixture
def grown() -> Iterator[Callable[[], tuple[int, int]]]:
    """Tells by how many bytes the memory in use has grown: now, and at the most."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]

    def growth() -> tuple[int, int]:
        now, most = tracemalloc.get_traced_memory()
        return now - before, most - before

    yield growth
    tracemalloc.stop()


Growth = Callable[[], tuple[int, int]]


def pour(client: Client, part: bytes, times: int) -> None:
    """Give the client some bytes again and again, many at a time."""
    at_once = max(1, min(times, 16_384 // len(part)))
    for _ in range(-(-times // at_once)):
        client.give(part * at_once)


def errors(found: list[Frame]) -> list[int]:
    """The error codes of the GOAWAY frames."""
    return [int.from_bytes(one.payload[4:8], "big") for one in found if one.kind == peer.GOAWAY]


# ---- CVE-2023-44487, rapid reset ---------------------------------------------------------------


def test_cve_2023_44487_a_peer_that_resets_every_call(count: Count, grown: Growth) -> None:
    """As they come, and with a thousand that wait behind MAX_CONCURRENT_STREAMS."""
    client = Client({peer.MAX_CONCURRENT_STREAMS: 1})
    opened, many = 0, count(3000, 100_000)
    waiting = [client.wire.start(PATH) for _ in range(1000)]
    while opened < many:
        opened += len(waiting)
        client.sent()  # the first one's HEADERS
        for call in waiting:
            client.give(rst(call.stream_id, call.stream_id % 16))
            assert call.is_done
            assert len(client.wire.outgoing) <= 1  # the next one's HEADERS
            client.sent()
        client.wire.take_touched()
        waiting = [client.wire.start(PATH) for _ in range(1000)]
    del call, waiting
    client.wire.lose(CANCELLED)
    client.wire.take_touched()
    client.sent()
    assert grown()[0] < LITTLE


def test_cve_2023_44487_a_peer_that_refuses_every_call_is_asked_twice() -> None:
    """No more: what is refused again fails, instead of going round as fast as it can."""

    def answer(wire: Wire, request: Request) -> None:
        wire.send(rst(request.stream_id, 7))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        for _ in range(50):
            with pytest.raises(Unavailable):
                channel.unary(PATH, b"x", timeout=PATIENCE)
        assert sum(found.kind == peer.HEADERS for found in server.seen[0]) == 100
        assert len(server.seen) == 1


@pytest.mark.parametrize("late", [False, True])
def test_cve_2023_44487_calls_that_are_cancelled(late: bool, count: Count, grown: Growth) -> None:
    """Thousands, opened and cancelled at once; the peer may answer all the same, behind that."""
    client = Client()
    for _ in range(count(3000, 100_000)):
        call = client.wire.start(PATH)
        client.wire.send(call, b"x", last=True)
        client.wire.cancel(call, CANCELLED)
        client.give(window_update(0, len(message(b"x"))))
        if late:
            client.give(client.server.answer(call.stream_id, b"late"))
        client.wire.take_touched()
        assert [found.kind for found in client.sent()] == [peer.HEADERS, peer.DATA, peer.RST_STREAM]
    assert grown()[0] < LITTLE
    last = client.start()
    client.give(client.server.answer(last.stream_id, b"x"))
    assert client.inbox(last) == [b"x"]


def test_cve_2023_44487_cancelled_calls_that_nobody_reads(count: Count, grown: Growth) -> None:
    """A daemon that is stopped, and a caller that asks it again and again with a deadline.

    What waits to go out must not grow with every call that is over (RFC 9113, 10.5).
    """
    client = Client()
    for _ in range(count(10_000, 100_000)):
        call = client.wire.start(PATH, (("containerd-namespace", "default"),), 1.0)
        client.wire.send(call, b"x", last=True)
        client.wire.cancel(call, CANCELLED)
        client.wire.take_touched()
    assert grown()[0] < SOME


# ---- CVE-2024-27316 and CVE-2023-45288, CONTINUATION -------------------------------------------


@pytest.mark.parametrize("state", ["live", "cancelled", "ended"])
@pytest.mark.parametrize("size", [0, 1, 1000, 16_384])
def test_cve_2024_27316_and_2023_45288_a_block_without_an_end(
    size: int, state: str, grown: Growth
) -> None:
    """The connection ends before much of it is kept, whatever became of its stream."""
    client = Client()
    call, other = client.start(), client.start()
    if state == "cancelled":
        client.wire.cancel(call, CANCELLED)
    elif state == "ended":
        client.give(client.server.answer(1))
    client.sent()
    client.give(frame(peer.HEADERS, 0, 1, client.server.block(peer.RESPONSE)))
    taken = 0
    while client.wire.lost is None:
        client.give(frame(peer.CONTINUATION, 0, 1, bytes(size)))
        taken += 1
        assert taken <= 1000
        assert taken * size <= (64 << 10) + size
    assert errors(client.sent()) == [frames.ENHANCE_YOUR_CALM]
    assert code(other) == metadata.INTERNAL
    assert grown()[1] < SOME


# ---- CVE-2016-6581 and CVE-2026-49975: little on the wire, much in memory ----------------------


def test_cve_2016_6581_hpack_bomb(grown: Growth) -> None:
    """One field as large as HPACK's table, and 16,000 references to it: 64 MB in a frame."""
    client = Client()
    call = client.start()
    value = b"v" * (4096 - 32 - 1)
    seed = b"\x88\x40\x01a\x7f" + bytes((len(value) - 127 & 127 | 128, len(value) - 127 >> 7))
    client.give(frame(peer.HEADERS, peer.END_HEADERS, 1, seed + value))
    assert call.initial_metadata == (("a", value.decode()),)
    client.give(frame(peer.HEADERS, peer.END_HEADERS | peer.END_STREAM, 1, b"\xbe" * 16_000))
    assert errors(client.sent()) == [frames.COMPRESSION_ERROR]
    assert code(call) == metadata.INTERNAL
    assert grown()[1] < SOME


#: Puts `:status: 103` and two fields of one letter into the table, and is early hints itself.
_SEED = b"\x48\x03103" + b"\x40\x01a\x00" + b"\x40\x01b\x00"
_B, _A, _103 = b"\xbe", b"\xbf", b"\xc0"


def hints(block: bytes) -> bytes:
    return frame(peer.HEADERS, peer.END_HEADERS, 1, block)


def test_cve_2026_49975_a_block_of_references(grown: Growth) -> None:
    """The "HTTP/2 bomb": each byte is one more field; nothing but the count of them is large."""
    client = Client()
    call = client.start()
    client.give(hints(_SEED), hints(_103 + _A * 16_000))
    assert errors(client.sent()) == [frames.COMPRESSION_ERROR]
    assert code(call) == metadata.INTERNAL
    assert grown()[1] < SOME


def test_cve_2026_49975_what_blocks_open_to_is_not_held(count: Count, grown: Growth) -> None:
    """Its other half: each list is as long as it may be, and a window of 0 keeps the call going.

    None of the blocks is like another; 2 KB of each become 2,000 fields.
    """
    client = Client({peer.INITIAL_WINDOW_SIZE: 0})
    call = client.wire.start(PATH)
    client.wire.send(call, b"never goes", last=True)
    client.give(hints(_SEED))
    for number in range(count(60, 1000)):
        which = format(number, "010b").encode().translate(bytes.maketrans(b"01", _A + _B))
        client.give(hints(_103 + which + _A * 1900))
    assert not call.is_done
    assert grown()[0] < SOME
    client.wire.cancel(call, CANCELLED)


@pytest.mark.parametrize("size", [4, 5, 100, 16_000, 60_000])
@pytest.mark.parametrize(
    "start", [b"\xff", b"\x88\x7f", b"\x88\x00\x7f", b"\x88\x00\x01a\x7f", b"\x3f"]
)
def test_ghsa_8v8h_hg4w_mvq2_an_integer_without_bound(start: bytes, size: int) -> None:
    """An index, the lengths of a name and a value, a table's size (RFC 7541, 5.1)."""
    client = Client()
    call, block = client.start(), start + b"\xff" * size + b"\x7f"
    pieces = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
    before = time.thread_time()
    for number, piece in enumerate(pieces):
        flags = peer.END_HEADERS if number == len(pieces) - 1 else 0
        client.give(frame(peer.CONTINUATION if number else peer.HEADERS, flags, 1, piece))
    assert time.thread_time() - before < 2
    assert errors(client.sent()) == [frames.COMPRESSION_ERROR]
    assert code(call) == metadata.INTERNAL


# ---- floods of frames --------------------------------------------------------------------------

Frames = Callable[[Client], bytes]
_CALM = frames.ENHANCE_YOUR_CALM

#: What comes again and again, on a connection whose stream 1 is live, 3 is cancelled, 5 is ended.
FLOODS: dict[str, tuple[Frames, int | None]] = {
    "PING, CVE-2019-9512": (lambda c: ping(), _CALM),
    "PING ACK": (lambda c: ping(flags=peer.ACK), None),
    "SETTINGS, CVE-2019-9515": (lambda c: settings(), _CALM),
    "SETTINGS of changing windows": (
        lambda c: settings({peer.INITIAL_WINDOW_SIZE: 9}) + settings({peer.INITIAL_WINDOW_SIZE: 8}),
        _CALM,
    ),
    "SETTINGS of changing tables": (
        lambda c: settings({peer.HEADER_TABLE_SIZE: 9}) + settings({peer.HEADER_TABLE_SIZE: 8}),
        _CALM,
    ),
    "SETTINGS ACK": (lambda c: frame(peer.SETTINGS, peer.ACK), None),
    "RST_STREAM, cancelled": (lambda c: rst(3, 8), None),
    "RST_STREAM, ended": (lambda c: rst(5, 8), None),
    "empty DATA, CVE-2019-9518": (lambda c: data(1, b""), _CALM),
    "empty DATA, padded": (lambda c: data(1, b"", padding=0), _CALM),
    "empty DATA, cancelled": (lambda c: data(3, b""), None),
    "empty HEADERS, cancelled": (lambda c: frame(peer.HEADERS, peer.END_HEADERS, 3), None),
    "HEADERS, cancelled": (lambda c: c.server.headers(3), None),
    "WINDOW_UPDATE": (lambda c: window_update(0, 1), None),
    "WINDOW_UPDATE, live": (lambda c: window_update(1, 1), None),
    "WINDOW_UPDATE, ended": (lambda c: window_update(5, 1), None),
    "PRIORITY": (
        lambda c: b"".join(frame(peer.PRIORITY, 0, n, word(n + 2) + b"\7") for n in range(1, 999)),
        None,
    ),
    "GOAWAY": (lambda c: goaway(1, 0, b"maintenance"), None),
    "unknown frames": (lambda c: frame(0x42, 255, 1, b"?") + frame(0x43, 0, 0, b"??"), None),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood(name: str, count: Count, grown: Growth) -> None:
    """It takes little memory, and the call goes on or ends with a status (RFC 9113, 10.5)."""
    script, error = FLOODS[name]
    client = Client()
    live, cancelled, _ = (client.start(b"") for _ in range(3))
    client.wire.cancel(cancelled, CANCELLED)
    client.give(client.server.answer(5), client.server.headers(1))
    client.sent()
    part = script(client)
    size = len(peer.split(part)[0])
    pour(client, part, count(10_000, 200_000) // size)
    assert grown()[1] < LITTLE
    if error is None:
        assert client.wire.lost is None
        client.give(data(1, message(b"goes on")), client.server.trailers(1))
        assert (code(live), client.inbox(live)) == (metadata.OK, [b"goes on"])
    else:
        assert errors(client.sent()) == [error]
        assert code(live) == metadata.INTERNAL


def test_cve_2019_9515_settings_that_nobody_knows_are_not_kept(grown: Growth) -> None:
    """Every identifier that there is; those that have no meaning are ignored (6.5.2)."""
    client = Client()
    client.start()
    for first in range(16, 65_536, 2600):
        values = dict.fromkeys(range(first, min(first + 2600, 65_536)), 7)
        client.give(settings(values))
        client.sent()
    assert client.wire.lost is None
    assert grown()[0] < SOME


def test_cve_2019_9511_a_window_that_opens_byte_by_byte(count: Count, grown: Growth) -> None:
    """The "data dribble": one frame for each byte, and the peer reads none of them."""
    client = Client({peer.INITIAL_WINDOW_SIZE: 0})
    call = client.wire.start(PATH)
    body = bytes(1 << 20)
    client.wire.send(call, body, last=True)
    client.give(window_update(0, 1 << 20))
    pour(client, window_update(1, 1), count(20_000, 500_000))
    assert not call.is_done
    assert grown()[1] < len(body) + SOME


def test_cve_2019_9517_what_nobody_reads_is_not_copied(grown: Growth) -> None:
    """A window as wide as it may be, and a peer that does not read: views of the message wait."""
    client = Client({peer.INITIAL_WINDOW_SIZE: (1 << 31) - 1})
    client.give(window_update(0, 1 << 30))
    body = bytes(16 << 20)
    call = client.wire.start(PATH)
    client.wire.send(call, body, last=True)
    assert grown()[1] < len(body) + SOME


@pytest.mark.parametrize("name", [name for name, (_, error) in FLOODS.items() if error is not None])
def test_a_flood_over_a_channel(name: str) -> None:
    """The caller gets a `ProtocolError`, and the next call a new connection.

    The peer reads no reply, and goes on until the client closes the connection. A client that
    receives only one part at a time sends its replies meanwhile, until the kernel's buffer is full.
    """
    part = FLOODS[name][0](Client())

    def script(wire: Wire) -> None:
        if wire.number:
            answering(echo)(wire)
        wire.send(settings())
        stream_id = wire.read_until(peer.HEADERS).stream_id
        wire.send(wire.headers(stream_id))
        for _ in range(500):
            wire.send(part * 1000)
        wire.wait_closed()

    with Peer(script) as server, Channel(server.address) as channel:
        with pytest.raises(ContainerdError) as caught:
            channel.unary(PATH, b"x", timeout=PATIENCE)
        assert type(caught.value) is ProtocolError
        assert channel.unary(PATH, b"y", timeout=PATIENCE) == b"y"

"""Any cut of any bytes means the same; whatever comes, it is a status, and never an exception."""

from __future__ import annotations

import contextlib
import re
import zlib
from dataclasses import replace
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from containerd_lite.errors import ContainerdError, Internal, InvalidArgument, ResourceExhausted
from containerd_lite.transport.channel import Channel
from containerd_lite.wire import frames, metadata
from containerd_lite.wire.call import Call
from containerd_lite.wire.connection import Connection
from containerd_lite.wire.framing import Compressed, MessageReader
from containerd_lite.wire.metadata import Status
from tests.fuzz import strategies
from tests.fuzz.strategies import Conversation, Ending, Mutation, conversations, mutations
from tests.wire import peer
from tests.wire.client import PATH, Client
from tests.wire.peer import PATIENCE, Frame, Peer, Wire, message

many = settings(
    max_examples=strategies.EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
Cuts = list[int]
cuts = st.lists(st.integers(0, 1 << 16), max_size=20)


def pieces(data: bytes, where: Cuts) -> list[bytes]:
    ends = sorted({0, len(data), *(cut % (len(data) + 1) for cut in where)})
    return [data[start:end] for start, end in pairwise(ends)]


# ---- conversations that keep the rules ---------------------------------------------------------


class Subject:
    """A client with the calls of a conversation under way; ``messages`` are those taken so far."""

    def __init__(self, talk: Conversation) -> None:
        self.client = Client()
        self.calls = [self.client.start(None if is_open else b"x") for is_open in talk.is_open]
        self.messages: list[list[bytes]] = [[] for _ in self.calls]

    def take(self) -> None:
        for call, taken in zip(self.calls, self.messages, strict=True):
            taken += self.client.inbox(call)

    def check(self, talk: Conversation) -> None:
        for call, messages, ending in zip(self.calls, self.messages, talk.endings, strict=True):
            check_ending(call, messages, ending)
        assert self.client.waiting == b""
        assert self.client.wire.lost is None
        assert self.client.wire.is_draining == talk.is_draining


def check_ending(call: Call, messages: list[bytes], ending: Ending) -> None:
    assert messages == ending.messages
    assert call.initial_metadata == ending.initial
    assert call.trailing_metadata == ending.trailing
    if ending.code is None:
        assert (call.is_done, call.status) == (False, None)
        return
    assert call.status is not None
    assert call.status.code == ending.code
    if call.status.origin != "connection":
        assert call.status.is_unprocessed == ending.is_unprocessed
    assert ending.text in (None, call.status.message)


@many
@given(conversations, cuts)
def test_any_conversation_in_any_cut(talk: Conversation, where: Cuts) -> None:
    """Each call gets what it must, whether its messages are taken as they come or at the end."""
    whole, cut = Subject(talk), Subject(talk)
    whole.client.give(talk.data)
    whole.take()
    whole.check(talk)
    for piece in pieces(talk.data, where):
        cut.client.give(piece)
        cut.take()
    cut.check(talk)
    sent = whole.client.sent()
    assert cut.client.sent() == sent
    pings = [found for found in sent if found.kind == peer.PING]
    assert pings == [Frame(peer.PING, peer.ACK, 0, payload) for payload in talk.pings]
    assert sent.count(Frame(peer.SETTINGS, peer.ACK, 0, b"")) == talk.settings


@many
@given(conversations)
def test_any_conversation_byte_by_byte(talk: Conversation) -> None:
    subject = Subject(talk)
    subject.client.step = 1
    subject.client.give(talk.data)
    subject.take()
    subject.check(talk)


# ---- whatever comes ----------------------------------------------------------------------------

#: What a client sends here: nothing of its own, after the requests, but answers and credit.
_SENT = {peer.RST_STREAM, peer.SETTINGS, peer.PING, peer.GOAWAY, peer.WINDOW_UPDATE, peer.DATA}


def check_sanity(client: Client, calls: list[Call]) -> None:
    """What holds of every connection, whatever came."""
    for call in calls:
        with contextlib.suppress(Internal, ResourceExhausted):  # no gzip, or too much of it
            client.inbox(call)
        assert call.is_done == (call.status is not None)
        assert call.initial_metadata is not None
        assert call.trailing_metadata is not None
        if call.status is not None:
            assert call.status.code >= 0
            assert call.status.origin in ("peer", "stream", "connection")
    assert len(client.waiting) < 9 + frames.MAX_FRAME_SIZE
    sent = client.sent()
    assert {found.kind for found in sent} <= _SENT
    assert all(found.flags == peer.ACK for found in sent if found.kind == peer.PING)
    if client.wire.lost is not None:
        assert all(call.is_done for call in calls)
        assert client.wire.is_idle
        assert client.wire.lost.code == metadata.INTERNAL
        assert sent[-1].kind == peer.GOAWAY


def told(status: Status | None) -> Status | None:
    """The status; hpack's messages have addresses of objects in them."""
    return status and replace(status, message=re.sub("0x[0-9a-f]+", "", status.message))


@many
@given(conversations, mutations, cuts)
def test_a_spoilt_conversation_never_raises(
    talk: Conversation, changes: list[Mutation], where: Cuts
) -> None:
    data = strategies.mutated(talk.data, changes)
    whole, cut = Subject(talk), Subject(talk)
    whole.client.give(data)
    for piece in pieces(data, where):
        cut.client.give(piece)
    for one, other in zip(whole.calls, cut.calls, strict=True):
        assert told(one.status) == told(other.status)
    assert told(whole.client.wire.lost) == told(cut.client.wire.lost)
    assert cut.client.wire.is_draining == whole.client.wire.is_draining
    check_sanity(whole.client, whole.calls)
    check_sanity(cut.client, cut.calls)


@many
@given(st.lists(strategies.near_frames() | st.binary(max_size=30), max_size=12), st.booleans())
def test_garbage_never_raises(parts: list[bytes], is_answered: bool) -> None:
    client = Client()
    calls = [client.start(), client.start(None, timeout=1.0), client.start()]
    if is_answered:
        client.give(client.server.headers(1), client.server.answer(5, b"x"))
    for part in parts:
        client.give(part)
        check_sanity_of_calls(client, calls)
    check_sanity(client, calls)


def check_sanity_of_calls(client: Client, calls: list[Call]) -> None:
    for call in calls:
        with contextlib.suppress(Internal, ResourceExhausted):
            client.inbox(call)
        assert call.is_done == (call.status is not None)


@many
@given(st.binary(max_size=100), cuts)
def test_garbage_instead_of_http2(data: bytes, where: Cuts) -> None:
    """Such a peer is not one that was seen to speak HTTP/2, and the connection is at its end."""
    wire, waiting = Connection(), b""
    call = wire.start(PATH)
    for piece in pieces(data, where):
        waiting += piece
        used = wire.receive(memoryview(waiting))
        assert 0 <= used <= len(waiting)
        waiting = waiting[used:]
    assert call.is_done == (wire.lost is not None)
    assert wire.lost is not None or len(data) < 9 or data[3] == peer.SETTINGS


@settings(
    max_examples=max(20, strategies.EXAMPLES // 20),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(conversations, mutations)
def test_a_spoilt_conversation_over_a_socket_is_an_answer_or_an_error(
    talk: Conversation, changes: list[Mutation]
) -> None:
    """The server ends behind it, so that no call may go on; on any other connection, at once."""
    data = strategies.mutated(talk.data, changes)

    def script(wire: Wire) -> None:
        wire.send(peer.settings())
        wire.request()
        if wire.number == 0:
            wire.send(data)

    with Peer(script) as server, Channel(server.address) as channel:
        with contextlib.suppress(ContainerdError):
            channel.unary(PATH, b"x", timeout=4 * PATIENCE)
        assert len(server.seen) <= 2


# ---- values ------------------------------------------------------------------------------------

names = st.text(max_size=10) | st.from_regex(r"[a-zA-Z0-9_.-]{1,8}(-bin)?", fullmatch=True)
values = st.text(max_size=20) | st.binary(max_size=20)


@many
@given(st.lists(st.tuples(names, values), max_size=4))
def test_metadata_that_is_taken_comes_back(given_ones: list[tuple[str, str | bytes]]) -> None:
    """As text, or as bytes for names in `-bin`; what is not taken is an `InvalidArgument`."""
    try:
        fields = metadata.encode_metadata(tuple(given_ones))
    except InvalidArgument:
        return
    for name, value in fields:
        assert name == name.lower()
        assert all(0x20 <= byte <= 0x7E for byte in value)
    expected: list[tuple[str, str | bytes]] = []
    for given_name, given_value in given_ones:
        key = given_name.lower()
        raw = given_value if isinstance(given_value, bytes) else given_value.encode()
        expected.append((key, raw if key.endswith("-bin") else raw.decode()))
    assert list(metadata.decode_metadata(fields)) == expected


@many
@given(st.lists(st.tuples(st.binary(max_size=12) | st.just(b"x-bin"), st.binary(max_size=30))))
def test_metadata_of_any_bytes(fields: list[tuple[bytes, bytes]]) -> None:
    """Nothing raises, and what comes out goes out again or is refused, but does not raise else."""
    found = metadata.decode_metadata(fields)
    assert all(isinstance(value, bytes) == name.endswith("-bin") for name, value in found)
    with contextlib.suppress(InvalidArgument):
        metadata.encode_metadata(found)


@many
@given(st.binary(max_size=60))
def test_a_message_of_any_bytes_is_text(value: bytes) -> None:
    """PROTOCOL-HTTP2.md: decoding neither fails nor throws the message away."""
    text = metadata.decode_message(value)
    assert bool(text) == bool(value)
    assert metadata.status_of({b"grpc-status": value, b"grpc-message": value}).message


@many
@given(st.text(max_size=60).filter(lambda text: max(text, default="") < "\ud800" or True))
def test_a_message_that_was_encoded_comes_back(text: str) -> None:
    assert metadata.decode_message(quote(text, safe=" ").encode()) == text


@many
@given(st.floats(min_value=0, allow_nan=False) | st.integers(0, 1 << 80))
def test_a_timeout_of_any_length(seconds: float) -> None:
    """8 digits and a unit, more than 0, and never more than was asked for (or the least, 1 us)."""
    value = metadata.encode_timeout(seconds).decode("ascii")
    digits, unit = value[:-1], value[-1]
    assert digits.isdigit()
    assert 0 < len(digits) <= 8
    told = int(digits) * {"H": 3600, "M": 60, "S": 1, "m": 1e-3, "u": 1e-6, "n": 1e-9}[unit]
    assert 0 < told <= max(seconds * (1 + 1e-9), 1e-6)


def gzipped(body: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=31)
    return squeezer.compress(body) + squeezer.flush()


@many
@given(st.lists(st.binary(max_size=200), max_size=3), mutations, st.integers(0, 300))
def test_gzip_that_was_spoilt(bodies: list[bytes], changes: list[Mutation], limit: int) -> None:
    """It opens to no more than the limit, or it is one of two errors."""
    whole = b"".join(map(gzipped, bodies))
    for data in (whole, strategies.mutated(whole, changes), b"".join(bodies)):
        with contextlib.suppress(Internal, ResourceExhausted):
            assert len(Compressed(data, limit).opened()) <= limit
    if bodies and sum(map(len, bodies)) <= limit:
        assert Compressed(whole, limit).opened() == b"".join(bodies)
    elif bodies:
        with pytest.raises(ResourceExhausted):
            Compressed(whole, limit).opened()


@many
@given(st.binary(max_size=60), cuts, st.sampled_from((b"gzip", b"identity", b"?")))
def test_messages_of_any_bytes(data: bytes, where: Cuts, encoding: bytes) -> None:
    """Any cut gives the same messages, and the same error behind them."""

    def read(parts: list[bytes]) -> tuple[list[int], str, bool]:
        reader = MessageReader(1 << 20)
        reader.encoding = encoding
        try:
            for part in parts:
                reader.feed(memoryview(part))
        except (Internal, ResourceExhausted) as error:
            return [len(one) for one in reader.messages], str(error), False
        return [len(one) for one in reader.messages], "", reader.is_between_messages

    good = message(b"good") + message(b"")
    assert read(pieces(good + data, where)) == read([good + data])
    assert read(pieces(good, where)) == ([4, 0], "", True)

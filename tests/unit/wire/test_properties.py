"""Any split of any bytes gives the same; garbage never raises."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from containerd_lite.wire import metadata
from containerd_lite.wire.connection import Connection
from containerd_lite.wire.metadata import Status
from tests.wire import peer
from tests.wire.client import PATH, Client
from tests.wire.peer import RESPONSE, Frame, Frames, frame, message

Outcome = tuple[list[tuple[list[bytes], Status | None]], list[Frame]]


def conversation(cuts: list[int] | None) -> Outcome:
    """Four calls with one stream of bytes, cut somewhere; what each of them got."""
    client = Client()
    calls = [client.start(b"x"), client.start(None), client.start(b""), client.start(b"")]
    server = Frames()
    parts = [
        server.headers(3, [*RESPONSE, ("x-bin", "AQ")], pieces=3),
        peer.ping(),
        server.answer(1, b"one", b"", b"three" * 50),
        peer.data(3, message(b"left")[:7], padding=3),
        frame(77, 1, 3, b"?"),
        server.headers(7, [(":status", "404")], end=True),
        peer.data(3, message(b"left")[7:] + message(b"right")),
        peer.settings({peer.INITIAL_WINDOW_SIZE: 70000}),
        peer.goaway(5, 0, b"bye"),
        server.trailers(3, 5, ("grpc-message", "%41")),
        peer.rst(5, 7),
    ]
    data = b"".join(parts)
    ends = sorted({0, len(data), *(cut % len(data) for cut in cuts or [])})
    for start, end in pairwise(ends):
        client.give(data[start:end])
    assert client.waiting == b""
    return [(client.inbox(call), call.status) for call in calls], client.sent()


@given(st.lists(st.integers(0, 10000), max_size=20))
def test_any_split_gives_the_same(cuts: list[int]) -> None:
    assert conversation(cuts) == conversation(None)


def test_the_conversation_is_what_was_meant() -> None:
    (one, two, three, four), _ = conversation(None)
    assert one == ([b"one", b"", b"three" * 50], Status(metadata.OK))
    assert two == ([b"left", b"right"], Status(metadata.NOT_FOUND, "A"))
    assert three == ([], metadata.status_of_reset(7))
    assert four[1] is not None
    assert four[1].code == metadata.UNIMPLEMENTED


def near_frames() -> st.SearchStrategy[bytes]:
    """Bytes that look like frames, so that they come far in."""
    flags = st.sampled_from([0, 1, 4, 5, 8, 9, 12, 13, 32, 36, 44, 255])
    ids = st.sampled_from([0, 0, 1, 1, 3, 5, 2, 0x80000001])
    server = Frames()
    body = st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [b"\0\0\0\1", b"\x7f\xff\xff\xff", bytes(8), message(b"x"), b"\x00\x04\x7f\xff\xff\xff"]
        ),
        st.sampled_from([server.block(RESPONSE), server.block([("grpc-status", "0")])]),
    )
    return st.builds(frame, st.integers(0, 10), flags, ids, body)


@settings(max_examples=400)
@given(st.lists(st.one_of(near_frames(), st.binary(max_size=30)), max_size=12), st.booleans())
def test_garbage_never_raises(parts: list[bytes], early: bool) -> None:
    client = Client()
    calls = [client.start(), client.start(None, timeout=1.0)]
    if early:
        client.give(client.server.headers(1))
    for part in parts:
        client.give(part)
        for call in calls:
            client.inbox(call)
            assert call.is_done == (call.status is not None)
    if client.wire.lost is not None:
        assert all(call.is_done for call in calls)
    client.sent()


@given(st.binary(max_size=100))
def test_garbage_instead_of_http2(data: bytes) -> None:
    wire = Connection()
    call = wire.start(PATH)
    used = wire.receive(memoryview(data))
    assert 0 <= used <= len(data)
    assert call.is_done == (wire.lost is not None)

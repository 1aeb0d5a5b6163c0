"""Messages out of bytes: any cut of the bytes gives the same."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerd_lite.errors import Internal, ResourceExhausted
from containerd_lite.wire.framing import (
    MAX_MESSAGE,
    Compressed,
    MessageReader,
    compress,
    opened,
    prefix,
)
from tests.wire.peer import message

BODIES = [
    [b""],
    [b"x"],
    [b"hello"],
    [b"", b"", b""],
    [b"a", b"bc" * 300, b"", b"d"],
    [bytes(range(256)) * 20],
]


def fed(data: bytes, step: int, limit: int = MAX_MESSAGE) -> MessageReader:
    reader = MessageReader(limit)
    for at in range(0, len(data), step):
        reader.feed(memoryview(data)[at : at + step])
    return reader


@pytest.mark.parametrize("bodies", BODIES)
@pytest.mark.parametrize("step", [1, 2, 4, 5, 6, 100, 1 << 20])
def test_any_step(bodies: list[bytes], step: int) -> None:
    data = b"".join(map(message, bodies))
    reader = fed(data, step)
    assert list(reader.messages) == bodies
    assert reader.is_between_messages
    assert reader.wanted == 0
    for behind in (b"\0", b"\0\0\0\0", message(b"xyz")[:-1]):
        reader = fed(data + behind, step)
        assert list(reader.messages) == bodies
        assert not reader.is_between_messages


@given(st.lists(st.binary(max_size=40), max_size=5), st.data())
def test_any_split(bodies: list[bytes], draw: st.DataObject) -> None:
    data = b"".join(map(message, bodies))
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=12)))
    reader = MessageReader()
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        reader.feed(memoryview(data)[start:end])
    assert list(reader.messages) == bodies


def test_prefix_is_what_a_peer_reads() -> None:
    assert prefix(0x01020304) == b"\0\1\2\3\4"


def test_wanted_is_the_message_under_way() -> None:
    reader = MessageReader()
    reader.feed(memoryview(message(b"x" * 1000)[:6]))
    assert reader.wanted == 1000
    reader.feed(memoryview(b"x" * 999))
    assert reader.wanted == 0


@pytest.mark.parametrize("step", [1, 3, 5, 100])
def test_limit(step: int) -> None:
    assert list(fed(message(b"x" * 10), step, limit=10).messages) == [b"x" * 10]
    with pytest.raises(ResourceExhausted, match="11 bytes"):
        fed(message(b"x" * 11), step, limit=10)
    with pytest.raises(ResourceExhausted):
        fed(b"\0\xff\xff\xff\xff", step)


@pytest.mark.parametrize("flag", [1, 2, 255])
def test_compressed_though_not_agreed(flag: int) -> None:
    with pytest.raises(Internal, match="compressed"):
        fed(message(b"x", flag), 1)


def test_messages_do_not_share_the_buffer_they_came_in() -> None:
    buffer = bytearray(message(b"whole") + message(b"second")[:8])
    reader = MessageReader()
    reader.feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    reader.feed(memoryview(b"ond"))
    assert [opened(found) for found in reader.messages] == [b"whole", b"second"]


# ---- gzip --------------------------------------------------------------------------------------


def gzipped(data: bytes, limit: int = MAX_MESSAGE) -> Compressed:
    return Compressed(data, limit)


@given(st.lists(st.binary(max_size=100), max_size=3))
def test_what_is_compressed_opens_to_what_it_was(parts: list[bytes]) -> None:
    squeezed = compress(parts)
    assert gzip.decompress(squeezed) == b"".join(parts)
    assert gzipped(squeezed).opened() == b"".join(parts)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_compressed_messages_in_any_cut(step: int) -> None:
    reader = MessageReader()
    reader.encoding = b"gzip"
    body = bytes(range(256)) * 3
    squeezed = compress([body])
    data = message(squeezed, 1) + message(b"plain") + message(squeezed, 1)
    for at in range(0, len(data), step):
        reader.feed(memoryview(data)[at : at + step])
    assert [len(found) for found in reader.messages] == [len(squeezed), 5, len(squeezed)]
    assert [opened(found) for found in reader.messages] == [body, b"plain", body]


def test_gzip_of_several_members() -> None:  # RFC 1952, 2.2
    assert gzipped(gzip.compress(b"one") + gzip.compress(b"two")).opened() == b"onetwo"
    many = gzip.compress(b"x") * 64
    assert gzipped(many).opened() == b"x" * 64
    with pytest.raises(ResourceExhausted, match="more than 64 gzip members"):
        gzipped(many + gzip.compress(b"x")).opened()


def test_a_bomb_is_refused_before_it_is_open() -> None:
    """1000 to 1 is what deflate can do: the limit holds for what it opens to."""
    bomb = gzip.compress(bytes(1 << 20))
    assert len(gzipped(bomb, 1 << 20).opened()) == 1 << 20
    with pytest.raises(ResourceExhausted, match="limit"):
        gzipped(bomb, (1 << 20) - 1).opened()
    with pytest.raises(ResourceExhausted, match="limit"):
        gzipped(bomb * 3, (3 << 20) - 1).opened()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        zlib.compress(b"not gzip"),
        gzip.compress(b"cut short")[:-1],
        gzip.compress(b"good") + b"trailing",
        gzip.compress(b"x")[:-8] + bytes(8),
    ],
    ids=["nothing", "garbage", "zlib", "cut", "trailing", "wrong checksum"],
)
def test_what_is_no_gzip(data: bytes) -> None:
    with pytest.raises(Internal, match="compressed"):
        gzipped(data).opened()

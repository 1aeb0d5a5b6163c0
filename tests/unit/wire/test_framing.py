"""Messages out of bytes: any cut of the bytes gives the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerd_lite.errors import Internal, ResourceExhausted
from containerd_lite.wire.framing import MAX_MESSAGE, MessageReader, prefix
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
    assert [bytes(found) for found in reader.messages] == [b"whole", b"second"]

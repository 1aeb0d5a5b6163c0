"""Compressed messages and layers that consist of very many parts without any content."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from containerd_lite.errors import DataLoss, ResourceExhausted
from containerd_lite.store.layers import Decompressor, PlainStream, _gzip, decompressed
from containerd_lite.wire.framing import MAX_MESSAGE, Compressed

pytestmark = pytest.mark.dependencies

#: The shortest gzip member: 10 bytes of header, an empty block, 8 bytes of trailer.
EMPTY = gzip.compress(b"", mtime=0)
#: A skippable frame of zstd without content (RFC 8878, section 3.1.2), and an empty frame.
SKIPPABLE = b"\x50\x2a\x4d\x18" + bytes(4)
EMPTY_FRAME = b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00"


@contextmanager
def cpu(most: float) -> Iterator[None]:
    """The block takes at most so many seconds of CPU time."""
    before = time.process_time()
    yield
    assert time.process_time() - before < most


def filled(part: bytes, size: int) -> bytes:
    return part * (size // len(part))


@pytest.mark.parametrize("part", [EMPTY, gzip.compress(b"x", mtime=0)], ids=["empty", "one_byte"])
def test_a_message_of_very_many_members(part: bytes) -> None:
    """4 MiB took 36 seconds; a message may have 16 MiB."""
    with cpu(2), pytest.raises(ResourceExhausted, match="64 gzip members"):
        Compressed(filled(part, MAX_MESSAGE), MAX_MESSAGE).opened()


def test_a_message_of_some_members() -> None:
    parts = [b"%d" % number for number in range(64)]
    data = b"".join(gzip.compress(part) for part in parts)
    assert Compressed(data, MAX_MESSAGE).opened() == b"".join(parts)


def test_a_message_of_some_large_members() -> None:
    """The longest way through the allowed number of members."""
    data = EMPTY * 63
    data += bytes(MAX_MESSAGE - len(data))
    with cpu(2), pytest.raises(Exception, match="not valid gzip"):
        Compressed(data, MAX_MESSAGE).opened()


def read(stream: PlainStream) -> int:
    buffer, total = memoryview(bytearray(1 << 20)), 0
    while count := stream.readinto(buffer):
        total += count
    return total


def test_a_layer_of_very_many_gzip_members() -> None:
    data = filled(EMPTY, 4 << 20)
    with cpu(2), pytest.raises(ResourceExhausted, match="less than 32 bytes each"):
        read(decompressed(PlainStream(io.BytesIO(data))))


@pytest.mark.parametrize("part", [EMPTY, gzip.compress(b"x", mtime=0)], ids=["empty", "one_byte"])
def test_a_layer_of_many_gzip_members(part: bytes) -> None:
    assert read(decompressed(PlainStream(io.BytesIO(part * 999)))) == 999 * (part != EMPTY)


def test_a_layer_whose_members_are_as_short_as_stargz_writes_them() -> None:
    """A member for the header of each file, and a member for its content of one byte."""
    entry = tarfile.TarInfo("a")
    entry.size = 1
    members = (gzip.compress(entry.tobuf(), mtime=0), gzip.compress(b"x", mtime=0))
    data = filled(b"".join(members), 2 << 20)
    count = len(data) // sum(map(len, members))
    with cpu(2):
        assert read(decompressed(PlainStream(io.BytesIO(data)))) == count * 513


@pytest.mark.parametrize("part", [SKIPPABLE, EMPTY_FRAME], ids=["skippable", "empty"])
def test_a_layer_of_very_many_zstd_frames(part: bytes) -> None:
    pytest.importorskip("backports.zstd", exc_type=ImportError)
    data = filled(part, 4 << 20)
    with cpu(2), pytest.raises(ResourceExhausted, match="less than 32 bytes each"):
        read(decompressed(PlainStream(io.BytesIO(data))))


@pytest.mark.parametrize("size", [1, 7, 4 << 10, 256 << 10, (256 << 10) + 1, 3 << 20])
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_members_of_every_size_are_read_whole(size: int, kind: str) -> None:
    compress: Callable[[bytes], bytes] = gzip.compress
    if kind == "zstd":
        compress = pytest.importorskip("backports.zstd", exc_type=ImportError).compress
    noise = bytes(value * value % 251 for value in range(4099))
    plain = (noise * (size // len(noise) + 1))[:size]
    whole = compress(plain) + compress(b"") + compress(plain) + compress(bytes(size))
    stream = decompressed(PlainStream(io.BytesIO(whole)))
    out = bytearray(3 * size + 10)
    assert stream.readinto(memoryview(out)) == 3 * size
    assert out[:size] == plain
    assert out[2 * size : 3 * size] == bytes(size)


@pytest.mark.parametrize("tail", [b"garbage", b"\x1f\x8b", EMPTY[:-1], b"\x1f\x8b\x08\x00" * 5])
def test_bytes_behind_the_last_member_are_an_error(tail: bytes) -> None:
    source = Decompressor(PlainStream(io.BytesIO(gzip.compress(b"x") + tail)), _gzip)
    with pytest.raises(DataLoss, match=r"compressed stream is (broken|cut off)"):
        read(PlainStream(source))

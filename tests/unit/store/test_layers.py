"""Decompression of streams: gzip, zstd where there is one, and what is neither."""

from __future__ import annotations

import gzip
import io
import random
import sys
import tracemalloc
import zlib
from importlib import import_module
from types import ModuleType

import pytest

from containerd_lite.errors import DataLoss, FailedPrecondition, ResourceExhausted
from containerd_lite.store import layers
from containerd_lite.store.layers import Decompressor, PlainStream, decompressed, detect

pytestmark = pytest.mark.interpreter

BODY = random.Random(1).randbytes(700_000) + bytes(3_000_000) + b"the end"


class Trickle(io.RawIOBase):
    """A file that gives a few bytes at a time, as a socket may."""

    def __init__(self, body: bytes, step: int) -> None:
        self._file = io.BytesIO(body)
        self._step = step

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._file.readinto(buffer[: self._step])


def whole(stream: PlainStream, piece: int = 1 << 20) -> bytes:
    found = io.BytesIO()
    buffer = memoryview(bytearray(piece))
    while count := stream.readinto(buffer):
        found.write(buffer[:count])
    return found.getvalue()


def plain(packed: bytes) -> bytes:
    return whole(decompressed(PlainStream(io.BytesIO(packed))))


@pytest.fixture
def zstd() -> ModuleType:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    pytest.skip("this Python has no zstd")


def test_detect() -> None:
    assert detect(gzip.compress(b"")[: layers.MAGIC]) == "gzip"
    assert detect(b"\x28\xb5\x2f\xfd") == "zstd"
    assert detect(b"\x50\x2a\x4d\x18") == detect(b"\x5f\x2a\x4d\x18") == "zstd"
    assert detect(b"\x60\x2a\x4d\x18") == detect(b"\x50\x2a\x4d") == ""
    assert [detect(head) for head in (b"", b"\x1f", b"\x1f\x8b\x09", b"BZh9")] == [""] * 4


def test_what_is_not_compressed_stays() -> None:
    for body in (b"", b"a", b"abcd", BODY):
        assert plain(body) == body


@pytest.mark.parametrize("piece", [1, 1000, 1 << 20])
def test_gzip(piece: int) -> None:
    body = BODY if piece > 1 else BODY[-5000:]
    packed = gzip.compress(body)
    for source in (io.BytesIO(packed), Trickle(packed, 1000)):
        assert whole(decompressed(PlainStream(source)), piece) == body
    assert plain(gzip.compress(b"")) == b""


def test_all_members() -> None:
    """RFC 1952, section 2.2: a file is a series of members."""
    packed = b"".join(map(gzip.compress, (BODY, b"", b"more", b"")))
    assert plain(packed) == BODY + b"more"


def test_zstd(zstd: ModuleType) -> None:
    packed = zstd.compress(BODY, options={zstd.CompressionParameter.checksum_flag: 1})
    assert plain(packed) == BODY
    assert whole(decompressed(PlainStream(Trickle(packed, 1000))), 1000) == BODY
    assert plain(packed + zstd.compress(b"more")) == BODY + b"more"
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"pzst"
    assert plain(skipped + packed + skipped + zstd.compress(b"more")) == BODY + b"more"
    for broken in (packed[:-3], packed[:200] + b"x" * 50 + packed[250:], packed + b"x"):
        with pytest.raises(DataLoss):
            plain(broken)


def test_without_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compression", "compression.zstd", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(FailedPrecondition, match=r"backports\.zstd"):
        plain(b"\x28\xb5\x2f\xfd")


def test_every_cut_is_told() -> None:
    packed = gzip.compress(BODY[-3000:], mtime=0)
    assert plain(packed) == BODY[-3000:]
    for length in range(layers.MAGIC, len(packed)):
        with pytest.raises(DataLoss, match="cut off"):
            plain(packed[:length])


@pytest.mark.parametrize("place", [20, -6, -2])
def test_other_bytes_are_told(place: int) -> None:
    packed = bytearray(gzip.compress(BODY[:100_000]))
    packed[place] ^= 0x55
    with pytest.raises(DataLoss, match="broken"):
        plain(bytes(packed))
    with pytest.raises(DataLoss, match="broken"):
        plain(gzip.compress(BODY) + b"behind")


def test_skip() -> None:
    stream = decompressed(PlainStream(io.BytesIO(gzip.compress(BODY))))
    stream.skip(len(BODY) - 7)
    assert whole(stream) == b"the end"
    stream.skip(1 << 60)  # no further than the end
    stream = PlainStream(io.BytesIO(b"456789"), b"0123")
    stream.skip(3)
    assert whole(stream) == b"3456789"


class ReadOnly:
    """A binary file of somebody's own."""

    def __init__(self, body: bytes) -> None:
        self.read = io.BytesIO(body).read


def test_a_file_without_readinto() -> None:
    assert whole(PlainStream(ReadOnly(BODY))) == BODY  # type: ignore[arg-type]


def bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    pieces = [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join(pieces) + packer.flush()


def test_a_bomb() -> None:
    packed = bomb(64 << 20)
    free = 16 << 20
    source = Decompressor(PlainStream(io.BytesIO(packed)), layers._gzip, free=free)
    buffer = memoryview(bytearray(1 << 20))
    total = 0
    tracemalloc.start()
    try:
        while total < free:
            total += source.readinto(buffer)
        with pytest.raises(ResourceExhausted, match="250 times"):
            source.readinto(buffer)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert total == free
    assert len(plain(packed)) == 64 << 20  # who has one of this size may


def test_a_bomb_by_zstd(zstd: ModuleType) -> None:
    source = Decompressor(
        PlainStream(io.BytesIO(zstd.compress(bytes(64 << 20)))), zstd.ZstdDecompressor, free=1 << 20
    )
    tracemalloc.start()
    try:
        with pytest.raises(ResourceExhausted):
            whole(PlainStream(source))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()

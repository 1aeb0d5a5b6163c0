"""HPACK both ways, on the contexts of a real H2Connection."""

from __future__ import annotations

from contextlib import suppress

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from containerd_lite.errors import InvalidArgument
from containerd_lite.wire import headers
from containerd_lite.wire.headers import MAX_HEADER_LIST, HeaderCodec

PATH = "/containerd.services.version.v1.Version/Version"


def codec() -> tuple[HeaderCodec, H2Connection]:
    h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    return HeaderCodec(h2, "localhost", "test/1"), h2


def read(decoder: Decoder, block: bytes) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in decoder.decode(block)]


@pytest.mark.parametrize("timeout", [None, 1.5])
def test_a_request(timeout: float | None) -> None:
    ours, _ = codec()
    fields = read(Decoder(), ours.encode(PATH, (("containerd-namespace", "a"),), timeout))
    expected = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", PATH),
        (":authority", "localhost"),
        ("grpc-timeout", "1500000u"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-accept-encoding", "identity,gzip"),
        ("user-agent", "test/1"),
        ("containerd-namespace", "a"),
    ]
    if timeout is None:
        del expected[4]
    assert fields == expected


def test_a_compressed_request_says_so() -> None:
    ours, _ = codec()
    fields = read(Decoder(), ours.encode(PATH, (), None, "gzip"))
    assert fields[-1] == ("grpc-encoding", "gzip")
    assert "grpc-encoding" not in dict(read(Decoder(), ours.encode(PATH, (), None)))


def test_the_peers_limit_on_header_lists() -> None:
    """RFC 9113, 6.5.2: each field counts its name, its value and 32 bytes."""
    ours, _ = codec()
    fields = read(Decoder(), ours.encode(PATH, (), 99_999.999))
    size = sum(len(name) + len(value) + 32 for name, value in fields)
    ours.max_header_list = size
    ours.encode(PATH, (), 99_999.999)
    ours.max_header_list = size - 1
    with pytest.raises(InvalidArgument, match=f"accepts at most {size - 1}"):
        ours.encode(PATH, (), 99_999.999)


def test_a_block_never_depends_on_what_went_before() -> None:
    ours, h2 = codec()
    blocks: dict[str, bytes] = {}
    for name in ("one", "two", "one", "three", "two"):
        block = ours.encode(PATH, (("containerd-namespace", name),), 1)
        assert blocks.setdefault(name, block) == block
        assert read(Decoder(), block)[-1] == ("containerd-namespace", name)
    assert len(h2.encoder.header_table.dynamic_entries) == 0


@pytest.mark.parametrize("sizes", [[0], [100], [0, 4096], [8192], [100, 0, 4096, 7]])
def test_after_a_table_size_change_another_namespace_still_decodes(sizes: list[int]) -> None:
    ours, h2 = codec()
    decoder = Decoder()
    assert ("x", "1") in read(decoder, ours.encode(PATH, (("x", "1"),), None))
    for size in sizes:
        h2.encoder.header_table_size = size
        decoder.max_allowed_table_size = size
        ours.table_size_changed()
    block = ours.encode(PATH, (("x", "2"),), None)
    assert block[0] & 0xE0 == 0x20
    assert ("x", "2") in read(decoder, block)
    assert read(decoder, ours.encode(PATH, (("x", "1"),), None))[-1] == ("x", "1")
    assert ours.encode(PATH, (), None)[0] & 0xE0 != 0x20


def test_a_flood_of_table_sizes_is_told_in_two_updates() -> None:
    ours, h2 = codec()
    plain = len(ours.encode(PATH, (), None))
    for size in range(1000):
        h2.encoder.header_table_size = size
        ours.table_size_changed()
    assert len(ours.encode(PATH, (), None)) - plain <= 5


def test_the_caches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "_CACHE_SIZE", 4)
    shared = headers._metadata_fragment.cache_info()
    assert shared.maxsize == 512
    ours, _ = codec()
    for number in range(20):
        block = ours.encode(f"/a/{number}", (("containerd-lease", str(number)),), None)
        assert ("containerd-lease", str(number)) in read(Decoder(), block)
        assert len(ours._paths) <= 4


@pytest.mark.parametrize("path", ["/a/é", "/a/b c", "/a\n/b", "/a/\ud800"])
def test_a_path_that_cannot_be_sent(path: str) -> None:
    with pytest.raises(InvalidArgument):
        codec()[0].encode(path, (), None)


def test_a_response() -> None:
    ours, _ = codec()
    encoder = Encoder()
    for _ in range(3):  # indexed from the second time on
        block = encoder.encode([(":status", "200"), ("x", "y")])
        assert ours.decode(block).fields == [(b":status", b"200"), (b"x", b"y")]
    assert ours.decode(b"").fields == []


@pytest.mark.parametrize(
    "block",
    [
        b"\xff",
        b"\x80",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xbe",
        b"\x40\x7f",
        b"\x00\x81\xff\x00",
        b"\x3f\xff\xff\xff\x0f",
    ],
)
def test_broken_blocks(block: bytes) -> None:
    with pytest.raises(ValueError, match="header block"):
        codec()[0].decode(block)


def test_a_bomb_is_refused() -> None:  # CVE-2016-6581
    ours, _ = codec()
    encoder = Encoder()
    ours.decode(encoder.encode([("x", "y" * 4000)]))
    with pytest.raises(ValueError, match="header block"):
        ours.decode(b"\xbe" * (MAX_HEADER_LIST // 4000 + 1))


@given(st.binary(max_size=60))
def test_garbage_is_a_value_error_or_fields(block: bytes) -> None:
    with suppress(ValueError):
        codec()[0].decode(block)


def test_a_block_that_is_known_means_what_the_table_says_now() -> None:
    (ours, _), peer = codec(), Encoder()

    def sent(name: str) -> bytes:
        return peer.encode([(":status", "200"), (name, "1")])

    def fields(name: str) -> list[tuple[bytes, bytes]]:
        return [(b":status", b"200"), (name.encode(), b"1")]

    assert ours.decode(sent("x")).fields == fields("x")
    indexed = sent("x")
    assert len(indexed) == 2  # nothing but two indexes
    for _ in range(3):
        assert ours.decode(indexed).fields == fields("x")
    assert ours.decode(sent("y")).fields == fields("y")
    assert sent("y") == indexed  # the same bytes, for another field
    for _ in range(3):
        assert ours.decode(indexed).fields == fields("y")


def test_remembered_blocks_are_bounded_and_forgotten_with_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(headers, "_CACHE_SIZE", 2)
    ours, _ = codec()
    encoder = Encoder()

    def told(*fields: tuple[str, str]) -> list[tuple[bytes, bytes]]:
        found = ours.decode(encoder.encode(list(fields))).fields
        assert len(ours._decoded) <= 2
        return found

    names = [(f"x{number}", "1") for number in range(5)]
    told(*names)
    for _ in range(3):
        for name, value in names:  # one byte each, and more of them than are remembered
            assert told((name, value)) == [(name.encode(), value.encode())]
    told(("y", "2"))  # every index is another one from here on
    for name, value in names:
        assert told((name, value)) == [(name.encode(), value.encode())]

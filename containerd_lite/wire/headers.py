"""HPACK for requests and responses, with the two contexts of an ``H2Connection``.

The header block of a request consists of cached fragments. The client never adds a field to the
peer's dynamic table. Because this table stays empty, the peer decodes a fragment in the same way in
every request. The size of decoded blocks is limited.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from h2.connection import H2Connection
from hpack import HPACKError, NeverIndexedHeaderTuple
from hpack.hpack import encode_integer

from ..errors import InvalidArgument
from .header_block import HeaderBlock
from .metadata import Headers, Metadata, encode_metadata, encode_timeout

#: Maximum size in bytes of a decoded header list, as RFC 9113, 6.5.2, defines this size.
MAX_HEADER_LIST = 64 << 10

#: The first byte of a never-indexed literal field with a new name (RFC 7541, 6.2.3). The name and
#: the value follow, each after its length.
_LITERAL = b"\x10"
#: The timeout field up to the length of its value.
_TIMEOUT_PREFIX = _LITERAL + b"\x0cgrpc-timeout"
#: Number of bytes that each field adds to the size of a header list, in addition to the field's
#: name and value (RFC 9113, 6.5.2).
_FIELD_OVERHEAD = 32
#: Size in bytes of the longest timeout field in a header list: the name, 8 digits, a unit, and
#: ``_FIELD_OVERHEAD``.
_TIMEOUT_SIZE = 12 + 9 + _FIELD_OVERHEAD
#: Maximum number of entries in each cache of this module.
_CACHE_SIZE = 512
#: Maximum size in bytes of a cached block. A block of 2 KB can decode to 2,000 fields
#: (CVE-2026-49975).
_MAX_CACHED_BLOCK = 32
#: The lowest first byte of an indexed field, and the first byte of an indexed field whose index is
#: longer than one byte.
_INDEXED, _LONG_INDEX = 0x80, 0xFF


class Fragment(NamedTuple):
    """A part of a request's header block.

    ``block`` contains the encoded fields. ``size`` is the size in bytes of these fields in a header
    list, as RFC 9113, 6.5.2, defines this size.
    """

    block: bytes
    size: int


class HeaderCodec:
    """Encodes request blocks and decodes response blocks of one connection.

    ``max_header_list`` is the maximum size in bytes that the peer accepts for a request's header
    list. ``None`` means no limit.
    """

    def __init__(
        self, h2: H2Connection, authority: str, user_agent: str, scheme: str = "http"
    ) -> None:
        self.max_header_list: int | None = None
        self._encoder = h2.encoder
        self._decoder = h2.decoder
        self._decoder.max_header_list_size = MAX_HEADER_LIST
        self._authority = authority.encode("ascii")
        self._scheme = scheme.encode("ascii")
        self._fixed = self._encode_fragment(
            [
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
                (b"grpc-accept-encoding", b"identity,gzip"),
                (b"user-agent", user_agent.encode("ascii")),
            ]
        )
        self._paths: dict[str, Fragment] = {}
        self._decoded: dict[bytes, HeaderBlock] = {}
        self._size_update = b""

    def table_size_changed(self) -> None:
        """Start the next block with a size update, because the peer changed HEADER_TABLE_SIZE."""
        # If the peer changes the size several times between two blocks, the client must send the
        # smallest size and the last size (RFC 7541, 4.2). As the smallest size, the client can
        # always send 0, because the table is empty.
        self._size_update = (b"\x20" if self._size_update else b"") + self._encoder.encode([])

    def encode(
        self, path: str, metadata: Metadata, timeout: float | None, encoding: str = ""
    ) -> bytes:
        """Return a request's header block.

        The timeout directly follows the pseudo-header fields.

        Raises:
            InvalidArgument: HTTP/2 or gRPC cannot carry a field, or the fields exceed the peer's
                limit.
        """
        head, tail = self.fragments(path, metadata, encoding)
        fixed = self._fixed
        if self.max_header_list is not None:
            self._check_size(head.size + fixed.size + tail.size)
        size_update, self._size_update = self._size_update, b""
        if timeout is None:
            return size_update + head.block + fixed.block + tail.block
        value = encode_timeout(timeout)
        size = bytes((len(value),))
        return b"".join(
            (size_update, head.block, _TIMEOUT_PREFIX, size, value, fixed.block, tail.block)
        )

    def _check_size(self, size: int) -> None:
        size += _TIMEOUT_SIZE
        if self.max_header_list is not None and size > self.max_header_list:
            raise InvalidArgument(
                f"the request's header fields have {size} bytes, but the daemon accepts at most "
                f"{self.max_header_list}"
            )

    def fragments(
        self, path: str, metadata: Metadata, encoding: str = ""
    ) -> tuple[Fragment, Fragment]:
        """Return two fragments: the pseudo-header fields, and the fields that the caller chooses.

        Raises:
            InvalidArgument: HTTP/2 or gRPC cannot carry a field.
        """
        head = self._paths.get(path)
        if head is None:
            if len(self._paths) >= _CACHE_SIZE:
                self._paths.clear()
            head = self._paths[path] = self._encode_fragment(self._pseudo_fields(path))
        return head, _metadata_fragment(metadata, encoding)

    def _pseudo_fields(self, path: str) -> Headers:
        if not path.isascii() or not path.isprintable() or " " in path:
            raise InvalidArgument(f"{path!r} is not a valid method path")
        return [
            (b":method", b"POST"),
            (b":scheme", self._scheme),
            (b":path", path.encode("ascii")),
            (b":authority", self._authority),
        ]

    def _encode_fragment(self, fields: Headers) -> Fragment:
        block = self._encoder.encode(
            [NeverIndexedHeaderTuple(name, value) for name, value in fields], huffman=False
        )
        return Fragment(bytes(block), _size_of(fields))

    def decode(self, block: bytes) -> HeaderBlock:
        """Decode a response's header block.

        Raises:
            ValueError: The block is invalid or too large.
        """
        cached = self._decoded.get(block)
        if cached is not None:
            return cached
        try:
            fields = self._decoder.decode(block, raw=True)
            decoded = HeaderBlock([(bytes(name), bytes(value)) for name, value in fields])
        except (HPACKError, IndexError, UnicodeDecodeError, OverflowError, TypeError) as error:
            raise ValueError(
                f"cannot decode header block: {type(error).__name__}: {error}"
            ) from error
        # If each field of a block is an indexed field of one byte (RFC 7541, 6.1), the block does
        # not change the dynamic table. A cached block decodes to the same fields until a block
        # arrives that can change the table. Most responses have two blocks with only such indexed
        # fields. Without the cache, decoding these two blocks takes 83 of the 358 function calls of
        # a unary RPC.
        if block and min(block) >= _INDEXED and max(block) < _LONG_INDEX:
            if len(block) <= _MAX_CACHED_BLOCK and len(self._decoded) < _CACHE_SIZE:
                self._decoded[block] = decoded
        else:
            self._decoded.clear()
        return decoded


# All connections share this cache, because each lease has metadata of its own, and the calls within
# a lease can use several connections. The blocks are encoded here, in a tenth of hpack's time: a
# pull by the daemon of what is there takes 4 % less CPU time.
@lru_cache(_CACHE_SIZE)
def _metadata_fragment(metadata: Metadata, encoding: str) -> Fragment:
    fields = encode_metadata(metadata)
    if encoding:
        fields.append((b"grpc-encoding", encoding.encode("ascii")))
    block = b"".join(
        part
        for name, value in fields
        for part in (
            _LITERAL,
            encode_integer(len(name), 7),
            name,
            encode_integer(len(value), 7),
            value,
        )
    )
    return Fragment(block, _size_of(fields))


def _size_of(fields: Headers) -> int:
    return sum(len(name) + len(value) + _FIELD_OVERHEAD for name, value in fields)

"""HPACK for requests and responses, on the two contexts that an ``H2Connection`` owns.

What lives here: request blocks put together from cached fragments, and bounded decoding.  What
may not: frames, calls.

Request fields are never indexed, so the peer's dynamic table stays empty and a fragment means
the same whenever it is sent; that is what makes the cache sound.
"""

from __future__ import annotations

from h2.connection import H2Connection
from hpack import HPACKError, NeverIndexedHeaderTuple

from ..errors import InvalidArgument
from .metadata import Headers, Metadata, encode_metadata, encode_timeout

#: Bound on a decoded header list, by HTTP/2's own measure (RFC 9113, 6.5.2).
MAX_HEADER_LIST = 64 << 10

#: A literal field, never indexed, new name (RFC 7541, 6.2.3), up to its value's length.
_TIMEOUT = b"\x10\x0cgrpc-timeout"
#: Leases make new metadata all the time; the caches are dropped when they reach this.
_CACHE_SIZE = 512
#: The first byte of an indexed field, and of one whose index takes more bytes.
_INDEXED, _LONG_INDEX = 0x80, 0xFF


class HeaderCodec:
    """Encodes request blocks and decodes response blocks of one connection."""

    def __init__(self, h2: H2Connection, authority: str, user_agent: str) -> None:
        self._encoder = h2.encoder
        self._decoder = h2.decoder
        self._decoder.max_header_list_size = MAX_HEADER_LIST
        self._authority = authority.encode("ascii")
        self._fixed: Headers = [
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", user_agent.encode("ascii")),
        ]
        self._paths: dict[str, bytes] = {}
        self._tails: dict[Metadata, bytes] = {}
        self._known: dict[bytes, Headers] = {}
        self._update = b""

    def table_size_changed(self) -> None:
        """The peer changed HEADER_TABLE_SIZE: the next block must begin with the update."""
        # Of several changes the smallest and the last must be told (RFC 7541, 4.2); 0 is as small
        # as any, and the table is empty.
        self._update = (b"\x20" if self._update else b"") + self._encoder.encode([])

    def encode(self, path: str, metadata: Metadata, timeout: float | None) -> bytes:
        """A request's header block; the timeout stands right behind the pseudo-headers."""
        head, tail = self.fragments(path, metadata)
        update, self._update = self._update, b""
        if timeout is None:
            return update + head + tail
        value = encode_timeout(timeout)
        return b"".join((update, head, _TIMEOUT, bytes((len(value),)), value, tail))

    def fragments(self, path: str, metadata: Metadata) -> tuple[bytes, bytes]:
        """The block's two parts.  Raises ``InvalidArgument`` for what HTTP/2 cannot carry."""
        head = self._paths.get(path)
        if head is None:
            head = self._remember(self._paths, path, self._pseudo(path))
        tail = self._tails.get(metadata)
        if tail is None:
            tail = self._remember(self._tails, metadata, self._fixed + encode_metadata(metadata))
        return head, tail

    def _pseudo(self, path: str) -> Headers:
        if not path.isascii() or not path.isprintable() or " " in path:
            raise InvalidArgument(f"{path!r} cannot be the path of a method")
        return [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode("ascii")),
            (b":authority", self._authority),
        ]

    def _remember(self, cache: dict, key: object, fields: Headers) -> bytes:  # type: ignore[type-arg]
        block = self._encoder.encode(
            [NeverIndexedHeaderTuple(name, value) for name, value in fields], huffman=False
        )
        if len(cache) >= _CACHE_SIZE:
            cache.clear()
        cache[key] = bytes(block)
        return bytes(block)

    def decode(self, block: bytes) -> Headers:
        """A response's fields, not to be changed.

        Raises ``ValueError`` for a block that is broken or too large.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        try:
            decoded = self._decoder.decode(block, raw=True)
            fields = [(bytes(name), bytes(value)) for name, value in decoded]
        except (HPACKError, IndexError, UnicodeDecodeError, OverflowError, TypeError) as error:
            raise ValueError(f"header block: {type(error).__name__}: {error}") from error
        # A block of nothing but indexed fields of one byte (RFC 7541, 6.1) leaves the table as
        # it is, and means the same until another kind of block comes.  Most answers are two such
        # blocks: without this, decoding them is 83 of the 358 function calls of a unary RPC.
        if block and min(block) >= _INDEXED and max(block) < _LONG_INDEX:
            if len(self._known) < _CACHE_SIZE:
                self._known[block] = fields
        else:
            self._known.clear()
        return fields

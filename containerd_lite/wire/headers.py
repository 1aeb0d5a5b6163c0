"""HPACK for requests and responses, on the two contexts that an ``H2Connection`` owns.

What lives here: request blocks put together from cached fragments, and bounded decoding.  What
may not: frames, calls.

Request fields are never indexed, so the peer's dynamic table stays empty and a fragment means
the same whenever it is sent; that is what makes the cache sound.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from h2.connection import H2Connection
from hpack import HPACKError, NeverIndexedHeaderTuple

from ..errors import InvalidArgument
from .header_block import HeaderBlock
from .metadata import Headers, Metadata, encode_metadata, encode_timeout

#: Bound on a decoded header list, by HTTP/2's own measure (RFC 9113, 6.5.2).
MAX_HEADER_LIST = 64 << 10

#: A literal field, never indexed, new name (RFC 7541, 6.2.3), up to its value's length.
_TIMEOUT = b"\x10\x0cgrpc-timeout"
#: What HTTP/2 counts for a field beside its name and value (RFC 9113, 6.5.2).
_FIELD_OVERHEAD = 32
#: The field of the timeout at its longest: its name, 8 digits, a unit.
_TIMEOUT_SIZE = 12 + 9 + _FIELD_OVERHEAD
#: Leases make new metadata all the time; the caches are dropped when they reach this.
_CACHE_SIZE = 512
#: Bytes of a block that is remembered; one of 2 KB may open to 2,000 fields (CVE-2026-49975).
_LARGEST_KNOWN = 32
#: The first byte of an indexed field, and of one whose index takes more bytes.
_INDEXED, _LONG_INDEX = 0x80, 0xFF


class Fragment(NamedTuple):
    """A part of a request's header block, and its size by HTTP/2's measure."""

    block: bytes
    size: int


class HeaderCodec:
    """Encodes request blocks and decodes response blocks of one connection.

    ``max_header_list`` is the peer's limit on what we send, ``None`` if it told none.
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
        self._fixed: Headers = [
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"grpc-accept-encoding", b"identity,gzip"),
            (b"user-agent", user_agent.encode("ascii")),
        ]
        self._paths: dict[str, Fragment] = {}
        self._tails: dict[tuple[Metadata, str], Fragment] = {}
        self._known: dict[bytes, HeaderBlock] = {}
        self._update = b""

    def table_size_changed(self) -> None:
        """The peer changed HEADER_TABLE_SIZE: the next block must begin with the update."""
        # Of several changes the smallest and the last must be told (RFC 7541, 4.2); 0 is as small
        # as any, and the table is empty.
        self._update = (b"\x20" if self._update else b"") + self._encoder.encode([])

    def encode(
        self, path: str, metadata: Metadata, timeout: float | None, encoding: str = ""
    ) -> bytes:
        """A request's header block; the timeout stands right behind the pseudo-headers.

        Raises ``InvalidArgument`` for what HTTP/2 cannot carry, or the peer does not take.
        """
        head, tail = self._paths.get(path), self._tails.get((metadata, encoding))
        if head is None or tail is None:
            head, tail = self.fragments(path, metadata, encoding)
        if self.max_header_list is not None:
            self._check_size(head.size + tail.size)
        update, self._update = self._update, b""
        if timeout is None:
            return update + head.block + tail.block
        value = encode_timeout(timeout)
        return b"".join((update, head.block, _TIMEOUT, bytes((len(value),)), value, tail.block))

    def _check_size(self, size: int) -> None:
        size += _TIMEOUT_SIZE
        if self.max_header_list is not None and size > self.max_header_list:
            raise InvalidArgument(
                f"the request's metadata comes to {size} bytes with HTTP's own, and the daemon "
                f"takes {self.max_header_list}"
            )

    def fragments(
        self, path: str, metadata: Metadata, encoding: str = ""
    ) -> tuple[Fragment, Fragment]:
        """The block's two parts.  Raises ``InvalidArgument`` for what HTTP/2 cannot carry."""
        head = self._paths.get(path)
        if head is None:
            head = _remember(self._paths, path, self._fragment(self._pseudo(path)))
        tail = self._tails.get((metadata, encoding))
        if tail is None:
            fields = [*self._fixed, *encode_metadata(metadata)]
            if encoding:
                fields.append((b"grpc-encoding", encoding.encode("ascii")))
            tail = _remember(self._tails, (metadata, encoding), self._fragment(fields))
        return head, tail

    def _pseudo(self, path: str) -> Headers:
        if not path.isascii() or not path.isprintable() or " " in path:
            raise InvalidArgument(f"{path!r} cannot be the path of a method")
        return [
            (b":method", b"POST"),
            (b":scheme", self._scheme),
            (b":path", path.encode("ascii")),
            (b":authority", self._authority),
        ]

    def _fragment(self, fields: Headers) -> Fragment:
        block = self._encoder.encode(
            [NeverIndexedHeaderTuple(name, value) for name, value in fields], huffman=False
        )
        size = sum(len(name) + len(value) + _FIELD_OVERHEAD for name, value in fields)
        return Fragment(bytes(block), size)

    def decode(self, block: bytes) -> HeaderBlock:
        """What a response's header block says.

        Raises ``ValueError`` for a block that is broken or too large.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        try:
            decoded = self._decoder.decode(block, raw=True)
            found = HeaderBlock([(bytes(name), bytes(value)) for name, value in decoded])
        except (HPACKError, IndexError, UnicodeDecodeError, OverflowError, TypeError) as error:
            raise ValueError(f"header block: {type(error).__name__}: {error}") from error
        # A block of nothing but indexed fields of one byte (RFC 7541, 6.1) leaves the table as
        # it is, and means the same until another kind of block comes.  Most answers are two such
        # blocks: without this, decoding them is 83 of the 358 function calls of a unary RPC.
        if block and min(block) >= _INDEXED and max(block) < _LONG_INDEX:
            if len(block) <= _LARGEST_KNOWN and len(self._known) < _CACHE_SIZE:
                self._known[block] = found
        else:
            self._known.clear()
        return found


_Key = TypeVar("_Key")


def _remember(cache: dict[_Key, Fragment], key: _Key, fragment: Fragment) -> Fragment:
    if len(cache) >= _CACHE_SIZE:
        cache.clear()
    cache[key] = fragment
    return fragment

"""Digests: plain strings such as ``sha256:<64 hex digits>``.

``validate`` checks every digest from a peer, a file or the caller before this package stores the
digest in a record.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import DigestMismatch, InvalidArgument, SizeMismatch
from ..printable import quoted

if TYPE_CHECKING:
    from hashlib import _Hash

#: The algorithms registered in the image-spec (descriptor.md), with the number of hex digits of
#: each.
ALGORITHMS = {"sha256": 64, "sha512": 128}
#: The maximum number of digests that an error message lists.
_MAX_LISTED = 20

_match_digest = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}").fullmatch

Buffer = bytes | bytearray | memoryview


def is_digest(text: str) -> bool:
    """Return whether ``text`` is a digest that this package accepts."""
    return _match_digest(text) is not None


def validate(text: str, what: str = "") -> str:
    """Return ``text`` if it is a digest with a registered algorithm.

    File paths contain digests, so an unchecked string could lead to another file (CVE-2024-3727).

    Args:
        text: The digest.
        what: The name of the object that contains the digest, for error messages.

    Raises:
        InvalidArgument: ``text`` is not a digest, its algorithm is not registered, or its hex
            digits are not in lower case.
    """
    if not isinstance(text, str) or _match_digest(text) is None:
        prefix = f"{what}: " if what else ""
        raise InvalidArgument(
            f"{prefix}{quoted(text)} is not a digest",
            remedy="Give sha256: and 64 hex digits, or sha512: and 128 hex digits, in lower case",
        )
    return text


def algorithm(digest: str) -> str:
    """Return the algorithm of a digest: ``"sha256"`` or ``"sha512"``.

    Raises:
        InvalidArgument: ``digest`` is not a digest.
    """
    return validate(digest).partition(":")[0]


def encoded(digest: str) -> str:
    """Return the hex digits of a digest.

    Raises:
        InvalidArgument: ``digest`` is not a digest.
    """
    return validate(digest).partition(":")[2]


def hasher(algorithm: str = "sha256") -> _Hash:
    """Return a new hash object for one of the registered algorithms."""
    # This import loads OpenSSL, which takes 4 ms. A program that only lists images does not need
    # OpenSSL.
    from hashlib import new

    return new(algorithm, usedforsecurity=False)


def of(data: Buffer, algorithm: str = "sha256") -> str:
    """Return the digest of ``data``.

    Args:
        data: The content.
        algorithm: ``"sha256"`` or ``"sha512"``.

    Raises:
        InvalidArgument: The algorithm is not registered.
    """
    if algorithm not in ALGORITHMS:
        raise InvalidArgument(f"{quoted(algorithm)} is not a digest algorithm")
    hash = hasher(algorithm)
    hash.update(data)
    return f"{algorithm}:{hash.hexdigest()}"


class Verifier:
    """Checks the size and the digest of a stream.

    Args:
        digest: The expected digest.
        size: The expected size in bytes.

    Attributes:
        seen: The number of bytes passed to ``update`` so far.

    Raises:
        InvalidArgument: ``digest`` is not a digest.
    """

    __slots__ = ("_digest", "_hash", "_size", "seen")

    def __init__(self, digest: str, size: int) -> None:
        self._digest = validate(digest)
        self._hash = hasher(algorithm(digest))
        self._size = size
        self.seen = 0

    def update(self, data: Buffer) -> None:
        """Add the next bytes of the stream.

        Raises:
            SizeMismatch: The stream is longer than expected.
        """
        self.seen += len(data)
        if self.seen > self._size:
            raise SizeMismatch(
                f"content of {self._digest} is longer than the expected {self._size} bytes"
            )
        self._hash.update(data)

    def check(self) -> None:
        """Check the size and the digest at the end of the stream.

        Raises:
            SizeMismatch: The stream is shorter than expected.
            DigestMismatch: The stream does not have the expected digest.
        """
        if self.seen != self._size:
            raise SizeMismatch(
                f"content of {self._digest} has {self.seen} bytes, not the expected {self._size}"
            )
        actual = f"{self._hash.name}:{self._hash.hexdigest()}"
        if actual != self._digest:
            raise DigestMismatch(f"content of {self._digest} has the digest {actual}")


def verify(data: Buffer, digest: str, size: int) -> None:
    """Check the size and the digest of ``data``.

    Args:
        data: The whole content.
        digest: The expected digest.
        size: The expected size in bytes.

    Raises:
        InvalidArgument: ``digest`` is not a digest.
        SizeMismatch: ``data`` does not have the expected size.
        DigestMismatch: ``data`` does not have the expected digest.
    """
    verifier = Verifier(digest, size)
    verifier.update(data)
    verifier.check()


def listed(digests: Sequence[str]) -> str:
    """Return the digests as text for an error message.

    The text has the first 20 digests, and the number of the remaining digests.
    """
    more = f" and {len(digests) - _MAX_LISTED} more" if len(digests) > _MAX_LISTED else ""
    return f"{', '.join(digests[:_MAX_LISTED])}{more}"

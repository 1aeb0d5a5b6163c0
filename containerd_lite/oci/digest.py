"""Digests: strings of the form ``sha256:<64 hex digits>``, checked wherever one comes in.

A digest stays a plain ``str`` everywhere; a ``str`` in a record has passed ``validate``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import DigestMismatch, InvalidArgument, SizeMismatch
from .document import quoted

if TYPE_CHECKING:
    from hashlib import _Hash

#: The registered algorithms (image-spec, descriptor.md) and their lengths in hex digits.
ALGORITHMS = {"sha256": 64, "sha512": 128}
#: Digests that an error names; more tell nobody more.
_SHOWN = 20

_is_form = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}").fullmatch

Buffer = bytes | bytearray | memoryview


def is_digest(text: str) -> bool:
    """Whether ``text`` is a digest that this package accepts."""
    return _is_form(text) is not None


def validate(text: str, what: str = "") -> str:
    """Returns ``text`` if it is a digest, as descriptor.md of the image-spec writes it.

    ``what`` names the place it stands in, for errors.  Raises InvalidArgument for everything
    else: other algorithms, capitals, and paths in disguise (CVE-2024-3727).
    """
    if not isinstance(text, str) or _is_form(text) is None:
        where = f"{what}: " if what else ""
        raise InvalidArgument(
            f"{where}{quoted(text)} is not a digest",
            remedy="A digest is sha256: and 64 lower-case hex digits, or sha512: and 128",
        )
    return text


def algorithm(digest: str) -> str:
    """``"sha256"`` or ``"sha512"``.  Raises InvalidArgument."""
    return validate(digest).partition(":")[0]


def encoded(digest: str) -> str:
    """The hex digits.  Raises InvalidArgument."""
    return validate(digest).partition(":")[2]


def hasher(algorithm: str = "sha256") -> _Hash:
    """A new hash object for one of the registered algorithms."""
    from hashlib import new  # and OpenSSL with it: 4 ms, which listing images need not pay

    return new(algorithm, usedforsecurity=False)


def of(data: Buffer, algorithm: str = "sha256") -> str:
    """The digest of ``data``.  Raises InvalidArgument for an algorithm not registered."""
    if algorithm not in ALGORITHMS:
        raise InvalidArgument(f"{quoted(algorithm)} is not a digest algorithm")
    hash = hasher(algorithm)
    hash.update(data)
    return f"{algorithm}:{hash.hexdigest()}"


class Verifier:
    """Checks a stream against the digest and the size (bytes) that a descriptor promises."""

    __slots__ = ("_digest", "_hash", "_size", "seen")

    def __init__(self, digest: str, size: int) -> None:
        self._digest = validate(digest)
        self._hash = hasher(algorithm(digest))
        self._size = size
        self.seen = 0

    def update(self, data: Buffer) -> None:
        """Takes the next bytes.  Raises SizeMismatch as soon as there are too many."""
        self.seen += len(data)
        if self.seen > self._size:
            raise SizeMismatch(f"{self._digest} is longer than the {self._size} bytes promised")
        self._hash.update(data)

    def check(self) -> None:
        """Ends the stream.  Raises SizeMismatch if it was short, DigestMismatch if wrong."""
        if self.seen != self._size:
            raise SizeMismatch(f"{self._digest} has {self.seen} bytes, promised were {self._size}")
        found = f"{self._hash.name}:{self._hash.hexdigest()}"
        if found != self._digest:
            raise DigestMismatch(f"content of {self._digest} has the digest {found}")


def verify(data: Buffer, digest: str, size: int) -> None:
    """Checks ``data`` whole.  Raises SizeMismatch or DigestMismatch."""
    verifier = Verifier(digest, size)
    verifier.update(data)
    verifier.check()


def listed(digests: Sequence[str]) -> str:
    """Digests as an error names them: the first twenty, and how many more there are."""
    more = f" and {len(digests) - _SHOWN} more" if len(digests) > _SHOWN else ""
    return f"{', '.join(digests[:_SHOWN])}{more}"

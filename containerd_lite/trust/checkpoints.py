"""Checkpoints of transparency logs, which are signed notes.

Source: https://c2sp.org/tlog-checkpoint and https://c2sp.org/signed-note.
"""

from __future__ import annotations

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..oci.document import MAX_INTEGER
from ..records import record
from .encoding import from_base64
from .merkle import HASH_SIZE

#: The maximum size of a checkpoint in bytes, and the maximum number of its signatures.
MAX_CHECKPOINT, _MAX_SIGNATURES = 64 << 10, 64
#: The number of bytes before each signature that identify the key.
HINT_SIZE = 4

_CONTROL = lazy_pattern(r"[\x00-\x09\x0b-\x1f\x7f]")
_SIZE = lazy_pattern(r"0|[1-9][0-9]{0,18}")
_SIGNATURE = lazy_pattern(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/=]+)")
#: The origin of a log of Rekor v1: its host and the ID of its tree.
_WITH_TREE_ID = lazy_pattern(r"([^\s+]+) - [0-9]+")


@record(frozen=True)
class NoteSignature:
    """A signature of a note.

    Attributes:
        name: The name of the signer.
        hint: The first four bytes of the ID of the signer's key.
        signature: The signature.
    """

    name: str
    hint: bytes
    signature: bytes


@record(frozen=True)
class LogCheckpoint:
    """A transparency log's statement about its tree.

    Attributes:
        origin: The name of the log.
        size: The number of entries.
        root: The root hash of the tree.
        signed_bytes: The bytes that are signed.
        signatures: The signatures of the log and of witnesses.
    """

    origin: str
    size: int
    root: bytes
    signed_bytes: bytes
    signatures: tuple[NoteSignature, ...]

    @property
    def has_tree_id(self) -> bool:
        """Whether the origin has the form of Rekor v1, ``host - tree ID``."""
        return _WITH_TREE_ID.fullmatch(self.origin) is not None

    @property
    def name(self) -> str:
        """The name that the log's signature has: the origin without the ID of a tree."""
        match = _WITH_TREE_ID.fullmatch(self.origin)
        return match[1] if match else self.origin

    @classmethod
    def parse(cls, text: str, what: str = "the checkpoint") -> LogCheckpoint:
        """Parse a signed checkpoint.

        Raises:
            InvalidArgument: ``text`` is not a checkpoint with at least one signature.
        """
        if len(text.encode()) > MAX_CHECKPOINT:
            raise InvalidArgument(f"{what} has more than the {MAX_CHECKPOINT} bytes allowed")
        body, _, tail = text.partition("\n\n")
        if not tail.endswith("\n") or _CONTROL.search(text):
            raise InvalidArgument(f"{what} is not a signed note")
        lines = body.split("\n")
        if len(lines) < 3 or not all(lines) or not _SIZE.fullmatch(lines[1]):
            raise InvalidArgument(f"{what} does not have an origin, a size and a root hash")
        root = from_base64(lines[2], f"{what}: root hash")
        if len(root) != HASH_SIZE or int(lines[1]) > MAX_INTEGER:
            raise InvalidArgument(f"{what} does not have a valid size and root hash")
        signatures = tail[:-1].split("\n")
        if len(signatures) > _MAX_SIGNATURES:
            raise InvalidArgument(f"{what} has more than the {_MAX_SIGNATURES} signatures allowed")
        return cls(
            lines[0],
            int(lines[1]),
            root,
            f"{body}\n".encode(),
            tuple(_read_signature(line, what) for line in signatures),
        )


def _read_signature(line: str, what: str) -> NoteSignature:
    match = _SIGNATURE.fullmatch(line)
    data = from_base64(match[2], f"{what}: signature") if match else b""
    if match is None or len(data) <= HINT_SIZE:
        raise InvalidArgument(f"{what} has a malformed signature")
    return NoteSignature(match[1], data[:HINT_SIZE], data[HINT_SIZE:])

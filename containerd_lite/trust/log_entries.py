"""Checks whether a transparency log has an entry, and whether the entry is about a signature."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, SignatureError
from ..printable import quoted
from .bundles import LogEntry
from .checked import CheckedEntry
from .checkpoints import LogCheckpoint
from .encoding import to_base64
from .entry_bodies import EntryContent, LoggedSigner, read_content
from .merkle import leaf_hash, root_hash

if TYPE_CHECKING:
    from .signed_content import SignedContent
    from .trust_root import TransparencyLog

#: The kinds of Rekor v2, whose logs sign no times.
_VERSION_2 = (("hashedrekord", "0.0.2"), ("dsse", "0.0.2"))
#: The latest time that an entry can state, 31 December 9999, in seconds since 1970.
_LATEST = 253402300799


def check_about(entry: LogEntry, signed: SignedContent, signer: LoggedSigner) -> None:
    """Verify that an entry is about this signature, this signer and this artifact.

    Otherwise, an entry of another signature could stand in for the entry of this signature
    (CVE-2022-36056, CVE-2026-22703).

    Raises:
        InvalidArgument: The body of the entry is malformed or of an unknown kind.
        SignatureError: The entry is about another signature, signer or artifact.
    """
    content = read_content(entry)
    if (signed.signature, signer) not in content.signatures:
        same = any(signature == signed.signature for signature, _ in content.signatures)
        raise SignatureError(
            f"the log entry is about another {'key or certificate' if same else 'signature'}"
        )
    if not _is_same_artifact(content, signed):
        raise SignatureError("the log entry is about another artifact")


def _is_same_artifact(content: EntryContent, signed: SignedContent) -> bool:
    if not content.is_of_payload:
        return content.digest == signed.digest_by(content.hash_name)
    envelope = signed.envelope
    return (
        envelope is not None
        and content.digest == hashlib.new(content.hash_name, envelope.payload).digest()
        and content.payload in (None, envelope.payload)
        and content.payload_type in (None, envelope.payload_type)
        and {signature for signature, _ in content.signatures} <= set(envelope.signatures)
    )


# ---- what the log signed ------------------------------------------------------------------------


def promised_time(entry: LogEntry, logs: Sequence[TransparencyLog]) -> datetime | None:
    """Return the time that the log signed together with the entry (Rekor v1).

    Args:
        entry: The entry.
        logs: The logs of the trusted root.

    Returns:
        The time; ``None`` if the entry has no signature by the log. A time without this signature
        proves nothing.

    Raises:
        InvalidArgument: The time is out of range, or Rekor v2 cannot have signed it.
        SignatureError: The signature or the log is not valid.
    """
    if (entry.kind, entry.version) in _VERSION_2 and (entry.promise or entry.integrated_time):
        raise InvalidArgument("the log entry has a time, which logs of Rekor v2 do not sign")
    if not entry.promise:
        return None
    if entry.integrated_time > _LATEST:
        raise InvalidArgument("the time of the log entry is out of range")
    time = datetime.fromtimestamp(entry.integrated_time, timezone.utc)
    signed = {
        "body": to_base64(entry.body),
        "integratedTime": entry.integrated_time,
        "logID": entry.log_id.hex(),
        "logIndex": entry.index,
    }
    message = json.dumps(signed, separators=(",", ":"), sort_keys=True).encode()

    def check(log: TransparencyLog) -> None:
        if not log.verifies(entry.promise, message):
            raise SignatureError("the log did not sign the time of the log entry")
        _check_period(log, [time])

    _check_by_log(entry, logs, check)
    return time


def check_included(
    entry: LogEntry, logs: Sequence[TransparencyLog], times: Sequence[datetime]
) -> CheckedEntry:
    """Verify that a log has an entry, or at least promised to have it.

    Args:
        entry: The entry. Its promise was verified by ``promised_time``.
        logs: The logs of the trusted root.
        times: The times at which the signature existed. The log must have been in use at one of
            them. Without times, a log counts only if its use does not end.

    Raises:
        InvalidArgument: The checkpoint is malformed.
        SignatureError: The proof, the checkpoint or the log is not valid.
    """
    time = datetime.fromtimestamp(entry.integrated_time, timezone.utc) if entry.promise else None
    proof = entry.proof
    if proof is None:
        if time is None:
            raise SignatureError("the log entry has no inclusion proof")
        return CheckedEntry(entry.log_id, entry.index, time)
    if (entry.kind, entry.version) in _VERSION_2 and entry.index != proof.index:
        raise SignatureError("the log entry and its inclusion proof have different indexes")
    checkpoint = LogCheckpoint.parse(proof.checkpoint)

    def check(log: TransparencyLog) -> None:
        _check_checkpoint(checkpoint, log)
        _check_period(log, times)

    _check_by_log(entry, logs, check)
    if (checkpoint.size, checkpoint.root) != (proof.size, proof.root):
        raise SignatureError("the inclusion proof does not belong to its checkpoint")
    if root_hash(leaf_hash(entry.body), proof.index, proof.size, proof.hashes) != proof.root:
        raise SignatureError("the log does not contain the log entry")
    # Without a promise, the log signed only the index in this tree. In Rekor v1, a log can have
    # earlier trees, and the entry's own index counts their entries, too.
    return CheckedEntry(entry.log_id, entry.index if time else proof.index, time)


def _check_by_log(
    entry: LogEntry, logs: Sequence[TransparencyLog], check: Callable[[TransparencyLog], None]
) -> None:
    """Call ``check`` with the log of the entry. If several have this ID, one must pass."""
    error = SignatureError(f"the trusted root does not have the log {entry.log_id.hex()}")
    for log in logs:
        if log.id == entry.log_id:
            try:
                return check(log)
            except SignatureError as found:
                error = found
    raise error


def _check_period(log: TransparencyLog, times: Sequence[datetime]) -> None:
    if not times and log.period.end is not None:
        raise SignatureError(f"nothing proves that the log {log.base_url} was in use")
    if times and not any(log.period.covers(time) for time in times):
        raise SignatureError(f"the log {log.base_url} was not in use at the time of the signature")


def _check_checkpoint(checkpoint: LogCheckpoint, log: TransparencyLog) -> None:
    # The names of Rekor v1 are not compared with the URL: by default, all its instances have the
    # name of the public instance. The key decides.
    if not checkpoint.has_tree_id and checkpoint.name not in log.names:
        raise SignatureError(
            f"the checkpoint is by {quoted(checkpoint.origin)}, not by {log.base_url}"
        )
    own = [
        each.signature
        for each in checkpoint.signatures
        if (each.name, each.hint) == (checkpoint.name, log.hint)
    ]
    if not own or not all(log.verifies(each, checkpoint.signed_bytes) for each in own):
        raise SignatureError(f"the log {log.base_url} did not sign the checkpoint")

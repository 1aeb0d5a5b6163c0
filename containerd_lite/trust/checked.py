"""What the verification of a signature has found."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ..records import record
from .keys import PublicKey

if TYPE_CHECKING:
    from .certificates import CertificateIdentity


@record(frozen=True)
class CheckedEntry:
    """A verified entry.

    Attributes:
        log_id: The ID of the log.
        index: The index of the entry in the log, as the log signed it.
        time: When the log got the entry; ``None`` if the log did not sign a time.
    """

    log_id: bytes
    index: int
    time: datetime | None


@record(frozen=True)
class CheckedEvidence:
    """A verified signature.

    Attributes:
        key: The key of the signer.
        identity: The signer, if the key was certified for one signature; ``None`` for a key that
            the caller passed.
        times: The times at which the signature existed, as logs and timestamps prove. Earliest
            first.
        entries: The verified entries of transparency logs.
        timestamps: The times of the verified timestamps, in the order of the material.
    """

    key: PublicKey
    identity: CertificateIdentity | None = None
    times: tuple[datetime, ...] = ()
    entries: tuple[CheckedEntry, ...] = ()
    timestamps: tuple[datetime, ...] = ()

    @property
    def log_indexes(self) -> tuple[int, ...]:
        """The indexes of the verified entries."""
        return tuple(entry.index for entry in self.entries)

"""A signature together with the content that it signs."""

from __future__ import annotations

import hashlib

from ..errors import SignatureError
from ..oci import digest as digests
from ..records import record
from .bundles import MessageSignature
from .dsse import Envelope
from .keys import HashRule, PublicKey


@record(frozen=True)
class SignedContent:
    """A signature, and what it is over.

    Attributes:
        signature: The signature.
        message: The signed bytes: the payload, or the signed bytes of ``envelope``. ``None`` if
            only ``digest`` is known.
        rule: The hash of the signature: ``"sha256"`` in cosign's tag form, ``"by key"`` in bundles.
        envelope: The envelope that contains the signature; ``None`` if the payload is signed as it
            is.
        digest: The digest of the signed bytes (``"sha256:…"``) if ``message`` is ``None``.
        stamped: The bytes that timestamps are of. Default: the signature. cosign's timestamps of
            attestations in the tag form are of the envelope in JSON.
    """

    signature: bytes
    message: bytes | None
    rule: HashRule = "by key"
    envelope: Envelope | None = None
    digest: str = ""
    stamped: bytes | None = None

    @classmethod
    def of_digest(cls, found: MessageSignature, digest: str) -> SignedContent:
        """Return what the signature in a bundle is over.

        Args:
            found: The signature.
            digest: The digest of the artifact (``"sha256:…"``).

        Raises:
            InvalidArgument: ``digest`` is not a digest.
            SignatureError: The bundle states the digest of another artifact.
        """
        name, _, encoded = digests.validate(digest).partition(":")
        if found.hash_name and (found.hash_name, found.digest.hex()) != (name, encoded):
            stated = f"{found.hash_name}:{found.digest.hex()}"
            raise SignatureError(f"the bundle is about {stated}, not {digest}")
        return cls(found.signature, None, digest=digest)

    def digest_by(self, hash_name: str) -> bytes:
        """Return the digest of the signed bytes by a hash, such as ``"sha256"``.

        Raises:
            SignatureError: Only the digest by another hash is known.
        """
        if self.message is not None:
            return hashlib.new(hash_name, self.message).digest()
        name, _, encoded = self.digest.partition(":")
        if name != hash_name:
            raise SignatureError(f"the {hash_name} of the artifact is not known, only its {name}")
        return bytes.fromhex(encoded)

    def check_signature(self, key: PublicKey) -> None:
        """Verify the signature.

        Raises:
            SignatureError: The signature is not by ``key``.
        """
        if self.message is not None:
            verified = key.verifies(self.signature, self.message, self.rule) or (
                # cosign 2.5 and 3.1 verify bundles by keys on P-384 and P-521 with SHA-256.
                self.rule == "by key" and key.verifies(self.signature, self.message, "sha256")
            )
        elif key.algorithm == "ed25519":
            raise SignatureError("an Ed25519 key signs artifacts, not their digests")
        else:
            name = key.hash_name(self.rule)
            verified = key.verifies_digest(self.signature, self.digest_by(name), name)
        if not verified:
            raise SignatureError(f"the signature is not by the key {key.fingerprint}")

"""DSSE envelopes: a payload, its type and signatures of both.

Source: https://github.com/secure-systems-lab/dsse (protocol.md, envelope.md).
"""

from __future__ import annotations

import json

from ..errors import InvalidArgument
from ..oci.document import Document
from ..records import record
from .encoding import from_base64, to_base64

IN_TOTO = "application/vnd.in-toto+json"
#: The maximum number of signatures of one envelope. cosign and Sigstore write one signature.
MAX_SIGNATURES = 32
#: The maximum size of an envelope in bytes. Base64 makes its payload a third longer.
MAX_ENVELOPE = 24 << 20
_FIELDS = ("payload", "payloadType", "signatures")
_SIGNATURE_FIELDS = ("sig", "keyid", "cert")


@record(frozen=True)
class Envelope:
    """A DSSE envelope.

    Attributes:
        payload: The bytes that the envelope carries.
        payload_type: The media type of the payload.
        signatures: The signatures of ``signed_bytes``.
    """

    payload: bytes
    payload_type: str
    signatures: tuple[bytes, ...]

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that are signed: the pre-authentication encoding of type and payload."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)

    def to_bytes(self) -> bytes:
        """Return the envelope as JSON."""
        return json.dumps(self.to_json(), separators=(",", ":")).encode()

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return {
            "payload": to_base64(self.payload),
            "payloadType": self.payload_type,
            "signatures": [{"sig": to_base64(each)} for each in self.signatures],
        }

    @classmethod
    def parse(cls, body: bytes, what: str = "the DSSE envelope") -> Envelope:
        """Parse an envelope in JSON.

        Raises:
            InvalidArgument: ``body`` is not an envelope.
        """
        return cls.read(Document.parse(body, what, limit=MAX_ENVELOPE))

    @classmethod
    def read(cls, document: Document) -> Envelope:
        """Return the envelope that a JSON object describes.

        Raises:
            InvalidArgument: The object is not an envelope, or has no or too many signatures.
        """
        document.check_case(_FIELDS)
        signatures = document.each("signatures", _read_signature)
        if not 0 < len(signatures) <= MAX_SIGNATURES:
            raise InvalidArgument(
                f"{document.what} has {len(signatures)} signatures; 1 to {MAX_SIGNATURES} are "
                "allowed"
            )
        return cls(
            from_base64(document.text("payload", None), f"{document.what}: payload"),
            document.text("payloadType", None),
            signatures,
        )


def _read_signature(document: Document) -> bytes:
    document.check_case(_SIGNATURE_FIELDS)
    return from_base64(document.text("sig", None), f"{document.what}: sig")

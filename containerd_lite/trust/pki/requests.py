"""Requests to authorities: for a certificate of a new key, and for a timestamp."""

from __future__ import annotations

import json

from ...errors import InvalidArgument
from ...oci.document import Document
from ..encoding import from_pem, to_base64
from ..extras import needing
from ..keys import PublicKey
from ..proto_json import required
from ..signers import Signer

with needing("cryptography>=45", "a certificate for one signature"):
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

with needing("rfc3161-client>=1.0.6", "a timestamp"):
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

_MAX_ANSWER = 1 << 20


class CertificateRequest:
    """A new key on P-256, and the request for its certificate to Fulcio.

    Args:
        token: The identity token (a JWT) that says who signs.

    Attributes:
        body: The body of the request.
    """

    path = "/api/v2/signingCert"

    def __init__(self, token: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        pem = request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        self.body = json.dumps(
            {
                "credentials": {"oidcIdentityToken": token},
                "certificateSigningRequest": to_base64(pem),
            }
        ).encode()
        self._key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return f"<CertificateRequest {self.path}>"

    def signer(self, answer: bytes) -> Signer:
        """Return the signer, from Fulcio's answer.

        Raises:
            InvalidArgument: The answer has no certificate of the key.
        """
        document = Document.parse(answer, "Fulcio's answer", limit=_MAX_ANSWER)
        chain = required(required(document, "signedCertificateEmbeddedSct"), "chain")
        certificates = tuple(
            block
            for text in chain.texts("certificates")
            for block in from_pem(text.encode(), "CERTIFICATE", chain.what)
        )
        signer = Signer.from_pem(self._key)
        if not certificates or _key_of(certificates[0]) != signer.public:
            raise InvalidArgument("Fulcio's certificate is not of the key")
        return signer.with_certificates(certificates)


def _key_of(certificate: bytes) -> PublicKey:
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidArgument("Fulcio's certificate cannot be read") from None
    return PublicKey(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def timestamp_request(stamped: bytes) -> bytes:
    """Return a request for a timestamp of bytes, in DER (RFC 3161)."""
    builder = TimestampRequestBuilder().data(stamped).hash_algorithm(HashAlgorithm.SHA256)
    return bytes(builder.build().as_bytes())

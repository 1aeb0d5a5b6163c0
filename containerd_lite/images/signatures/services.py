"""Services that prove when and by whom signatures were made: Rekor, timestamps and Fulcio."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from ...errors import InvalidArgument
from ...records import record
from ...registry.hosts import TlsFiles
from ...registry.web_service import WebService
from ...trust import (
    CertificateRequest,
    Proofs,
    SignatureKey,
    SignedPayload,
    SignedStatement,
    Signer,
    check_logged,
    log_request,
    read_log_answer,
    timestamp_request,
)

_JSON = "application/json"
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"


@record(frozen=True)
class SigningServices:
    """The services that take part in a signature.

    Attributes:
        rekor: The URL of a transparency log, which gets an entry for each signature. Default: none.
        rekor_version: 1 or 2. Entries of Rekor 2 fit only into bundles (``form="referrer"``), so
            signatures under cosign's tags get no entry there.
        timestamps: The URL of a timestamp authority (RFC 3161). Default: none.
        tls: TLS files for the services.
        proxy: As for ``Registry``.
        proxy_ca: As for ``Registry``.
        timeout: Seconds that each request may take.
    """

    rekor: str = ""
    rekor_version: int = 2
    timestamps: str = ""
    tls: TlsFiles | None = None
    proxy: str | None = None
    proxy_ca: tuple[str | Path, ...] = ()
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if self.rekor_version not in (1, 2):
            raise InvalidArgument(f"rekor_version={self.rekor_version!r} is not 1 or 2")

    def prove(self, signed: SignedPayload | SignedStatement, *, is_tag: bool) -> Proofs:
        """Have the services prove a signature.

        Args:
            signed: The signature.
            is_tag: Whether the signature is for cosign's tag form.

        Raises:
            InvalidArgument: An answer is malformed, or the signer has a certificate, but no service
                proves the time of the signature.
            SignatureError: The log's entry is about another signature.
            RegistryError: A service refuses the request.
            RegistryUnavailable: A service cannot be reached.
        """
        entries: tuple[Mapping[str, object], ...] = ()
        if self.rekor and not (is_tag and self.rekor_version == 2):
            entries = (self._log(signed),)
        stamped = signed.content.signature
        if is_tag and isinstance(signed, SignedStatement):
            stamped = signed.envelope.to_bytes()
        stamps = (self._stamp(stamped),) if self.timestamps else ()
        if signed.signer.certificates and not stamps and not (entries and self.rekor_version == 1):
            raise InvalidArgument(
                "no service proves the time of the signature, which its certificate needs",
                remedy="Name a timestamp authority, or Rekor 1",
            )
        return Proofs(entries, stamps)

    def _log(self, signed: SignedPayload | SignedStatement) -> Mapping[str, object]:
        verifier = _verifier(signed.signer)
        path, body = log_request(signed.content, verifier, self.rekor_version)
        answer = self._post(self.rekor, path, body, (_JSON, _JSON), "the log entry")
        entry, parsed = read_log_answer(answer, self.rekor_version)
        check_logged(parsed, signed.content, verifier)
        return entry

    def _stamp(self, stamped: bytes) -> bytes:
        query = timestamp_request(stamped)
        return self._post(self.timestamps, "", query, (_QUERY, _REPLY), "the timestamp")

    def _post(self, url: str, path: str, body: bytes, types: tuple[str, str], what: str) -> bytes:
        service = WebService(
            url, tls=self.tls, proxy=self.proxy, proxy_ca=self.proxy_ca, timeout=self.timeout
        )
        with closing(service):
            return service.post(path, body, content_type=types[0], accept=types[1], what=what)

    def certify(self, fulcio: str, token: str) -> Signer:
        """Make a key, and have Fulcio certify it for the subject of an identity token.

        The certificate is valid for a few minutes.

        Args:
            fulcio: The URL of Fulcio.
            token: The identity token (a JWT) of an OpenID provider that Fulcio accepts.

        Raises:
            InvalidArgument: The answer has no certificate of the key.
            RegistryUnauthorized: Fulcio refuses the token.
            RegistryUnavailable: Fulcio cannot be reached.
        """
        request = CertificateRequest(token)
        types = (_JSON, _JSON)
        return request.signer(
            self._post(fulcio, request.path, request.body, types, "the certificate")
        )


def _verifier(signer: Signer) -> SignatureKey:
    certificates = signer.certificates
    return SignatureKey(signer.public, certificates[0] if certificates else b"")

"""Checks a signer's certificate: its path, its log, its profile, and whom it identifies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ...errors import InvalidArgument, SignatureError
from ...records import record
from ..certificates import CLAIMS, CertificateIdentity, SubjectType
from ..extras import needing
from ..keys import PublicKey
from .parsing import load_certificate, malformed
from .paths import check_path
from .sct import check_sct

with needing("cryptography>=45", "checking a certificate"):
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from ..trust_root import TrustRoot

_FULCIO = "1.3.6.1.4.1.57264.1"
_ISSUER, _USER_NAME, _OLD_ISSUER = 8, 7, 1
#: Extensions up to this number contain text as it is, later ones a UTF8String in DER.
_LAST_PLAIN = 6
_UTF8_STRING = 0x0C


@record(frozen=True)
class CheckedCertificate:
    """A verified certificate.

    Attributes:
        key: The key of the signer.
        identity: The signer.
    """

    key: PublicKey
    identity: CertificateIdentity


def check_certificate(
    certificates: Sequence[bytes],
    root: TrustRoot,
    times: Sequence[datetime],
    *,
    chain: Sequence[bytes] = (),
) -> CheckedCertificate:
    """Verify the certificate of a signer.

    Args:
        certificates: The certificates of a bundle in DER, that of the signer first. The others are
            not used, because the trusted root lists all issuers.
        root: The trusted root.
        times: The times at which the signature existed, at least one.
        chain: The certificates of the issuers that came with the signature, the root last. Only
            authorities with ``is_own`` use them, and as in skopeo, they do not use the last one.

    Raises:
        InvalidArgument: A certificate is malformed, or the bundle contains a root certificate.
        SignatureError: The certificate is not valid at one of the times, is not in a certificate
            log, is not for signing, or does not identify a signer.
    """
    leaf, *others = (load_certificate(each) for each in certificates)
    with malformed("the certificate"):
        if any(each.issuer == each.subject for each in others):
            raise InvalidArgument("the bundle contains a root certificate")
        intermediates = [load_certificate(each) for each in chain[:-1]]
        issuer, authority = check_path(leaf, root.authorities, times, intermediates=intermediates)
        if authority.is_own:
            identity = _read_names(leaf)
        else:
            check_sct(leaf, issuer, root.ct_logs)
            identity = _read_identity(leaf)
        _check_usage(leaf)
        key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return CheckedCertificate(PublicKey(key), identity)


def _check_usage(leaf: x509.Certificate) -> None:
    """Verify that the key signs. That it signs code was verified with the path."""
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise SignatureError("the certificate does not state the usage of its key") from None
    if not usage.digital_signature:
        raise SignatureError("the certificate is not for signatures")


def _read_identity(leaf: x509.Certificate) -> CertificateIdentity:
    texts = _read_texts(leaf)
    issuer = _read_issuer(texts)
    if not issuer:
        raise SignatureError("the certificate does not state who identified the signer")
    claims: dict[str, str] = {
        CLAIMS[number]: text for number, text in texts.items() if number in CLAIMS
    }
    return CertificateIdentity(*_read_subject(leaf), issuer, claims)


def _read_names(leaf: x509.Certificate) -> CertificateIdentity:
    """Return the identity in a certificate that is not by a Sigstore instance."""
    names = _alternative_names(leaf)
    emails = tuple(each.value for each in names if isinstance(each, x509.RFC822Name))
    hosts = tuple(each.value for each in names if isinstance(each, x509.DNSName))
    hosts += tuple(f"[{each.value}]" for each in names if isinstance(each, x509.IPAddress))
    if not emails and not hosts:
        raise SignatureError("the certificate has neither an e-mail address nor a host")
    subject = (emails or hosts)[0]
    kind: SubjectType = "email" if emails else "host"
    texts = _read_texts(leaf)
    if len({texts[number] for number in (_ISSUER, _OLD_ISSUER) if number in texts}) > 1:
        raise SignatureError("the certificate states two issuers of the signer's identity")
    return CertificateIdentity(subject, kind, _read_issuer(texts), emails=emails, hosts=hosts)


def _read_texts(leaf: x509.Certificate) -> dict[int, str]:
    """Return Fulcio's extensions by the last numbers of their object identifiers."""
    texts = {}
    for extension in leaf.extensions:
        prefix, _, number = extension.oid.dotted_string.rpartition(".")
        if prefix == _FULCIO and isinstance(extension.value, x509.UnrecognizedExtension):
            texts[int(number)] = _read_text(int(number), extension.value.value)
    return texts


def _read_issuer(texts: Mapping[int, str]) -> str:
    """Return who identified the signer; ``""`` if the certificate does not state it."""
    return texts.get(_ISSUER) or texts.get(_OLD_ISSUER) or ""


def _read_text(number: int, value: bytes) -> str:
    return (value if number <= _LAST_PLAIN else _utf8_string(value)).decode("utf-8")


def _utf8_string(der: bytes) -> bytes:
    """Return the content of a UTF8String in DER."""
    is_long = len(der) > 1 and der[1] & 0x80
    content = der[2 + (der[1] & 0x7F if is_long else 0) :]
    size = len(content)
    if size < 0x80:
        header = bytes([_UTF8_STRING, size])
    elif size < 0x100:
        header = bytes([_UTF8_STRING, 0x81, size])
    else:
        header = bytes([_UTF8_STRING, 0x82]) + size.to_bytes(2, "big")
    if der != header + content:
        raise InvalidArgument("an extension of the certificate is not a UTF8String")
    return content


def _read_subject(leaf: x509.Certificate) -> tuple[str, SubjectType]:
    """Return the only alternative name of the subject."""
    names = _alternative_names(leaf)
    if len(names) != 1:
        raise SignatureError(f"the certificate identifies {len(names)} signers instead of one")
    name = names[0]
    if isinstance(name, x509.RFC822Name):
        return _checked(name.value), "email"
    if isinstance(name, x509.UniformResourceIdentifier):
        return _checked(name.value), "uri"
    if isinstance(name, x509.OtherName) and name.type_id.dotted_string == f"{_FULCIO}.{_USER_NAME}":
        return _checked(_utf8_string(name.value).decode("utf-8")), "username"
    raise SignatureError(
        f"the certificate identifies its signer by an unknown kind of name ({type(name).__name__})"
    )


def _alternative_names(leaf: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _checked(subject: str) -> str:
    if not subject:
        raise SignatureError("the certificate identifies a signer without a name")
    return subject

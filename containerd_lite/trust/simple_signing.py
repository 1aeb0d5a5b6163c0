"""The payload of cosign's signatures in the tag form: "simple signing".

Source: https://github.com/containers/image/blob/main/docs/containers-signature.5.md, and cosign's
specs/SIGNATURE_SPEC.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InvalidArgument
from ..oci import digest as digests
from ..oci.document import Document
from ..printable import quoted
from ..records import record

PAYLOAD_TYPE = "cosign container image signature"
#: The maximum size of a payload in bytes.
MAX_PAYLOAD = 1 << 20
#: skopeo's timestamps are 64-bit numbers.
_MAX_TIME = 1 << 63
_FIELDS = ("critical", "optional")
_CRITICAL_FIELDS = ("identity", "image", "type")


@record(frozen=True)
class SimpleSigning:
    """The payload of a signature in the tag form.

    Attributes:
        digest: The digest of the signed manifest or index.
        reference: The name of the image that the signer stated. cosign 2 states the repository,
            skopeo also the tag.
        annotations: The annotations that the signer added. Values that are not strings are left
            out.
    """

    digest: str
    reference: str
    annotations: Mapping[str, str]

    @classmethod
    def parse(cls, body: bytes, *, as_skopeo: bool = False) -> SimpleSigning:
        """Parse a payload.

        As skopeo, this method refuses unknown fields, because the signer can want every reader to
        understand them. Only ``optional`` can have any fields.

        Args:
            body: The payload.
            as_skopeo: Whether to refuse two fields of ``optional`` with other types than skopeo
                writes: ``creator`` must be a text, and ``timestamp`` a whole number. cosign writes
                texts for all annotations.

        Raises:
            InvalidArgument: ``body`` is not a payload.
        """
        document = _check_fields(Document.parse(body, "the payload", limit=MAX_PAYLOAD), _FIELDS)
        critical = _inner(document, "critical", _CRITICAL_FIELDS)
        if critical.text("type", None) != PAYLOAD_TYPE:
            raise InvalidArgument(
                f"the payload has the type {quoted(critical.text('type'))} instead of "
                f"{quoted(PAYLOAD_TYPE)}"
            )
        image = _inner(critical, "image", ("docker-manifest-digest",))
        identity = _inner(critical, "identity", ("docker-reference",))
        optional = document.document("optional")
        if optional is not None and as_skopeo:
            _check_optional(optional)
        return cls(
            digests.validate(image.text("docker-manifest-digest", None), image.what),
            identity.text("docker-reference"),
            {
                name: value
                for name, value in (optional.fields if optional else {}).items()
                if isinstance(value, str)
            },
        )


def _check_optional(optional: Document) -> None:
    optional.text("creator")
    time = optional.fields.get("timestamp")
    if isinstance(time, float) and time.is_integer():
        time = int(time)
    if time is None or (type(time) is int and -_MAX_TIME <= time < _MAX_TIME):
        return
    raise InvalidArgument(f"{optional.what}: the timestamp is not a whole number")


def _inner(document: Document, name: str, fields: tuple[str, ...]) -> Document:
    """Return the object in a field. Raises InvalidArgument if it does not have ``fields`` alone."""
    found = document.document(name)
    if found is None:
        raise InvalidArgument(f"{document.what} has no {name}")
    return _check_fields(found, fields)


def _check_fields(document: Document, fields: tuple[str, ...]) -> Document:
    unknown = document.fields.keys() - set(fields)
    if unknown:
        raise InvalidArgument(f"{document.what} has the unknown field {quoted(min(unknown))}")
    for name in fields:
        if name not in document.fields:
            raise InvalidArgument(f"{document.what} has no {quoted(name)}")
    return document

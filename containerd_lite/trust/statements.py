"""In-toto statements: what an attestation says about which artifacts.

Source: https://github.com/in-toto/attestation (spec/v1/statement.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InvalidArgument
from ..oci.document import Document
from ..printable import quoted
from ..records import record
from .dsse import IN_TOTO, Envelope

#: The types of a statement. cosign writes attestations of the older type.
STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
#: The predicate type of a cosign signature in a bundle. Only this type counts as a signature.
COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"
#: The maximum number of subjects of a statement, as in sigstore-go.
MAX_SUBJECTS = 1024
#: The maximum size of a statement in bytes. Many SBOMs have several MiB.
MAX_STATEMENT = 16 << 20

_FIELDS = ("_type", "subject", "predicateType", "predicate")


@record(frozen=True)
class Subject:
    """An artifact that a statement is about.

    Attributes:
        digests: The digests of the artifact in hexadecimal digits, by the name of the algorithm.
        name: The name of the artifact, or ``""``.
        annotations: The annotations of the artifact.
    """

    digests: Mapping[str, str]
    name: str = ""
    annotations: Mapping[str, str] | None = None


@record(frozen=True)
class Statement:
    """An in-toto statement.

    Attributes:
        subjects: The artifacts that the statement is about.
        predicate_type: The type of ``predicate``, a URI.
        predicate: What the statement says. Its form depends on the type.
    """

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, object]

    @classmethod
    def of(cls, envelope: Envelope) -> Statement:
        """Parse the statement in an envelope.

        Raises:
            InvalidArgument: The payload of the envelope is not an in-toto statement.
        """
        if envelope.payload_type != IN_TOTO:
            raise InvalidArgument(
                f"the envelope contains {quoted(envelope.payload_type)} instead of {IN_TOTO}"
            )
        document = Document.parse(envelope.payload, "the statement", limit=MAX_STATEMENT)
        document.check_case(_FIELDS)
        kind = document.text("_type", None)
        if kind not in STATEMENT_TYPES:
            raise InvalidArgument(f"the statement has the unknown type {quoted(kind)}")
        subjects = document.each("subject", _read_subject)
        if not 0 < len(subjects) <= MAX_SUBJECTS:
            raise InvalidArgument(
                f"the statement has {len(subjects)} subjects; 1 to {MAX_SUBJECTS} are allowed"
            )
        predicate = document.document("predicate")
        return cls(
            subjects,
            document.text("predicateType", None),
            predicate.fields if predicate else {},
        )

    def subject_of(self, digest: str) -> Subject | None:
        """Return the subject with this digest (``"sha256:…"``), or ``None``."""
        algorithm, _, encoded = digest.partition(":")
        for subject in self.subjects:
            if subject.digests.get(algorithm) == encoded:
                return subject
        return None


def _read_subject(document: Document) -> Subject:
    document.check_case(("name", "digest", "annotations", "uri", "mediaType"))
    return Subject(document.table("digest"), document.text("name"), document.table("annotations"))

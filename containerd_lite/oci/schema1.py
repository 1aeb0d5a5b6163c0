"""Docker's image manifest v2, schema 1: its strict reading, and the image config within it.

What lives here: the payload of the signed form (a JWS as libtrust prints it), the history, the
config made of it.  What may not: fetching, the content of layers.

No signature is verified: any key would do, for there is none that a reader has reason to trust.
The digest alone vouches for a manifest, and it is that of the payload.  The IDs that its images
give themselves are not read: content goes by its digest (CVE-2014-8178).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..records import record
from . import digest as digests
from . import media_types
from .config import History
from .document import Document
from .platform import Platform

#: Docker stacks 127 layers at most; steps without content come on top of that.
MAX_STEPS = 1024

_WHAT = "the schema 1 manifest"
_SIGNATURES = "signatures"
_BLANKS = b" \t\r\n"
_FIELDS = (
    "schemaVersion", "mediaType", "name", "tag", "architecture", "fsLayers", "history",
    _SIGNATURES, "config", "layers", "manifests",
)  # fmt: skip
#: Fields that would make it readable as another kind of manifest (CVE-2021-41190).
_FOREIGN = ("config", "layers", "manifests")
_IMAGE_FIELDS = (
    "created", "author", "architecture", "os", "os.version", "os.features", "variant", "config",
    "container_config", "comment", "throwaway", "Size",
)  # fmt: skip

#: The tar without entries, as Docker has it gzipped.
_EMPTY_BLOB = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
_BASE64URL = lazy_pattern(r"[A-Za-z0-9_-]*")
#: RFC 3339, and as much of a fraction as Go keeps.
_TIME = lazy_pattern(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:(\.\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII
)
#: What Go writes for a time that is not known.
_NO_TIME = "0001-01-01T00:00:00Z"


@record(frozen=True)
class HistoryStep:
    """One step of the build: the digest of its blob, and its history.

    ``history.empty_layer`` is what the manifest says; a step not said to be empty may be.
    """

    blob: str
    history: History


@record(frozen=True)
class Schema1:
    """One image: its steps, oldest first, and the document of the newest, which describes it."""

    steps: tuple[HistoryStep, ...]
    newest: Document

    def config(self, diff_ids: Sequence[str], empty: Mapping[str, bool]) -> dict[str, object]:
        """The image config, its fields in the order in which containerd writes them.

        ``diff_ids`` are the layers', bottom first; ``empty`` tells by blob whether it has no
        content.  Raises InvalidArgument for fields of a wrong type.
        """
        newest = self.newest
        about = {"created": _time(newest.text("created")), "author": newest.text("author")}
        return {
            **_filled(about),
            **Platform.read(newest).to_json(),
            "config": _process(newest.document("config") or Document({}, newest.what)),
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
            "history": [_history_json(step.history, empty[step.blob]) for step in self.steps],
        }


def payload(body: bytes) -> bytes:
    """A manifest of at most 4 MiB without its signatures: what its digest is of.

    Raises InvalidArgument where the signatures do not agree on what they sign, or where anything
    but they themselves is left out of it (JWS payload confusion).
    """
    document = Document.parse(body, _WHAT).known(_FIELDS)
    if not document.has(_SIGNATURES):
        return body
    signed = set(document.each(_SIGNATURES, _signed))
    if len(signed) != 1:
        raise InvalidArgument(f"{_WHAT} does not have signatures of one and the same payload")
    ((length, tail),) = signed
    rest = body[length:].lstrip(_BLANKS)
    if tail.strip(_BLANKS) != b"}" or not rest.startswith(b","):
        raise InvalidArgument(f"{_WHAT} is not what is signed and the signatures after it")
    if Document.parse(b"{" + rest[1:], f"{_WHAT}'s end").fields.keys() != {_SIGNATURES}:
        raise InvalidArgument(f"{_WHAT} has more than the signatures after what is signed")
    return body[:length] + tail


def _signed(signature: Document) -> tuple[int, bytes]:
    """How many bytes of the manifest are signed, and what is signed after them."""
    text = signature.known(("header", "signature", "protected")).text("protected", None)
    protected = Document.parse(_decoded(text, signature.what), f"{signature.what}: 'protected'")
    protected.known(("formatLength", "formatTail"))
    tail = protected.text("formatTail", None)
    return protected.integer("formatLength"), _decoded(tail, protected.what)


def _decoded(text: str | None, what: str) -> bytes:
    """base64url without padding (RFC 7515, appendix C)."""
    text = text or ""
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise InvalidArgument(f"{what} is not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parse(body: bytes) -> Schema1:
    """Reads a payload of at most 4 MiB.

    Raises InvalidArgument where it could be read as another kind of manifest, where layers and
    history do not agree, and for all that is not as Docker writes it.
    """
    document = Document.parse(body, _WHAT).known(_FIELDS)
    own = document.text("mediaType")
    if document.integer("schemaVersion") != 1 or (own and not media_types.is_schema1(own)):
        raise InvalidArgument(f"{_WHAT} says that it is another kind of manifest")
    for name in _FOREIGN:
        if name in document.fields:
            raise InvalidArgument(f"{_WHAT} is ambiguous: it has {name!r} (CVE-2021-41190)")
    blobs = document.each("fsLayers", _blob)
    images = document.each("history", _image)
    if len(blobs) != len(images) or not 0 < len(blobs) <= MAX_STEPS:
        raise InvalidArgument(
            f"{_WHAT} has {len(blobs)} layers and {len(images)} entries of history; there must be "
            f"as many of the one as of the other, and 1 to {MAX_STEPS}"
        )
    steps = tuple(
        HistoryStep(blob, _history(blob, image)) for blob, image in zip(blobs, images, strict=True)
    )
    return Schema1(steps[::-1], images[0])


def _blob(layer: Document) -> str:
    return digests.validate(layer.known(("blobSum",)).text("blobSum", None), layer.what)


def _image(entry: Document) -> Document:
    text = entry.known(("v1Compatibility",)).text("v1Compatibility", None)
    return Document.parse((text or "").encode(), entry.what).known(_IMAGE_FIELDS)


def _history(blob: str, image: Document) -> History:
    container = image.document("container_config")
    command = container.known(("Cmd",)).texts("Cmd") if container else ()
    return History(
        created=_time(image.text("created")) or _NO_TIME,
        created_by=" ".join(command),
        author=image.text("author"),
        comment=image.text("comment"),
        empty_layer=blob == _EMPTY_BLOB or _says_empty(image),
    )


def _says_empty(image: Document) -> bool:
    if image.has("throwaway"):
        return image.flag("throwaway")
    return image.has("Size") and image.integer("Size") == 0  # older than the flag


def _time(text: str) -> str:
    """A time as Go would write it again."""
    found = _TIME.fullmatch(text)
    if text and not found:
        raise InvalidArgument(f"{_WHAT}: 'created' is not a time")
    if found is None:
        return ""
    seconds, fraction, zone = found.groups(default="")
    return f"{seconds}{fraction.rstrip('.0')}{'Z' if zone == '+00:00' else zone}"


def _history_json(history: History, empty: bool) -> dict[str, object]:
    return _filled(
        {
            "created": history.created,
            "created_by": history.created_by,
            "author": history.author,
            "comment": history.comment,
            "empty_layer": empty,
        }
    )


def _process(document: Document) -> dict[str, object]:
    """How the image is run; of what Docker has there, OCI's part."""
    value: dict[str, object] = {
        "User": document.text("User"),
        "ExposedPorts": {name: {} for name in sorted(document.names("ExposedPorts"))},
        "Env": document.texts("Env"),
        "Entrypoint": document.texts("Entrypoint"),
        "Cmd": document.texts("Cmd"),
        "Volumes": {name: {} for name in sorted(document.names("Volumes"))},
        "WorkingDir": document.text("WorkingDir"),
        "Labels": dict(sorted(document.table("Labels").items())),
        "StopSignal": document.text("StopSignal"),
        "ArgsEscaped": document.flag("ArgsEscaped"),
    }
    document.known(value)
    return _filled(value)


def _filled(value: Mapping[str, object]) -> dict[str, object]:
    """Without the fields that are empty."""
    return {name: field for name, field in value.items() if field}

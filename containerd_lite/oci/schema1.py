"""Docker's image manifest v2, schema 1, and the image config that is made from such a manifest.

A signed manifest is a JWS in libtrust's pretty form. This package does not verify the signatures,
because a client has no reason to trust any key. This package verifies the digest of the payload. It
ignores the image IDs in a manifest, because it identifies content by digest (CVE-2014-8178).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..printable import quoted
from ..records import record
from . import digest as digests
from . import media_types
from .config import History
from .document import Document
from .platform import Platform

#: The maximum number of build steps in a manifest. Docker allows 127 layers, but a manifest can
#: also have steps without content.
MAX_STEPS = 1024
#: The maximum number of signatures of a manifest. Registries write one signature.
_MAX_SIGNATURES = 64

_WHAT = "the schema 1 manifest"
_SIGNATURES = "signatures"
_BLANKS = b" \t\r\n"
_FIELDS = (
    "schemaVersion", "mediaType", "name", "tag", "architecture", "fsLayers", "history",
    _SIGNATURES, "config", "layers", "manifests",
)  # fmt: skip
#: The fields that make a schema 1 manifest ambiguous (CVE-2021-41190).
_FORBIDDEN_FIELDS = ("config", "layers", "manifests")
_IMAGE_FIELDS = (
    "created", "author", "architecture", "os", "os.version", "os.features", "variant", "config",
    "container_config", "comment", "throwaway", "Size",
)  # fmt: skip

#: The digest of the empty layer that Docker writes: a gzip-compressed tar without entries.
_EMPTY_BLOB = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
_BASE64URL = lazy_pattern(r"[A-Za-z0-9_-]*")
#: A time in the format of RFC 3339. The group for the fraction matches at most nine digits, because
#: Go drops the remaining digits.
_TIME = lazy_pattern(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:(\.\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII
)
#: The zero time in Go's JSON.
_NO_TIME = "0001-01-01T00:00:00Z"


@record(frozen=True)
class HistoryStep:
    """One step of the build.

    The layer can be empty even if ``history.empty_layer`` is false, because some manifests do not
    mark empty layers.

    Attributes:
        blob: The digest of the step's layer.
        history: The history entry of the step.
    """

    blob: str
    history: History


@record(frozen=True)
class Schema1:
    """A parsed manifest of schema 1.

    Attributes:
        steps: The steps of the build, oldest first.
        newest: The v1 image of the newest step, which describes the whole image.
    """

    steps: tuple[HistoryStep, ...]
    newest: Document

    def config(self, diff_ids: Sequence[str], empty: Mapping[str, bool]) -> dict[str, object]:
        """Return the OCI image config, with its fields in containerd's order.

        Args:
            diff_ids: The digests of the uncompressed layers, bottom first.
            empty: A mapping that says for each layer whether the layer is empty. Its keys are the
                digests of the layers' blobs.

        Raises:
            InvalidArgument: A field has the wrong type.
        """
        newest = self.newest
        origin = {
            "created": _normalise_time(newest.text("created")),
            "author": newest.text("author"),
        }
        return {
            **_without_empty(origin),
            **Platform.read(newest).to_json(),
            "config": _process_json(newest.document("config") or Document({}, newest.what)),
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
            "history": [_history_json(step.history, empty[step.blob]) for step in self.steps],
        }


def payload(body: bytes) -> bytes:
    """Return the payload of a manifest: the manifest without its signatures.

    The digest of a manifest is the digest of its payload.

    Args:
        body: The manifest, of at most 4 MiB.

    Raises:
        InvalidArgument: The manifest is not valid JSON, its signatures cover different payloads,
            or it has unsigned fields besides the signatures (JWS payload confusion).
    """
    document = Document.parse(body, _WHAT).check_case(_FIELDS)
    if not document.has(_SIGNATURES):
        return body
    _check_count(document, _SIGNATURES, _MAX_SIGNATURES)
    payloads = set(document.each(_SIGNATURES, _read_signed_part))
    if not payloads:
        raise InvalidArgument(f"{_WHAT} has an empty list of signatures")
    if len(payloads) > 1:
        raise InvalidArgument(f"{_WHAT} has signatures that cover different payloads")
    ((length, tail),) = payloads
    rest = body[length:].lstrip(_BLANKS)
    if tail.strip(_BLANKS) != b"}" or not rest.startswith(b","):
        raise InvalidArgument(
            f"{_WHAT} must end with its signatures, which directly follow the signed part"
        )
    if Document.parse(b"{" + rest[1:], f"the end of {_WHAT}").fields.keys() != {_SIGNATURES}:
        raise InvalidArgument(f"{_WHAT} has unsigned fields besides the signatures")
    return body[:length] + tail


def _read_signed_part(signature: Document) -> tuple[int, bytes]:
    """Return ``formatLength`` and ``formatTail`` of a signature.

    The payload consists of the first ``formatLength`` bytes of the manifest, followed by
    ``formatTail``.
    """
    text = signature.check_case(("header", "signature", "protected")).text("protected", None)
    protected = Document.parse(
        _decode_base64url(text, signature.what), f"{signature.what}: 'protected'"
    )
    protected.check_case(("formatLength", "formatTail"))
    tail = protected.text("formatTail", None)
    return protected.integer("formatLength"), _decode_base64url(tail, protected.what)


def _decode_base64url(text: str | None, what: str) -> bytes:
    """Decode base64url without padding (RFC 7515, appendix C)."""
    text = text or ""
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise InvalidArgument(f"{what} is not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parse(body: bytes) -> Schema1:
    """Parse the payload of a manifest.

    Args:
        body: The payload, of at most 4 MiB.

    Raises:
        InvalidArgument: The payload is ambiguous, does not follow Docker's format, or does not
            have one history entry for each layer.
    """
    document = Document.parse(body, _WHAT).check_case(_FIELDS)
    own_type = document.text("mediaType")
    if document.integer("schemaVersion") != 1:
        raise InvalidArgument(f"{_WHAT} does not have the schemaVersion 1")
    if own_type and not media_types.is_schema1(own_type):
        raise InvalidArgument(
            f"{_WHAT} has the media type {quoted(own_type)}, which belongs to another format"
        )
    for name in _FORBIDDEN_FIELDS:
        if name in document.fields:
            raise InvalidArgument(
                f"{_WHAT} is ambiguous: it must not have a field {name!r} (CVE-2021-41190)"
            )
    for name in ("fsLayers", "history"):
        _check_count(document, name, MAX_STEPS)
    blobs = document.each("fsLayers", _read_blob_digest)
    images = document.each("history", _read_image)
    if len(blobs) != len(images) or not blobs:
        raise InvalidArgument(
            f"{_WHAT} has {len(blobs)} layers and {len(images)} history entries; the two "
            "numbers must be equal, and not 0"
        )
    steps = tuple(
        HistoryStep(blob, _read_history(blob, image))
        for blob, image in zip(blobs, images, strict=True)
    )
    return Schema1(steps[::-1], images[0])


def _check_count(document: Document, name: str, most: int) -> None:
    """Refuse a list with too many items before the items are read: each can hold a document."""
    found = document.fields.get(name)
    if isinstance(found, list) and len(found) > most:
        raise InvalidArgument(f"{_WHAT} has {len(found)} {name}, more than the {most} allowed")


def _read_blob_digest(layer: Document) -> str:
    return digests.validate(layer.check_case(("blobSum",)).text("blobSum", None), layer.what)


def _read_image(entry: Document) -> Document:
    """Return the v1 image in a history entry."""
    text = entry.check_case(("v1Compatibility",)).text("v1Compatibility", None)
    return Document.parse((text or "").encode(), entry.what).check_case(_IMAGE_FIELDS)


def _read_history(blob: str, image: Document) -> History:
    container = image.document("container_config")
    command = container.check_case(("Cmd",)).texts("Cmd") if container else ()
    return History(
        created=_normalise_time(image.text("created")) or _NO_TIME,
        created_by=" ".join(command),
        author=image.text("author"),
        comment=image.text("comment"),
        empty_layer=blob == _EMPTY_BLOB or _is_marked_empty(image),
    )


def _is_marked_empty(image: Document) -> bool:
    if image.has("throwaway"):
        return image.flag("throwaway")
    # Older versions of Docker do not write "throwaway".
    return image.has("Size") and image.integer("Size") == 0


def _normalise_time(text: str) -> str:
    """Return a time as Go writes it: no zeros at the end of the fraction, and ``Z`` for UTC."""
    match = _TIME.fullmatch(text)
    if text and not match:
        raise InvalidArgument(f"{_WHAT}: 'created' is not a time")
    if match is None:
        return ""
    seconds, fraction, zone = match.groups(default="")
    return f"{seconds}{fraction.rstrip('.0')}{'Z' if zone == '+00:00' else zone}"


def _history_json(history: History, empty: bool) -> dict[str, object]:
    return _without_empty(
        {
            "created": history.created,
            "created_by": history.created_by,
            "author": history.author,
            "comment": history.comment,
            "empty_layer": empty,
        }
    )


def _process_json(document: Document) -> dict[str, object]:
    """Return the ``config`` object of the image config, without fields that only Docker has."""
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
    document.check_case(value)
    return _without_empty(value)


def _without_empty(value: Mapping[str, object]) -> dict[str, object]:
    """Return the object without its empty fields."""
    return {name: field for name, field in value.items() if field}

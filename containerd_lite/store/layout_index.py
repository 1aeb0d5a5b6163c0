"""The ``index.json`` of an OCI image layout (image-spec, image-layout.md).

When this module changes the entries, it leaves all other fields of the file unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from ..errors import InvalidArgument, NotFound, ResourceExhausted
from ..oci import media_types
from ..oci.document import MAX_DOCUMENT, Document
from ..printable import quoted
from .folder import UntrustedFolder

INDEX = "index.json"
#: The maximum size of an index in bytes, for reading and for writing.
MAX_INDEX = MAX_DOCUMENT
#: Fields that only manifests have. Another program could read an index with one of these fields as
#: a manifest (CVE-2021-41190).
_NOT_IN_INDEX = ("config", "layers", "fsLayers")
_FIELDS = (
    "schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations",
    *_NOT_IN_INDEX,
)  # fmt: skip


def parse_index(body: bytes, what: str = INDEX) -> Document:
    """Parse an index, but not its entries. ``entries`` reads the entries.

    Args:
        body: The content of the file, of at most 4 MiB.
        what: The name of the document in error messages.

    Raises:
        InvalidArgument: The document is not an index, or another program could read the document
            as a manifest.
    """
    index = Document.parse(body, what, limit=MAX_INDEX).check_case(_FIELDS)
    kind = index.text("mediaType", media_types.OCI_INDEX)
    if index.integer("schemaVersion") != 2:
        raise InvalidArgument(f"{what} does not have the schemaVersion 2 of an index")
    if not media_types.is_index(kind):
        raise InvalidArgument(
            f"{what} has the media type {quoted(kind)}, which does not belong to an index"
        )
    for name in _NOT_IN_INDEX:
        if name in index.fields:
            raise InvalidArgument(
                f"{what} is ambiguous: an index must not have a field {name!r} (CVE-2021-41190)"
            )
    return index


def entries(index: Document) -> tuple[Document, ...]:
    """Return the entries of an index: JSON objects that are not yet read as descriptors.

    Raises:
        InvalidArgument: ``manifests`` is not a list of objects.
    """
    return index.each("manifests", lambda entry: entry)


def load(folder: UntrustedFolder) -> Document:
    """Return the index of a layout. If the file does not exist, return an index without entries.

    Raises:
        InvalidArgument: The file is not an index.
        SizeMismatch: The file has more than 4 MiB.
    """
    what = str(folder.path / INDEX)
    try:
        body = folder.read(INDEX, MAX_INDEX)
    except NotFound:
        return Document({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX}, what)
    return parse_index(body, what)


def save(folder: UntrustedFolder, index: Document, changed: Iterable[Document]) -> None:
    """Write an index with new entries to its file. If the write fails, the file stays unchanged.

    Args:
        folder: The folder of the layout.
        index: The old index. All its fields except the entries are written unchanged.
        changed: The new entries.

    Raises:
        ResourceExhausted: The new index has more than 4 MiB, so that ``load`` would refuse it.
        InvalidArgument: The index cannot be written as JSON.
    """
    path = folder.path / INDEX
    fields = {**index.fields, "manifests": [entry.fields for entry in changed]}
    if fields == index.fields:
        return
    try:
        # The JSON has no spaces, to keep the file small: every change of a name writes the whole
        # file.
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} cannot be written: {error}") from error
    # UTF-8 cannot encode a lone surrogate. The surrogate came from a JSON escape, and becomes an
    # escape again.
    body = text.encode("utf-8", "backslashreplace")
    if len(body) > MAX_INDEX:
        raise ResourceExhausted(
            f"{path} would have {len(body)} bytes, more than the {MAX_INDEX} allowed",
            remedy="Delete names that are not needed, or use another layout",
        )
    folder.replace(INDEX, body)

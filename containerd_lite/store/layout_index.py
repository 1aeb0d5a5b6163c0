"""The ``index.json`` of an OCI image layout (image-spec, image-layout.md).

A change of the entries leaves all other fields of the file as another tool wrote them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ..errors import InvalidArgument, ResourceExhausted
from ..oci import media_types
from ..oci.document import Document
from .folder import read, replace

INDEX = "index.json"
#: Most bytes of an index, as in containerd's importer.
MAX_INDEX = 20 << 20
#: Fields of manifests, which could make another reader take the index for one (CVE-2021-41190).
_NOT_IN_INDEX = ("config", "layers", "fsLayers")
_FIELDS = (
    "schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations",
    *_NOT_IN_INDEX,
)  # fmt: skip


def parse_index(body: bytes, what: str = INDEX) -> Document:
    """Parse an index of at most 20 MiB, without its entries; see ``entries`` for them.

    Args:
        body: The content of the file.
        what: The name of the document in errors.

    Raises:
        InvalidArgument: The document is not an index, or could be read as another document.
    """
    index = Document.parse(body, what, limit=MAX_INDEX).check_case(_FIELDS)
    kind = index.text("mediaType", media_types.OCI_INDEX)
    is_other = any(name in index.fields for name in _NOT_IN_INDEX)
    if index.integer("schemaVersion") != 2 or not media_types.is_index(kind) or is_other:
        raise InvalidArgument(f"{what} is not an index, or could be read as another document")
    return index


def entries(index: Document) -> tuple[Document, ...]:
    """Return the entries of an index as they are written: descriptors as JSON objects.

    Raises:
        InvalidArgument: The entries are not a list of objects.
    """
    return index.each("manifests", lambda entry: entry)


def load(path: Path) -> Document:
    """Return the index of a layout, without entries if the file does not exist yet.

    Raises:
        InvalidArgument: The file is not an index.
        SizeMismatch: The file has more than 20 MiB.
    """
    try:
        return parse_index(read(path, MAX_INDEX), str(path))
    except FileNotFoundError:
        return Document({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX}, str(path))


def save(path: Path, index: Document, changed: Iterable[Document]) -> None:
    """Write an index with changed entries to its file. If this fails, the file stays as it was.

    Args:
        path: The file.
        index: The index before the change, whose other fields are written, too.
        changed: The entries that the index has from now on.

    Raises:
        ResourceExhausted: The index would have more than 20 MiB, so it could not be read again.
        InvalidArgument: The index cannot be written as JSON.
    """
    fields = {**index.fields, "manifests": [entry.fields for entry in changed]}
    if fields == index.fields:
        return
    try:
        # Without spaces, because every change of a name writes the whole file. A lone surrogate,
        # which UTF-8 cannot encode, becomes an escape again, as it was in the file.
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} cannot be written: {error}") from error
    body = text.encode("utf-8", "backslashreplace")
    if len(body) > MAX_INDEX:
        raise ResourceExhausted(
            f"{path} would have {len(body)} bytes, more than the {MAX_INDEX} allowed",
            remedy="Delete names that are not needed, or use another layout",
        )
    replace(path, body)

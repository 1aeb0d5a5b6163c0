"""The ``index.json`` of an OCI image layout (image-spec, image-layout.md).

What lives here: its entries, and changing some of them while all else stays as somebody wrote it.
What may not: blobs; which entry is whose.
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
#: What containerd's importer allows, in bytes.
MAX_INDEX = 20 << 20
#: Fields by which another reader could take the index for something else (CVE-2021-41190).
_NOT_IN_INDEX = ("config", "layers", "fsLayers")
_FIELDS = (
    "schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations",
    *_NOT_IN_INDEX,
)  # fmt: skip


def parse_index(body: bytes, what: str = INDEX) -> Document:
    """Reads an index of at most 20 MiB, but not its entries, which are ``entries``.

    Raises InvalidArgument if it is none, or could be read as another kind of document.
    """
    index = Document.parse(body, what, limit=MAX_INDEX).known(_FIELDS)
    kind = index.text("mediaType", media_types.OCI_INDEX)
    is_other = any(name in index.fields for name in _NOT_IN_INDEX)
    if index.integer("schemaVersion") != 2 or not media_types.is_index(kind) or is_other:
        raise InvalidArgument(f"{what} is no index, or not that alone")
    return index


def entries(index: Document) -> tuple[Document, ...]:
    """The descriptors that it lists, as they are written.  Raises InvalidArgument."""
    return index.each("manifests", lambda entry: entry)


def load(path: Path) -> Document:
    """The index of a layout, without entries where there is no file yet.

    Raises ``InvalidArgument``, ``SizeMismatch``.
    """
    try:
        return parse_index(read(path, MAX_INDEX), str(path))
    except FileNotFoundError:
        return Document({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX}, str(path))


def save(path: Path, index: Document, changed: Iterable[Document]) -> None:
    """Let it have these entries, and all else that it had.

    Raises ``ResourceExhausted`` for more than what can be read again, with the file as it was.
    """
    fields = {**index.fields, "manifests": [entry.fields for entry in changed]}
    if fields == index.fields:
        return
    try:
        # Short, for it is written anew with every name.  Half a surrogate pair, which UTF-8
        # cannot hold, becomes what it was before: its escape.
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} cannot be written again: {error}") from error
    body = text.encode("utf-8", "backslashreplace")
    if len(body) > MAX_INDEX:
        raise ResourceExhausted(
            f"{path} would have {len(body)} bytes; {MAX_INDEX} can be read again",
            remedy="Delete names that nobody needs, or take another layout",
        )
    replace(path, body)

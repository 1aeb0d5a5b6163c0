"""An OCI image layout in a folder, as a content store (image-spec, image-layout.md).

Blobs are files in ``blobs/``, and incomplete writes are files in ``.ingest/``. A layout stores no
labels, so this store ignores the labels that a caller passes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..arguments import check_instance
from ..arguments import path as path_of
from ..errors import AlreadyExists, ContainerdError, InvalidArgument, NotFound, SizeMismatch
from ..oci import digest as digests
from ..oci import media_types
from ..oci.content import ContentInfo, IngestStatus
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT, Document
from ..printable import quoted
from ..undo import Undo
from . import layout_index, verified_files
from .blob_writes import put_blob
from .folder import UntrustedFolder, explained, file_time, scratch_of
from .layout_writer import LayoutWriter, blob_name
from .protocol import infos_one_by_one, open_in_time, read_whole

if TYPE_CHECKING:
    from ..operation import CancelToken

_MARKER = "oci-layout"
_VERSION = "1.0.0"
_INGEST = ".ingest"
#: The number of bytes to hash at a time.
_CHUNK = 1 << 20
_BLOBS = "blobs/sha256"
#: The prefix of the file names of incomplete writes. Without a prefix, the ref ``..`` would name
#: the parent folder.
_REF_PREFIX = "ref-"
#: The maximum length of a file name in bytes (NAME_MAX).
_MAX_NAME = 255


class LayoutStore:
    """A folder with ``oci-layout``, ``index.json`` and ``blobs/``; implements ``ContentStore``.

    All methods raise ``PermissionDenied`` if the user is not allowed to access a file, and
    ``InvalidArgument`` if a file is a link or is not a regular file. Methods that write raise
    ``ResourceExhausted`` if the disk is full.

    Args:
        path: The folder. If it does not exist or is empty, the first write creates the layout.

    Raises:
        InvalidArgument: The path is not a folder, or the folder has content but is not a layout.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path_of("path", path))
        self._folder = UntrustedFolder(self.path)
        with explained(self.path):
            if self.path.exists():
                self._check_folder()

    def _check_folder(self) -> None:
        is_foreign = not self._folder.has(_MARKER) and self._has_content()
        # Check for the marker again: another writer may have created the layout after the first
        # check. A writer creates the marker before any other file.
        if self._folder.has(_MARKER):
            self._check_version()
        elif is_foreign:
            raise InvalidArgument(
                f"{self.path} has content, but is not an OCI image layout",
                remedy="Use a folder that is empty or does not exist",
            )

    def _has_content(self) -> bool:
        # The temporary file that becomes the marker does not count.
        return any(not name.startswith(scratch_of(_MARKER)) for name in self._folder.names())

    def _check_version(self) -> None:
        marker = self.path / _MARKER
        body = self._folder.read(_MARKER, 4096)
        version = Document.parse(body, str(marker)).text("imageLayoutVersion")
        if version != _VERSION:
            raise InvalidArgument(
                f"{marker} has version {quoted(version)}; only {_VERSION} is supported"
            )

    def _prepare(self) -> None:
        """Make all that a layout has, unless it exists. The index is made last."""
        if self._folder.has(layout_index.INDEX):
            self._folder.make(_BLOBS)
            return
        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        # Create the marker first: a folder that has content but no marker is not a layout.
        if not self._folder.has(_MARKER):
            self._folder.replace(_MARKER, json.dumps({"imageLayoutVersion": _VERSION}).encode())
        self._folder.make(_BLOBS)
        # Other tools require index.json even in a layout without images.
        with self._folder.locked():
            if not self._folder.has(layout_index.INDEX):
                index = layout_index.load(self._folder)
                layout_index.save(self._folder, index, layout_index.entries(index))

    # ---- ContentStore ----------------------------------------------------------------------

    @property
    def identity(self) -> Hashable:
        """The resolved path of the folder."""
        return self.path.resolve()

    def info(self, digest: str) -> ContentInfo:
        """Return the size and times of a blob.

        Raises:
            NotFound: The layout has no such blob.
        """
        with self._naming_blob(digest):
            found = self._folder.stat(blob_name(digest))
        when = file_time(found.st_mtime)
        return ContentInfo(digest, found.st_size, when, when)

    def infos(self, digests: Iterable[str]) -> dict[str, ContentInfo]:
        """Return the infos of existing blobs by digest."""
        return infos_one_by_one(self, digests)

    def walk(self, *filters: str) -> Iterator[ContentInfo]:
        """Yield all blobs.

        Raises:
            InvalidArgument: The caller gave ``filters``, which a layout does not support.
        """
        if filters:
            raise InvalidArgument("a layout has no labels, so it does not support filters")
        for algorithm in digests.ALGORITHMS:
            for name in self._folder.names(f"blobs/{algorithm}"):
                if digests.is_digest(f"{algorithm}:{name}"):
                    with suppress(NotFound):
                        yield self.info(f"{algorithm}:{name}")

    def reader(self, digest: str) -> BinaryIO:
        """Open the file of a blob.

        Raises:
            NotFound: The layout has no such blob.
        """
        with self._naming_blob(digest):
            return self._folder.reader(blob_name(digest))

    def verified_reader(self, digest: str, size: int, report: Callable[[int], object]) -> BinaryIO:
        """Open the file of a blob; see ``ContentStore.verified_reader``.

        The file is hashed unless this process has written or hashed it, and it has not changed
        since then.
        """
        file = self.reader(digest)
        with Undo(file.close), explained(self.path):
            verifier = digests.Verifier(digest, size)
            found = os.fstat(file.fileno()).st_size
            if found != size:
                raise SizeMismatch(f"{self.path} has {found} bytes of {digest}, not {size}")
            if not verified_files.is_known(file.fileno(), digest):
                while data := file.read(_CHUNK):
                    verifier.update(data)
                    report(verifier.seen)
                verifier.check()
                verified_files.remember(file.fileno(), digest)
                file.seek(0)
        return file

    @contextmanager
    def _naming_blob(self, digest: str) -> Iterator[None]:
        """Turn a ``NotFound`` of the block into a ``NotFound`` that names the digest."""
        try:
            yield
        except NotFound:
            raise NotFound(f"{self.path} has no blob {digest}") from None

    def read(self, digest: str, *, limit: int = MAX_DOCUMENT) -> bytes:
        """Return the content of a blob, after verifying its digest.

        Args:
            digest: The digest of the blob.
            limit: The maximum size of the blob in bytes. Default: 4 MiB.

        Raises:
            NotFound: The layout has no such blob.
            SizeMismatch: The blob is larger than ``limit``.
            DigestMismatch: The content does not have this digest.
        """
        return read_whole(self, digest, limit)

    def writer(
        self,
        ref: str,
        *,
        size: int = 0,
        expected: str = "",
        lock_timeout: float | None = 0.0,
        cancel: CancelToken | None = None,
    ) -> LayoutWriter:
        """Start or continue a write.

        Args:
            ref: The name of the write.
            size: The size of the blob in bytes. Default: unknown.
            expected: The digest of the blob. Default: unknown.
            lock_timeout: Seconds to wait while another writer holds the lock of ``ref``. ``None``
                means no limit. Default: do not wait.
            cancel: A token whose ``cancel`` ends the wait for the lock. Default: none.

        Raises:
            AlreadyExists: The layout has a blob with the digest ``expected``.
            Cancelled: The token was cancelled.
            InvalidArgument: ``ref`` is empty, or too long for a file name.
            Unavailable: Another writer holds the lock of ``ref``.
        """
        check_instance("ref", ref, str, "the name of the write, as a string")

        def open_writer() -> LayoutWriter:
            if expected and self._folder.has(blob_name(expected)):
                raise AlreadyExists(f"{self.path} has the blob {expected}")
            return self._writer(ref, size, expected, replaces=False)

        return open_in_time(open_writer, lock_timeout, cancel)

    def put(
        self,
        data: bytes,
        *,
        media_type: str = media_types.OCTET_STREAM,
        labels: Mapping[str, str] | None = None,
    ) -> Descriptor:
        """Write a blob, unless the layout has the blob already.

        Args:
            data: The content of the blob.
            media_type: The media type of the returned descriptor. The layout does not keep it.
            labels: Ignored, because a layout stores no labels.

        Returns:
            The descriptor of the blob.

        Raises:
            Unavailable: Another writer has made no progress for 60 seconds.
        """
        return put_blob(self, data, media_type, labels)

    def replacing_writer(self, ref: str, *, size: int, expected: str) -> LayoutWriter:
        """Start or continue a write that replaces a damaged blob; see ``writer``.

        The damaged blob stays until the commit replaces it.

        Args:
            ref: The name of the write.
            size: The size of the blob in bytes.
            expected: The digest of the blob.

        Raises:
            InvalidArgument: ``ref`` is empty, or too long for a file name.
            Unavailable: Another writer holds the lock of ``ref``.
        """
        return self._writer(ref, size, expected, replaces=True)

    def _writer(self, ref: str, size: int, expected: str, replaces: bool) -> LayoutWriter:
        name = self._ingest_name(ref)
        self._prepare()
        # The lock prevents tidy() from removing the folder before the write's file exists.
        with self._folder.locked():
            writer = LayoutWriter(
                self._folder, ref, name, size=size, expected=expected, replaces=replaces
            )
        with Undo(writer.close):
            writer.resume()
        return writer

    def _ingest_name(self, ref: str) -> str:
        """Return the name of a write's file, which contains the percent-encoded ref.

        Raise ``InvalidArgument`` if the ref is empty or too long for a file name. Daemons permit
        longer refs.
        """
        from urllib.parse import quote  # the import takes 3 ms, and readers do not need it

        name = f"{_REF_PREFIX}{quote(ref, safe='')}"
        if not ref or len(name) > _MAX_NAME:
            raise InvalidArgument(
                f"{quoted(ref)} cannot be the ref of a write in a layout",
                remedy=f"Use 1 to {_MAX_NAME - len(_REF_PREFIX)} letters or digits",
            )
        return f"{_INGEST}/{name}"

    def update(self, digest: str, labels: Mapping[str, str]) -> ContentInfo:
        """Return ``info(digest)``. The labels are ignored."""
        return self.info(digest)

    def delete(self, digest: str) -> None:
        """Delete a blob.

        Raises:
            NotFound: The layout has no such blob.
        """
        with self._naming_blob(digest):
            self._folder.remove(blob_name(digest))

    def status(self, ref: str) -> IngestStatus:
        """Return the state of an incomplete write.

        The state does not contain the size and the digest of the blob, which are unknown.

        Raises:
            InvalidArgument: ``ref`` is empty, or too long for a file name.
            NotFound: The layout has no such write.
        """
        with self._naming_write(ref):
            return self._status(self._ingest_name(ref), ref)

    def _status(self, name: str, ref: str) -> IngestStatus:
        stat = self._folder.stat(name)
        when = file_time(stat.st_mtime)
        return IngestStatus(ref, stat.st_size, 0, expected="", started_at=when, updated_at=when)

    def statuses(self) -> list[IngestStatus]:
        """Return the states of all incomplete writes.

        The states do not contain the sizes and digests of the blobs, which are unknown.
        """
        from urllib.parse import unquote  # imported here, because the import takes 3 ms

        found = []
        for name in self._folder.names(_INGEST):
            with suppress(NotFound):
                ref = unquote(name.removeprefix(_REF_PREFIX))
                found.append(self._status(f"{_INGEST}/{name}", ref))
        return found

    def abort(self, ref: str) -> None:
        """Delete an incomplete write.

        Raises:
            InvalidArgument: ``ref`` is empty, or too long for a file name.
            NotFound: The layout has no such write.
        """
        name = self._ingest_name(ref)
        with self._naming_write(ref), self._folder.locked():
            self._folder.remove(name)
        self.tidy()

    @contextmanager
    def _naming_write(self, ref: str) -> Iterator[None]:
        """Turn a ``NotFound`` of the block into a ``NotFound`` that names the ref."""
        try:
            yield
        except NotFound:
            raise NotFound(f"{self.path} has no write {ref}") from None

    def tidy(self) -> None:
        """Remove the folder of incomplete writes if it is empty."""
        with suppress(ContainerdError), self._folder.locked():
            self._folder.remove_empty(_INGEST)

    # ---- names -----------------------------------------------------------------------------

    def entries(self) -> list[Document]:
        """Return the entries of the index.

        Raises:
            InvalidArgument: The index is not valid.
        """
        return list(layout_index.entries(layout_index.load(self._folder)))

    @contextmanager
    def changing_entries(self) -> Iterator[list[Document]]:
        """Yield a list of the index's entries. If the block succeeds, write the list to the index.

        During the block, no other process changes the index. The other fields of the index stay
        unchanged.

        Raises:
            InvalidArgument: The index is not valid.
            ResourceExhausted: The index would be too large, or the disk is full.
        """
        self._prepare()
        with self._folder.locked():
            index = layout_index.load(self._folder)
            entries = list(layout_index.entries(index))
            yield entries
            layout_index.save(self._folder, index, entries)
        self.tidy()

    def __repr__(self) -> str:
        return f"<LayoutStore {self.path}>"

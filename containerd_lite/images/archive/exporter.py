"""Exports images to an archive. The archive is an OCI image layout that Docker can load, too.

The bytes of the archive depend only on the images. The entries of the tar file are sorted, and have
neither an owner nor a modification time. Descriptors are written with only the fields that every
store keeps.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import BinaryIO

from ...debug import LoggedStep
from ...errors import Cancelled, InvalidArgument, NoMatchingPlatform, NotFound, SizeMismatch
from ...oci import digest as digests
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...oci.image_record import ImageRecord
from ...oci.manifest import Index, Manifest
from ...oci.platform import Platform
from ...oci.reference import Reference
from ...records import field, record
from ...store.documents import read_document
from ...store.layers import PlainStream
from ...store.layout_names import IMAGE_NAME, REF_NAME
from ...store.protocol import ContentStore
from ...store.tar import BLOCK, header
from ...undo import Undo
from ..image import Image, expect_named, name_and_target
from ..image_backend import ImageBackend
from ..job import Job
from ..platforms import Platforms, find_manifest, only_one
from ..via import Via, falling_back, is_for_daemon
from ..walk import walk
from .archive_requests import ExportRequest
from .destination import write_all, writing_to
from .docker_archive import manifest_json
from .intake import DOCKER, INDEX, OCI_LAYOUT

_LOGGER = logging.getLogger(__package__)

#: Maximum number of bytes of a blob to read at a time.
_PIECE = 1 << 20
#: How many pieces are in memory: one piece that is being written, and the two pieces after it.
_AHEAD = 3
_FETCH_REMEDY = "Fetch the content with fetch_missing, or pass another platform="
_BLOB_MODE, _JSON_MODE, _FOLDER_MODE = 0o444, 0o644, 0o755


def export_archive(backend: ImageBackend, request: ExportRequest, via: Via) -> None:
    """Export images to an archive; see ``Client.export_images``."""
    backend = backend.with_defaults(platform=only_one(request.platform))
    if via == "auto" and any(isinstance(source, Descriptor) for source in request.images):
        via = "client"  # the daemon exports images only by name
    by_daemon = is_for_daemon(
        backend, via, without=request.without, skip_missing=request.skip_missing
    )
    with LoggedStep(_LOGGER, "export images"):
        if by_daemon:
            with falling_back(via), backend.keeping():
                return _export_by_daemon(backend, request)
        _export_here(backend, request, Job(request.progress))


def _export_by_daemon(backend: ImageBackend, request: ExportRequest) -> None:
    names = []
    platforms = request.platforms(backend)
    for source in request.images:
        image = expect_named(backend, source, "exports")
        if request.platform is not None or media_types.is_index(image.target.media_type):
            image.expect(platforms)
        names.append(image.name)
    with writing_to(request.target) as file:
        backend.transfers().export_stream(
            file,
            names,
            platforms=platforms,
            skip_manifest_json=request.skip_docker_manifest,
            job=Job(request.progress),
        )


def _export_here(backend: ImageBackend, request: ExportRequest, job: Job) -> None:
    if not request.images:
        raise InvalidArgument("no image to export", remedy="Pass one or more images")
    platforms = request.platforms(backend)
    docker_platform = (platforms.wanted or (backend.platform,))[0]
    plan = _Plan(backend.store, platforms, docker_platform, skip_missing=request.skip_missing)
    # The images are sorted, so that the archive does not depend on the order of the arguments.
    named = (name_and_target(backend, source) for source in request.images)
    for name, root in sorted(named, key=_name_and_digest):
        plan.add(name, root)
        if request.platform is not None:
            _expect(backend, name, root, platforms)
        plan.add_to_indexes(name, root)
    plan.leave_out(_digests_without(backend, request, plan))
    files = {OCI_LAYOUT: b'{"imageLayoutVersion":"1.0.0"}', INDEX: plan.index()}
    if plan.saved and not request.skip_docker_manifest:
        files[DOCKER] = manifest_json(plan.saved.values(), _blob_path)
    job.expect(plan.blobs.values())
    job.seal()
    target = request.target
    with writing_to(target) as file:
        _write(file, plan, files, job)
        # The callback can still cancel the export, before the file gets its name.
        job.report("done", os.fspath(target) if isinstance(target, str | os.PathLike) else "")


def _expect(backend: ImageBackend, name: str, root: Descriptor, platforms: Platforms) -> None:
    """Check that an image has the platforms; raise ``NoMatchingPlatform`` if not."""
    try:
        Image(backend, ImageRecord(name, root, {}, None, None)).expect(platforms)
    except NoMatchingPlatform:
        raise
    except NotFound:
        pass  # ``leave_out`` reports the missing config together with all other missing content


def _name_and_digest(named: tuple[str, Descriptor]) -> tuple[str, str]:
    name, target = named
    return name, target.digest


def _digests_without(backend: ImageBackend, request: ExportRequest, plan: _Plan) -> set[str]:
    """Return the digests of the content that, as ``without`` says, the recipient already has."""
    found: set[str] = set()
    for source in request.without:
        if isinstance(source, str) and digests.is_digest(source):
            found.add(source)
        else:
            other = _Plan(plan.store, plan.platforms, plan.docker_platform)
            other.add(*name_and_target(backend, source), allows_missing=True)
            found |= other.blobs.keys()
    return found


@record
class _Plan:
    """The content of an archive.

    Attributes:
        store: The store that has the images.
        platforms: The platforms whose content is exported.
        docker_platform: The platform whose manifests are in Docker's ``manifest.json``.
        skip_missing: Whether to leave out the configs and layers of manifests whose content the
            store does not have completely.
        blobs: The descriptors of the blobs to write, by digest.
        saved: The manifests for Docker's ``manifest.json``, each with the names of its image. Each
            key consists of the digests of the config and the layers.
    """

    store: ContentStore
    platforms: Platforms
    docker_platform: Platform
    skip_missing: bool = False
    blobs: dict[str, Descriptor] = field(default_factory=dict)
    saved: dict[object, tuple[Manifest, list[str]]] = field(default_factory=dict)
    _entries: list[dict[str, object]] = field(default_factory=list)

    def add(self, name: str, target: Descriptor, *, allows_missing: bool = False) -> None:
        """Add the content of an image.

        Raises:
            NotFound: A manifest or index is missing, and ``allows_missing`` is false.
            NoMatchingPlatform: The image lacks a platform, and ``allows_missing`` is false.
        """
        has_content = False
        for found in walk(partial(self._children, name, allows_missing), target):
            has_content |= not media_types.is_document(found.media_type)
            if not found.is_foreign:
                self.blobs.setdefault(found.digest, found)
        if self.skip_missing and not has_content:
            raise NotFound(
                f"the store has the complete content of no wanted platform of {name}",
                remedy=_FETCH_REMEDY,
            )

    def add_to_indexes(self, name: str, target: Descriptor) -> None:
        """Add an image to ``index.json`` and to Docker's ``manifest.json``."""
        entry = _entry(name, target)
        if entry in self._entries:
            return
        self._entries.append(entry)
        # If ``skip_missing`` is false, ``add`` has read the manifest of ``docker_platform``.
        with suppress(NotFound if self.skip_missing else NoMatchingPlatform):
            manifest = find_manifest(name, target, self.docker_platform, self._read)
            if self.skip_missing and not self._is_complete(manifest):
                return
            if media_types.is_config(manifest.config.media_type):
                key = (manifest.config.digest, *(layer.digest for layer in manifest.layers))
                self.saved.setdefault(key, (manifest, []))[1].append(name)

    def _read(self, target: Descriptor) -> Manifest | Index:
        return read_document(self.store, target)

    def _children(
        self, name: str, allows_missing: bool, target: Descriptor
    ) -> Sequence[Descriptor]:
        if not media_types.is_document(target.media_type):
            return ()
        try:
            document = self._read(target)
            if isinstance(document, Index):
                chosen = self.platforms.choose(document, name or target.digest)
                return list(filter(self._has, chosen)) if self.skip_missing else chosen
        except NotFound as error:  # or its subclass NoMatchingPlatform
            if allows_missing:
                return ()
            error.remedy = error.remedy or _FETCH_REMEDY
            raise
        if self.skip_missing and not self._is_complete(document):
            return ()
        return document.children

    def _is_complete(self, manifest: Manifest) -> bool:
        """Return whether the store has the config and all layers, except for foreign layers."""
        return all(child.is_foreign or self._has(child) for child in manifest.children)

    def leave_out(self, without: set[str]) -> None:
        """Remove the blobs in ``without``; check that the store has the remaining content.

        Manifests and indexes are not removed.

        Raises:
            NotFound: Content is missing.
            SizeMismatch: A blob does not have the size that its descriptor says.
        """
        for digest in without & self.blobs.keys():
            if not media_types.is_document(self.blobs[digest].media_type):
                del self.blobs[digest]
        missing = [found.digest for found in self.blobs.values() if not self._has(found)]
        if missing:
            raise NotFound(
                f"the store lacks {digests.listed(missing)}",
                remedy=_FETCH_REMEDY,
            )

    def _has(self, target: Descriptor) -> bool:
        try:
            size = self.store.info(target.digest).size
        except NotFound:
            return False
        if size != target.size:
            raise SizeMismatch(
                f"{target.digest} has {size} bytes, but its descriptor says {target.size}"
            )
        return True

    def index(self) -> bytes:
        """Return the content of ``index.json``."""
        document = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_INDEX,
            "manifests": self._entries,
        }
        return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _entry(name: str, target: Descriptor) -> dict[str, object]:
    """Return an ``index.json`` entry: the name and the descriptor fields that a daemon keeps."""
    annotations = {k: v for k, v in target.annotations.items() if k not in (IMAGE_NAME, REF_NAME)}
    if name:
        annotations.update({IMAGE_NAME: name, REF_NAME: _ref_name(name)})
    return Descriptor(target.media_type, target.digest, target.size, annotations).to_json()


def _ref_name(name: str) -> str:
    """Return the OCI reference name of an image: its tag or digest, or both, as in containerd.

    If ``name`` is not a full reference, return it unchanged. Layouts that other tools have written
    can contain names of this kind.
    """
    with suppress(InvalidArgument):
        reference = Reference.parse(name)
        if str(reference) == name:
            return "@".join(filter(None, (reference.tag, reference.digest)))
    return name


def _blob_path(digest: str) -> str:
    return f"blobs/{digests.algorithm(digest)}/{digests.encoded(digest)}"


# ---- writing ---------------------------------------------------------------------------------


def _write(file: BinaryIO, plan: _Plan, files: Mapping[str, bytes], job: Job) -> None:
    """Write the whole archive, sorted by file name."""
    blobs = {_blob_path(digest): found for digest, found in plan.blobs.items()}
    folders = {"blobs", *(path.rpartition("/")[0] for path in blobs)}
    order = sorted({*blobs, *files, *(f"{name}/" for name in folders)})
    with _ReadAhead(plan.store, [blobs[name] for name in order if name in blobs]) as reader:
        for name in order:
            if name in blobs:
                write_all(file, header(name, blobs[name].size, mode=_BLOB_MODE))
                _write_blob(file, reader, blobs[name], job)
            elif name in files:
                write_all(file, header(name, len(files[name]), mode=_JSON_MODE))
                write_all(file, files[name] + bytes(-len(files[name]) % BLOCK))
            else:
                write_all(file, header(name, 0, mode=_FOLDER_MODE, folder=True))
    write_all(file, bytes(2 * BLOCK))


def _write_blob(file: BinaryIO, reader: _ReadAhead, blob: Descriptor, job: Job) -> None:
    verifier = digests.Verifier(blob.digest, blob.size)
    while verifier.seen < blob.size:
        with reader.piece() as piece:
            verifier.update(piece)
            write_all(file, piece)
        job.report("uploading", blob.digest, verifier.seen, blob.size)
    verifier.check()
    write_all(file, bytes(-blob.size % BLOCK))
    job.report("uploaded", blob.digest, blob.size, blob.size)


class _ReadAhead:
    """A context manager whose thread reads blobs in order, before the caller needs them."""

    def __init__(self, store: ContentStore, blobs: Iterable[Descriptor]) -> None:
        self._store = store
        self._free: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[memoryview, int] | BaseException] = queue.SimpleQueue()
        for _ in range(_AHEAD):
            self._free.put(memoryview(bytearray(_PIECE)))
        run = copy_context().run
        self._thread = threading.Thread(
            target=run, args=(self._run, blobs), name="containerd-lite-export", daemon=True
        )

    def _run(self, blobs: Iterable[Descriptor]) -> None:
        try:
            for blob in blobs:
                with self._store.reader(blob.digest) as file:
                    self._read(PlainStream(file), blob)
        except BaseException as error:
            self._full.put(error)

    def _read(self, stream: PlainStream, blob: Descriptor) -> None:
        remaining = blob.size
        while remaining:
            buffer = self._free.get()
            if buffer is None:
                raise Cancelled("the export has ended")
            count = stream.readinto(buffer[: min(remaining, _PIECE)])
            if not count:
                raise SizeMismatch(f"{blob.digest} is {remaining} bytes too short")
            remaining -= count
            self._full.put((buffer, count))

    @contextmanager
    def piece(self) -> Iterator[memoryview]:
        """Yield the next bytes of the current blob; these bytes are valid until the block ends."""
        found = self._full.get()
        if isinstance(found, BaseException):
            raise found
        buffer, count = found
        yield buffer[:count]
        self._free.put(buffer)

    def __enter__(self) -> _ReadAhead:
        with Undo(self.__exit__):
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._free.put(None)
        with suppress(RuntimeError):  # an interrupt came before the thread started
            self._thread.join()

"""Images from a store into an archive: an OCI image layout that Docker reads, too.

What lives here: what goes in, in which order, and writing it verified.  What may not: registries.

The bytes depend on the images alone: entries are sorted, nobody owns them, no time is told, and
of a descriptor only what every store keeps is written.
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
from .destination import put, writing_to
from .docker_archive import manifest_json
from .intake import DOCKER, INDEX, OCI_LAYOUT

_LOGGER = logging.getLogger(__package__)

_PIECE = 1 << 20
#: Pieces that are read ahead of the one that is written.
_AHEAD = 3
_BRING = "Bring it with fetch_missing, or export another platform="
_BLOB_MODE, _JSON_MODE, _FOLDER_MODE = 0o444, 0o644, 0o755


def export_archive(backend: ImageBackend, request: ExportRequest, via: Via) -> None:
    """As ``Client.export_images``."""
    backend = backend.with_defaults(platform=only_one(request.platform))
    if via == "auto" and any(isinstance(one, Descriptor) for one in request.images):
        via = "client"  # the daemon exports what has a name
    by_daemon = is_for_daemon(backend, via, without=request.without)
    with LoggedStep(_LOGGER, "export images"), backend.keeping():
        if by_daemon:
            with falling_back(via):
                return _export_by_daemon(backend, request)
        _export_here(backend, request, Job(request.progress))


def _export_by_daemon(backend: ImageBackend, request: ExportRequest) -> None:
    names = []
    platforms = request.platforms(backend)
    for one in request.images:
        image = expect_named(backend, one, "exports")
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
        raise InvalidArgument("there is nothing to export", remedy="Name an image")
    platforms = request.platforms(backend)
    plan = _Plan(backend.store, platforms, (platforms.wanted or (backend.platform,))[0])
    # Sorted, for the archive is to depend on the images, and not on who names them how.
    named = (name_and_target(backend, source) for source in request.images)
    for name, root in sorted(named, key=_place_of):
        plan.add(name, root)
        if request.platform is not None:
            _expect(backend, name, root, platforms)
        plan.name(name, root)
    plan.leave_out(_known(backend, request, plan))
    files = {OCI_LAYOUT: b'{"imageLayoutVersion":"1.0.0"}', INDEX: plan.index()}
    if plan.saved and not request.skip_docker_manifest:
        files[DOCKER] = manifest_json(plan.saved.values(), _place)
    with writing_to(request.target) as file:
        _write(file, plan, files, job)
    target = request.target
    job.report("done", os.fspath(target) if isinstance(target, str | os.PathLike) else "")


def _expect(backend: ImageBackend, name: str, root: Descriptor, platforms: Platforms) -> None:
    """Raises ``NoMatchingPlatform`` for a manifest that is for none of ``platforms``."""
    try:
        Image(backend, ImageRecord(name, root, {}, None, None)).expect(platforms)
    except NoMatchingPlatform:
        raise
    except NotFound:
        pass  # a config, which will be told of with all else that is missing


def _place_of(named: tuple[str, Descriptor]) -> tuple[str, str]:
    name, target = named
    return name, target.digest


def _known(backend: ImageBackend, request: ExportRequest, plan: _Plan) -> set[str]:
    """The digests of all that the other side has."""
    found: set[str] = set()
    for source in request.without:
        if isinstance(source, str) and digests.is_digest(source):
            found.add(source)
        else:
            other = _Plan(plan.store, plan.platforms, plan.usual)
            other.add(*name_and_target(backend, source), may_lack=True)
            found |= other.blobs.keys()
    return found


@record
class _Plan:
    """What is to be written: ``blobs`` by digest, and the entries of the two indexes."""

    store: ContentStore
    platforms: Platforms
    usual: Platform
    blobs: dict[str, Descriptor] = field(default_factory=dict)
    saved: dict[object, tuple[Manifest, list[str]]] = field(default_factory=dict)
    _entries: list[dict[str, object]] = field(default_factory=list)

    def add(self, name: str, target: Descriptor, *, may_lack: bool = False) -> None:
        """An image and what it needs.  Raises ``NotFound`` for a document that is not there, and
        ``NoMatchingPlatform``, unless it ``may_lack`` some."""
        for found in walk(partial(self._children, name, may_lack), target):
            if not found.is_foreign:
                self.blobs.setdefault(found.digest, found)

    def name(self, name: str, target: Descriptor) -> None:
        """Give an image its places in the indexes."""
        entry = _entry(name, target)
        if entry in self._entries:
            return
        self._entries.append(entry)
        with suppress(NoMatchingPlatform):
            manifest = find_manifest(name, target, self.usual, self._read)
            if media_types.is_config(manifest.config.media_type):
                key = (manifest.config.digest, *(layer.digest for layer in manifest.layers))
                self.saved.setdefault(key, (manifest, []))[1].append(name)

    def _read(self, target: Descriptor) -> Manifest | Index:
        return read_document(self.store, target)

    def _children(self, name: str, may_lack: bool, target: Descriptor) -> Sequence[Descriptor]:
        if not media_types.is_document(target.media_type):
            return ()
        try:
            document = self._read(target)
            if isinstance(document, Index):
                return self.platforms.choose(document, name or target.digest)
        except NotFound as error:  # or NoMatchingPlatform
            if may_lack:
                return ()
            error.remedy = error.remedy or _BRING
            raise
        return document.children

    def leave_out(self, known: set[str]) -> None:
        """Drop blobs that the other side has, and then see that all others are here.

        Raises ``NotFound``, ``SizeMismatch``.
        """
        for digest in known & self.blobs.keys():
            if not media_types.is_document(self.blobs[digest].media_type):
                del self.blobs[digest]
        missing = [found.digest for found in self.blobs.values() if not self._has(found)]
        if missing:
            raise NotFound(
                f"the store lacks {digests.listed(missing)}",
                remedy=_BRING,
            )

    def _has(self, target: Descriptor) -> bool:
        try:
            size = self.store.info(target.digest).size
        except NotFound:
            return False
        if size != target.size:
            raise SizeMismatch(f"{target.digest} has {size} bytes; {target.size} are promised")
        return True

    def index(self) -> bytes:
        document = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_INDEX,
            "manifests": self._entries,
        }
        return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _entry(name: str, target: Descriptor) -> dict[str, object]:
    """The entry of ``index.json``: what a daemon keeps of a descriptor, and the name."""
    notes = {k: v for k, v in target.annotations.items() if k not in (IMAGE_NAME, REF_NAME)}
    if name:
        notes.update({IMAGE_NAME: name, REF_NAME: _short(name)})
    return Descriptor(target.media_type, target.digest, target.size, notes).to_json()


def _short(name: str) -> str:
    """What OCI calls a reference name: containerd takes the tag, or the digest, for it.

    A name that is none in full, such as those of other layouts, is that itself.
    """
    with suppress(InvalidArgument):
        reference = Reference.parse(name)
        if str(reference) == name:
            return "@".join(filter(None, (reference.tag, reference.digest)))
    return name


def _place(digest: str) -> str:
    return f"blobs/{digests.algorithm(digest)}/{digests.encoded(digest)}"


# ---- writing ---------------------------------------------------------------------------------


def _write(file: BinaryIO, plan: _Plan, files: Mapping[str, bytes], job: Job) -> None:
    """The whole archive, in the order of its names."""
    places = {_place(digest): found for digest, found in plan.blobs.items()}
    folders = {"blobs", *(place.rpartition("/")[0] for place in places)}
    order = sorted({*places, *files, *(f"{name}/" for name in folders)})
    with _ReadAhead(plan.store, [places[name] for name in order if name in places]) as reader:
        for name in order:
            if name in places:
                put(file, header(name, places[name].size, mode=_BLOB_MODE))
                _put_blob(file, reader, places[name], job)
            elif name in files:
                put(file, header(name, len(files[name]), mode=_JSON_MODE))
                put(file, files[name] + bytes(-len(files[name]) % BLOCK))
            else:
                put(file, header(name, 0, mode=_FOLDER_MODE, folder=True))
    put(file, bytes(2 * BLOCK))


def _put_blob(file: BinaryIO, reader: _ReadAhead, blob: Descriptor, job: Job) -> None:
    verifier = digests.Verifier(blob.digest, blob.size)
    while verifier.seen < blob.size:
        with reader.piece() as piece:
            verifier.update(piece)
            put(file, piece)
        job.report("uploading", blob.digest, verifier.seen, blob.size)
    verifier.check()
    put(file, bytes(-blob.size % BLOCK))
    job.report("uploaded", blob.digest, blob.size, blob.size)


class _ReadAhead:
    """Reads blobs in their order, some pieces ahead of whoever asks; a context manager."""

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
        rest = blob.size
        while rest:
            buffer = self._free.get()
            if buffer is None:
                raise Cancelled("nobody wants it any more")
            count = stream.readinto(buffer[: min(rest, _PIECE)])
            if not count:
                raise SizeMismatch(f"{blob.digest} ended {rest} bytes before its end")
            rest -= count
            self._full.put((buffer, count))

    @contextmanager
    def piece(self) -> Iterator[memoryview]:
        """The next bytes, which stay within a blob, for the length of the block."""
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
        with suppress(RuntimeError):  # an interrupt came before it had begun
            self._thread.join()

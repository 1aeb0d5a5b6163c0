"""Archives into a store, and the names of their images.

What lives here: what an archive names, whether all of it has come, and the labels that keep it.
What may not: reading archives, writing them.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

from ...debug import LoggedStep
from ...errors import InvalidArgument, NoMatchingPlatform, NotFound, SizeMismatch
from ...oci import digest as digests
from ...oci import media_types
from ...oci.config import ImageConfig
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT, Document, quoted
from ...oci.image_record import ImageRecord
from ...oci.manifest import Index, Manifest
from ...oci.reference import MAX_REFERENCE, Reference
from ...records import replace
from ...store.documents import read_document
from ...store.layers import PlainStream
from ...store.layout_index import parse_index
from ...store.layout_names import IMAGE_NAME, REF_NAME
from ...store.protocol import ContentStore, read_blob
from .. import daemon
from ..gc_labels import child_labels
from ..image import Image
from ..image_backend import ImageBackend
from ..job import Job
from ..names import full_name
from ..platforms import Platforms, only_one
from ..via import Via, falling_back, is_for_daemon
from ..walk import walk
from . import docker_archive
from .archive_requests import ImportRequest
from .intake import DOCKER, INDEX, OCI_LAYOUT, Intake

if TYPE_CHECKING:
    from ..unpack.unpack import Unpacker

_LOGGER = logging.getLogger(__package__)

_VERSION = "1.0.0"


def import_archive(backend: ImageBackend, request: ImportRequest, via: Via) -> list[Image]:
    """As ``Client.import_images``."""
    backend = backend.with_defaults(
        platform=only_one(request.platform), snapshotter=request.snapshotter
    )
    source = request.source
    is_path = isinstance(source, str | os.PathLike)
    is_folder = is_path and os.path.isdir(cast("str", source))
    for_client = {"ref": request.ref, "skip_missing": request.skip_missing, "folders": is_folder}
    if is_for_daemon(backend, via, **for_client):
        with falling_back(via if is_path else "daemon"):  # a pipe is read once
            return _import_by_daemon(backend, request)
    with LoggedStep(_LOGGER, "import images"), backend.keeping():
        return _import_here(backend, request, Job(request.progress))


def _import_by_daemon(backend: ImageBackend, request: ImportRequest) -> list[Image]:
    platforms, source = request.platforms(backend), request.source
    with ExitStack() as stack:
        stack.enter_context(LoggedStep(_LOGGER, "import images by the daemon"))
        stack.enter_context(backend.keeping())
        changes = daemon.NameChanges(backend)
        changes.remember_all()
        if isinstance(source, str | os.PathLike):
            source = stack.enter_context(open(source, "rb"))
        names = backend.transfers().import_stream(
            source,
            platforms=platforms,
            unpack=backend.platform if request.unpack else None,
            snapshotter=request.snapshotter or "",
            labels=request.labels,
            job=Job(request.progress),
        )
        return changes.accept(names, platforms, is_whole=False)


def _import_here(backend: ImageBackend, request: ImportRequest, job: Job) -> list[Image]:
    platforms = request.platforms(backend)
    unpacker = backend.unpacker(request.snapshotter, job) if request.unpack else None
    intake = Intake(backend.store, job)
    intake.take_all(request.source, request.max_concurrent)
    named = _named(_entries(intake, backend.store), request.ref)
    if not named:
        raise InvalidArgument(
            "the archive has no image with a name", remedy="Give a name for it with ref="
        )
    census = _Completeness(backend.store, platforms, intake)
    named = census.fitting(named)
    census.check(named.values(), request.skip_missing)
    if unpacker is not None:
        for name, target in named.items():
            for platform in platforms.wanted or (backend.platform,):
                image = Image(backend.with_defaults(platform=platform), _record(name, target))
                _unpack(unpacker, image)
    found = []
    for name, target in named.items():
        found.append(Image(backend, backend.names.put(name, target, request.labels)))
        job.report("done", name)
    return found


def _record(name: str, target: Descriptor) -> ImageRecord:
    return ImageRecord(name, target, {}, None, None)


def _unpack(unpacker: Unpacker, image: Image) -> None:
    manifest = image.manifest()
    if media_types.is_config(manifest.config.media_type):
        unpacker.unpack(manifest.layers, manifest.config, image.config())


# ---- what the archive names ------------------------------------------------------------------


def _entries(intake: Intake, store: ContentStore) -> Sequence[Descriptor]:
    """What the archive's index lists; an OCI layout goes before Docker's manifest."""
    documents = intake.documents
    if OCI_LAYOUT in documents:
        version = Document.parse(documents[OCI_LAYOUT], OCI_LAYOUT).text("imageLayoutVersion")
        if version != _VERSION:
            raise InvalidArgument(f"the layout's version is {quoted(version)}, not {_VERSION}")
        if INDEX not in documents:
            raise InvalidArgument(f"the archive has an {OCI_LAYOUT} and no {INDEX}")
        return parse_index(documents[INDEX]).each("manifests", Descriptor.read)
    if DOCKER in documents:
        return docker_archive.entries(intake, store, documents[DOCKER])
    raise InvalidArgument(
        "this holds no images", remedy="Give an OCI layout, or what docker save writes"
    )


def _named(entries: Iterable[Descriptor], ref: str | None) -> dict[str, Descriptor]:
    """The images by their full names, as ``ctr images import`` chooses them.

    Raises ``InvalidArgument`` where one name stands for two things.
    """
    base = None if ref is None else Reference.parse(ref)
    found: dict[str, Descriptor] = {}
    nameless = []
    for entry in entries:
        notes = dict(entry.annotations)
        full, short = notes.pop(IMAGE_NAME, ""), notes.pop(REF_NAME, "")
        target = replace(entry, annotations=notes)  # from now on the name is the record's
        name = _checked(full) if full else _name_under(base, short)
        if name and found.setdefault(name, target).digest != target.digest:
            raise InvalidArgument(f"the archive has two images called {quoted(name)}")
        if not full and not short:
            nameless.append(target)
    if base is not None and len(nameless) == 1 and not found:
        found[str(base)] = nameless[0]
    return found


def _name_under(base: Reference | None, short: str) -> str:
    """The name that an OCI reference name stands for, ``""`` if it is not to have one."""
    if any(mark in short for mark in "/:@"):
        name = _checked(short)
        is_below = base is None or name.startswith(tuple(f"{base.name}{m}" for m in "/:@"))
        return name if is_below else ""
    return _checked(f"{base.name}:{short}") if base is not None and short else ""


def _checked(name: str) -> str:
    """A name in full; some, like those of Kubernetes' image IDs, are no references."""
    if not name.isprintable() or len(name) > MAX_REFERENCE:
        raise InvalidArgument(f"{quoted(name)} is no name for an image")
    if digests.is_digest(name) or not any(mark in name for mark in "/:@"):
        return name  # a bare word is no repository's latest, but what somebody called it
    try:
        return full_name(name)
    except InvalidArgument:
        return name


# ---- whether it is whole ---------------------------------------------------------------------


class _Completeness:
    """Looks for what images need, and labels what it finds."""

    def __init__(self, store: ContentStore, platforms: Platforms, intake: Intake) -> None:
        self._store = store
        self._platforms = platforms
        self._intake = intake
        self._missing: dict[str, Descriptor] = {}

    def fitting(self, named: Mapping[str, Descriptor]) -> dict[str, Descriptor]:
        """Those that have something for a platform asked for.

        Raises ``NoMatchingPlatform`` if none has.
        """
        refusals: dict[str, NoMatchingPlatform | None] = {}
        for name, target in named.items():
            if target.digest not in refusals:  # one image may have very many names
                refusals[target.digest] = self._refusal(name, target)
        found = {name: one for name, one in named.items() if refusals[one.digest] is None}
        if not found:
            for refusal in filter(None, refusals.values()):
                raise refusal
        return found

    def _refusal(self, name: str, target: Descriptor) -> NoMatchingPlatform | None:
        try:
            self._expect(name, target)
        except NoMatchingPlatform as refusal:
            return refusal
        return None

    def _expect(self, name: str, target: Descriptor) -> None:
        if not media_types.is_document(target.media_type) or not self._is_there(target):
            return
        document = self._read(target)
        if isinstance(document, Index):
            self._platforms.choose(document, name)
        elif media_types.is_config(document.config.media_type) and self._is_there(document.config):
            config = read_blob(self._store, document.config, MAX_DOCUMENT)
            self._platforms.expect(ImageConfig.parse(config).platform, name)

    def check(self, targets: Iterable[Descriptor], skip_missing: bool) -> None:
        """Raises ``NotFound`` with the digests of what is in neither archive nor store."""
        for _ in walk(self._children, *targets):
            pass
        if self._missing and not skip_missing:
            raise NotFound(
                f"the archive lacks {digests.listed(list(self._missing))}",
                remedy="Import what it builds on first, ask for another platform=, "
                "or have what is there with skip_missing=True",
            )

    def _children(self, target: Descriptor) -> Sequence[Descriptor]:
        if not self._is_there(target):
            if not target.is_foreign:
                self._missing[target.digest] = target
            return ()
        if not media_types.is_document(target.media_type):
            return ()
        document = self._read(target)
        chosen = document.children
        if isinstance(document, Index):
            chosen = tuple(self._platforms.choose(document, target.digest))
        self._label(target, document, {child.digest for child in chosen})
        return chosen

    def _read(self, target: Descriptor) -> Manifest | Index:
        return read_document(self._store, target)

    def _label(self, target: Descriptor, document: Manifest | Index, chosen: set[str]) -> None:
        """What was not chosen may be collected; its number stays free for a later pull."""
        labels = child_labels(document.children)
        kept = {key: digest for key, digest in labels.items() if digest in chosen}
        if kept:
            self._store.update(target.digest, kept)

    def _is_there(self, target: Descriptor) -> bool:
        """Whether the store has it, from now on as part of our lease."""
        known = self._intake.sizes
        if target.digest not in known and not self._may_keep(target) and target.data is not None:
            self._intake.put(target.digest, target.size, PlainStream(io.BytesIO(target.data)))
        size = known.get(target.digest, target.size)
        if size != target.size:
            raise SizeMismatch(f"{target.digest} has {size} bytes; {target.size} are promised")
        return target.digest in known

    def _may_keep(self, target: Descriptor) -> bool:
        """Have our lease hold what an earlier import or pull has left."""
        try:
            self._store.info(target.digest)
        except NotFound:
            return False
        # Nothing of it is read if the store still has it, and that is what adds it to the lease.
        with self._store.reader(target.digest) as file:
            self._intake.put(target.digest, target.size, PlainStream(file))
        return True

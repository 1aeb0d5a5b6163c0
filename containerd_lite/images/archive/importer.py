"""Imports images from archives.

This module chooses the names of the images, checks that the images are complete, and sets labels
that protect the content from garbage collection. The module ``intake`` reads the archives.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

from ...arguments import check_instance
from ...debug import LoggedStep
from ...errors import InvalidArgument, NoMatchingPlatform, NotFound, SizeMismatch
from ...oci import digest as digests
from ...oci import media_types
from ...oci.config import ImageConfig
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT, Document
from ...oci.image_record import ImageRecord, check_name
from ...oci.manifest import Index, Manifest
from ...oci.reference import MAX_REFERENCE, Reference
from ...printable import quoted
from ...records import replace
from ...store.documents import read_document
from ...store.layers import PlainStream
from ...store.layout_index import parse_index
from ...store.layout_names import COSIGN_KINDS, IMAGE_NAME, KIND, REF_NAME
from ...store.protocol import ContentStore, read_blob
from .. import daemon, signatures
from ..gc_labels import SUBJECT, child_labels
from ..guards import guard_for
from ..image import Image
from ..image_backend import ImageBackend
from ..job import Job
from ..names import full_name
from ..platforms import Platforms, only_one
from ..via import Via, falling_back, is_for_daemon
from ..walk import walk
from . import docker_archive
from .archive_requests import ImportRequest
from .intake import DOCKER, INDEX, OCI_LAYOUT, Intake, check_source, open_archive

if TYPE_CHECKING:
    from ...trust.verdict import Verdict
    from ..signatures.verification import Guard
    from ..unpack.unpack import Unpacker

_LOGGER = logging.getLogger(__package__)

_VERSION = "1.0.0"
#: The maximum number of names in an archive. An index of 4 MiB has room for some 14,000.
_MAX_NAMES = 10_000


def import_archive(backend: ImageBackend, request: ImportRequest, via: Via) -> list[Image]:
    """Import the images of an archive; see ``Client.import_images``."""
    backend = backend.with_defaults(
        platform=only_one(request.platform), snapshotter=request.snapshotter
    )
    source = request.source
    check_source(source)
    is_path = isinstance(source, str | os.PathLike)
    is_folder = is_path and os.path.isdir(cast("str", source))
    guard = guard_for(backend, request.policy)
    for_client = {
        "ref": request.ref,
        "translate_name": request.translate_name,
        "skip_missing": request.skip_missing,
        "folders": is_folder,
        "policies": guard,
    }
    if is_for_daemon(backend, via, **for_client):
        with falling_back(via if is_path else "daemon"):  # a stream cannot be read twice
            return _import_by_daemon(backend, request)
    with LoggedStep(_LOGGER, "import images"), backend.keeping():
        return _import_here(backend, request, guard, Job(request.progress))


def _import_by_daemon(backend: ImageBackend, request: ImportRequest) -> list[Image]:
    transfers, source = backend.transfers(), request.source
    platforms = request.platforms(backend)
    snapshotter = backend.snapshots(request.snapshotter).snapshotter if request.unpack else ""
    with ExitStack() as stack:
        stack.enter_context(LoggedStep(_LOGGER, "import images by the daemon"))
        stack.enter_context(backend.keeping())
        changes = daemon.NameChanges(backend)
        changes.remember_all()
        if isinstance(source, str | os.PathLike):
            source = stack.enter_context(open_archive(source))
        saved: list[str] = []
        stack.enter_context(changes.restoring(saved))
        names = transfers.import_stream(
            source,
            platforms=platforms,
            unpack=backend.platform if request.unpack else None,
            snapshotter=snapshotter,
            labels=request.labels,
            saved=saved,
            job=Job(request.progress),
        )
        images = changes.accept(names, platforms, is_complete=False)
        if request.unpack:
            for image in images:
                daemon.unpack_skipped(image, platforms, snapshotter)
        return images


def _import_here(
    backend: ImageBackend, request: ImportRequest, guard: Guard | None, job: Job
) -> list[Image]:
    platforms = request.platforms(backend)
    unpacker = backend.unpacker(request.snapshotter, job) if request.unpack else None
    intake = Intake(backend.store, job)
    intake.read_all(request.source, request.max_concurrent)
    entries = _entries(intake, backend.store)
    targets = _targets_by_name(entries, request)
    if not targets:
        raise InvalidArgument(
            "the archive has no image with a name", remedy="Name it with ref= or translate_name="
        )
    checker = _Checker(backend.store, platforms, intake)
    targets = checker.matching(targets)
    verdicts: Mapping[str, Verdict | None] = {}
    if guard is not None:
        archived = signatures.ArchivedSignatures(backend.store, entries, targets, intake.sizes)
        verdicts = archived.check(guard, platforms)
    checker.check(targets.values(), request.skip_missing)
    if unpacker is not None:
        for name, target in targets.items():
            for platform in platforms.wanted or (backend.platform,):
                image = Image(backend.with_defaults(platform=platform), _record(name, target))
                _unpack(unpacker, image)
    for name in targets:
        job.report("done", name)  # the callback can still cancel the import
    records = backend.names.put_all(targets, request.labels)
    return [Image(backend, record, verdict=verdicts.get(record.name)) for record in records]


def _record(name: str, target: Descriptor) -> ImageRecord:
    return ImageRecord(name, target, {}, None, None)


def _unpack(unpacker: Unpacker, image: Image) -> None:
    manifest = image.manifest()
    if manifest.is_unpackable:
        unpacker.unpack(manifest.image_layers, manifest.config, image.config())


# ---- names -----------------------------------------------------------------------------------


def _entries(intake: Intake, store: ContentStore) -> Sequence[Descriptor]:
    """Return the images that the archive lists in ``index.json``, or else in ``manifest.json``."""
    documents = intake.documents
    if OCI_LAYOUT in documents:
        version = Document.parse(documents[OCI_LAYOUT], OCI_LAYOUT).text("imageLayoutVersion")
        if version != _VERSION:
            raise InvalidArgument(f"the layout's version must be {_VERSION}, not {quoted(version)}")
        if INDEX not in documents:
            raise InvalidArgument(f"the archive has {OCI_LAYOUT} but no {INDEX}")
        return parse_index(documents[INDEX]).each("manifests", Descriptor.read)
    if DOCKER in documents:
        return docker_archive.entries(intake, store, documents[DOCKER])
    raise InvalidArgument(
        "the source has neither oci-layout nor manifest.json",
        remedy="Pass an OCI image layout, or an archive that docker save has written",
    )


def _targets_by_name(
    entries: Iterable[Descriptor], request: ImportRequest
) -> dict[str, Descriptor]:
    """Return the target of each image, by the image's full name.

    Without ``translate_name``, the full names are chosen as in ``ctr images import``.

    Raises:
        InvalidArgument: A name is not valid, two images have the same name, or there are too many
            names.
        DigestMismatch: A name ends with a digest that is not the image's.
    """
    base = None if request.ref is None else Reference.parse(request.ref)
    translate = request.translate_name
    found: dict[str, Descriptor] = {}
    nameless = []
    for entry in entries:
        annotations = dict(entry.annotations)
        full, short = annotations.pop(IMAGE_NAME, ""), annotations.pop(REF_NAME, "")
        # The annotations with the names are removed, because the image record will contain the
        # name.
        target = replace(entry, annotations=annotations)
        if full:
            name = _valid_name(full)
        elif translate is not None:
            name = _translated(translate, short)
        else:
            name = _name_of_ref_name(base, short)
        if digests.is_digest(name) and name != target.digest:
            # The CRI plugin names images after the digests of their configs. It makes these names
            # again, so they are not imported.
            _LOGGER.debug("the name %s of %s is not imported", name, target.digest)
            continue
        check_name(name, target, {})
        if name and found.setdefault(name, target).digest != target.digest:
            raise InvalidArgument(f"the archive has two images called {quoted(name)}")
        if not full and not short and not _is_attached(annotations):
            nameless.append(target)
        if len(found) > _MAX_NAMES:
            raise InvalidArgument(f"the archive has more than {_MAX_NAMES} names of images")
    if base is not None and len(nameless) == 1 and not found:
        found[str(base)] = nameless[0]
    return found


def _is_attached(annotations: Mapping[str, str]) -> bool:
    """Return whether an entry is a referrer or a signature, not an image of its own."""
    return SUBJECT in annotations or annotations.get(KIND) in COSIGN_KINDS.values()


def _name_of_ref_name(base: Reference | None, short: str) -> str:
    """Return the image name for an OCI reference name, or ``""`` if the image gets no name."""
    if any(mark in short for mark in "/:@"):
        name = _valid_name(short)
        is_below = base is None or name.startswith(tuple(f"{base.name}{m}" for m in "/:@"))
        return name if is_below else ""
    return _valid_name(f"{base.name}:{short}") if base is not None and short else ""


def _translated(translate: Callable[[str], str], short: str) -> str:
    """Return the name that the caller's function chooses; check it, and leave it unchanged."""
    name = translate(short)
    check_instance("the result of translate_name", name, str, "a function that returns a string")
    return _printable_name(name)


def _valid_name(name: str) -> str:
    """Return the full form of a name; check that the name is printable and not too long.

    A name that is not a reference, such as an image ID of Kubernetes, is returned unchanged.
    """
    _printable_name(name)
    if digests.is_digest(name) or not any(mark in name for mark in "/:@"):
        return name  # ``full_name`` would add a default host and a default tag
    try:
        return full_name(name)
    except InvalidArgument:
        return name


def _printable_name(name: str) -> str:
    """Return a name. Raise ``InvalidArgument`` if it is not printable or too long."""
    if not name.isprintable():
        raise InvalidArgument(f"image name {quoted(name)} has a character that is not printable")
    if len(name) > MAX_REFERENCE:
        raise InvalidArgument(
            f"image name {quoted(name)} is longer than {MAX_REFERENCE} characters"
        )
    return name


# ---- completeness ----------------------------------------------------------------------------


class _Checker:
    """Checks that the store has the content of images, and labels their manifests and indexes."""

    def __init__(self, store: ContentStore, platforms: Platforms, intake: Intake) -> None:
        self._store = store
        self._platforms = platforms
        self._intake = intake
        self._missing: dict[str, Descriptor] = {}

    def matching(self, targets: Mapping[str, Descriptor]) -> dict[str, Descriptor]:
        """Return the images that have the wanted platforms, by name.

        Raises:
            NoMatchingPlatform: No image has the wanted platforms.
        """
        errors: dict[str, NoMatchingPlatform | None] = {}
        for name, target in targets.items():
            if target.digest not in errors:  # check an image with several names only once
                errors[target.digest] = self._mismatch(name, target)
        found = {name: target for name, target in targets.items() if errors[target.digest] is None}
        if not found:
            for error in filter(None, errors.values()):
                raise error
        return found

    def _mismatch(self, name: str, target: Descriptor) -> NoMatchingPlatform | None:
        try:
            self._expect(name, target)
        except NoMatchingPlatform as error:
            return error
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
        """Check that all wanted content is in the store.

        Raises:
            NotFound: Content is missing, and ``skip_missing`` is false.
        """
        for _ in walk(self._children, *targets):
            pass
        if self._missing and not skip_missing:
            raise NotFound(
                f"neither the archive nor the store has {digests.listed(list(self._missing))}",
                remedy="Import the base image first, pass another platform=, "
                "or import an incomplete image with skip_missing=True",
            )

    def _children(self, target: Descriptor) -> Sequence[Descriptor]:
        if not self._is_there(target):
            if not target.is_foreign:
                self._missing[target.digest] = target
            return ()
        if not media_types.is_document(target.media_type):
            return ()
        document = self._read(target)
        if document.media_type != target.media_type:
            _LOGGER.warning(
                "%s has the media type %s, but its descriptor says %s",
                target.digest,
                document.media_type,
                target.media_type,
            )
        chosen = document.children
        if isinstance(document, Index):
            chosen = tuple(self._platforms.choose(document, target.digest))
        self._label(target, document, {child.digest for child in chosen})
        return chosen

    def _read(self, target: Descriptor) -> Manifest | Index:
        return read_document(self._store, target)

    def _label(self, target: Descriptor, document: Manifest | Index, chosen: set[str]) -> None:
        """Label a document so that garbage collection does not delete the chosen children.

        The numbers in the label keys do not depend on which children are chosen. So a later pull
        can add labels for the other children, and does not overwrite these labels.
        """
        labels = child_labels(document.children)
        wanted = {key: digest for key, digest in labels.items() if digest in chosen}
        if wanted:
            self._store.update(target.digest, wanted)

    def _is_there(self, target: Descriptor) -> bool:
        """Return whether the store has the content; add existing content to the lease.

        If the store lacks content that is embedded in the descriptor, write it to the store.
        """
        sizes = self._intake.sizes
        if (
            target.digest not in sizes
            and not self._add_to_lease(target)
            and target.data is not None
        ):
            self._intake.write_blob(
                target.digest, target.size, PlainStream(io.BytesIO(target.data))
            )
        size = sizes.get(target.digest, target.size)
        if size != target.size:
            raise SizeMismatch(
                f"{target.digest} has {size} bytes, but its descriptor says {target.size}"
            )
        return target.digest in sizes

    def _add_to_lease(self, target: Descriptor) -> bool:
        """Add content to the lease if the store has it; return whether the store has the content.

        The content may come from an earlier import or pull.
        """
        try:
            self._store.info(target.digest)
        except NotFound:
            return False
        # When a write of existing content begins, the daemon adds the content to the lease.
        # ``write_blob`` reads the file only if garbage collection has deleted the content
        # meanwhile.
        with self._store.reader(target.digest) as file:
            self._intake.write_blob(target.digest, target.size, PlainStream(file))
        return True

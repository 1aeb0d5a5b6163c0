"""Pushes an image from a store to a registry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import takewhile
from typing import BinaryIO

from ...debug import LoggedStep
from ...errors import NotFound
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT
from ...oci.reference import Reference
from ...registry.openers import opener as content_opener
from ...registry.registry_access import for_daemon
from ...store.protocol import ContentStore, read_blob
from .. import signatures
from ..concurrency import Gate
from ..gc_labels import source_key
from ..image import expect_named, name_and_target
from ..image_backend import ImageBackend
from ..job import Job, beside
from ..names import name_of, parse_name
from ..platforms import Platforms
from ..resolver import Pusher, PushResolver, using
from ..via import Via, falling_back, is_for_daemon
from .delivery import Delivery
from .plan import Choice, Planner
from .push_requests import PushRequest

_LOGGER = logging.getLogger(__package__)

#: Maximum number of repositories from which a push tries to mount a blob before it uploads the
#: blob.
_MAX_MOUNTS = 4


def push_image(backend: ImageBackend, request: PushRequest, via: Via) -> Descriptor:
    """Push an image; see ``Client.push``."""
    if via == "auto" and isinstance(request.target, Descriptor):
        via = "client"  # the daemon pushes images only by name
    if is_for_daemon(backend, via, **request.only_for_client()):
        with falling_back(via):
            return _push_by_daemon(backend, request)
    job, step = Job(request.progress), LoggedStep(_LOGGER, "push %s", request.ref)
    with step, using(request.resolver, backend.host_caches, job.report_event) as registries:
        return push(
            backend.store,
            registries.pusher(request.ref),
            request.ref,
            target=name_and_target(backend, request.target)[1],
            platforms=request.platforms,
            job=job,
            max_concurrent_uploads=request.max_concurrent_uploads,
            chunk_size=request.chunk_size,
            sparse=request.sparse,
            before_name=_signing(registries, request),
        )


def _signing(resolver: PushResolver, request: PushRequest) -> Callable[[Descriptor], object] | None:
    """Return the function that signs the pushed root; ``None`` if nothing is to be signed."""
    sign = request.sign
    if sign is None:
        return None
    reference = Reference.parse(request.ref)
    return lambda root: signatures.sign_target(resolver, reference, root, sign)


def _push_by_daemon(backend: ImageBackend, request: PushRequest) -> Descriptor:
    """Have the daemon's Transfer service push the image."""
    image = expect_named(backend, request.target, "pushes")
    name_of(image.target, request.ref)
    with LoggedStep(_LOGGER, "push %s by the daemon", request.ref), backend.keeping():
        credentials, plain_http = for_daemon(request.resolver)
        try:
            backend.transfers().push(
                request.ref,
                image.name,
                platforms=Platforms(None),
                credentials=credentials,
                plain_http=plain_http,
                job=Job(request.progress),
            )
        except NotFound as error:
            if (missing := _missing(backend, request.ref, image.target)) is not None:
                raise missing from error
            raise
    return image.target


def _missing(backend: ImageBackend, name: str, target: Descriptor) -> NotFound | None:
    """Return the error for missing content, which says more than the daemon's error.

    Return ``None`` if no content is missing.
    """
    job = Job()
    contents = _StoreContents(backend.store, parse_name(name), job)
    try:
        Planner(contents, Choice(name), job, workers=Gate(job, None).workers).plan(target)
    except NotFound as error:
        error.remedy += '. Only via="client" can push a part'
        return error
    return None


def push(
    store: ContentStore,
    pusher: Pusher,
    name: str,
    *,
    target: Descriptor,
    platforms: Platforms | None,
    job: Job,
    max_concurrent_uploads: int | None = None,
    chunk_size: int | None = None,
    sparse: bool = False,
    before_name: Callable[[Descriptor], object] | None = None,
) -> Descriptor:
    """Push ``target`` and let ``name`` refer to it in the registry.

    When this function raises an error, all its uploads have ended.

    Args:
        store: The store to read from.
        pusher: Pushes the content.
        name: The reference to push to.
        target: The manifest or index to push.
        platforms: The platforms to push. ``None`` means all content that the target refers to.
            Unless ``sparse`` is set, an index is reduced to these platforms.
        job: The job that the push is part of.
        max_concurrent_uploads: How many blobs to push at a time. Default: as for ``Gate``.
        chunk_size: Bytes per chunk of a blob. Default: a blob is not divided into chunks.
        sparse: Whether an index is pushed unchanged even if some of its manifests are not pushed.
            If ``platforms`` is ``None``, a sparse push skips each manifest whose content is
            incomplete in the store.
        before_name: As for ``Delivery.run``.

    Returns:
        The descriptor that ``name`` refers to now.

    Raises:
        NotFound: Content is missing. The message lists the digests of the missing content.
        NoMatchingPlatform: The target lacks a wanted platform.
        DigestMismatch: ``name`` contains a digest that is not the digest of the pushed root.
    """
    contents = _StoreContents(store, parse_name(name), job)
    choice = Choice(name, platforms, sparse)
    gate = Gate(job, max_concurrent_uploads)
    with beside(getattr(pusher, "look_up_name", lambda: None), job):
        plan = Planner(contents, choice, job, workers=gate.workers).plan(target)
    Delivery(contents, pusher, job, gate=gate, chunk_size=chunk_size).run(name, plan, before_name)
    return plan.root


class _StoreContents:
    """The content of a store; implements ``Contents``.

    Args:
        store: The store.
        target: The reference to push to. ``None`` if the name to push to is not a reference.
        job: The job that the push is part of.
    """

    remedy = (
        "Push a part of the image with platform= or sparse=True, or fetch the missing content "
        "with fetch_missing"
    )

    def __init__(self, store: ContentStore, target: Reference | None, job: Job) -> None:
        self._store = store
        self._job = job
        self._target = target
        self._labels: dict[str, Mapping[str, str]] = {}
        #: Documents that were read, of up to ``MAX_DOCUMENT`` bytes together. Each is read for the
        #: plan, and again when it is pushed.
        self._documents: dict[str, bytes] = {}
        self._room = MAX_DOCUMENT

    def missing(self, contents: Sequence[Descriptor]) -> set[str]:
        """Return the digests of missing content, and record the labels of the other content."""
        found = self._store.infos(descriptor.digest for descriptor in contents)
        self._labels.update((digest, info.labels) for digest, info in found.items())
        return {each.digest for each in contents if each.digest not in found and each.data is None}

    def read(self, document: Descriptor) -> bytes:
        """Return the content of a manifest or index; see ``Contents.read``."""
        if document.data is not None:
            return document.data
        body = self._documents.get(document.digest)
        if body is None:
            body = read_blob(self._store, document, MAX_DOCUMENT)
            if len(body) <= self._room:
                self._documents[document.digest] = body
                self._room -= len(body)
        return body

    def open_at(self, blob: Descriptor, offset: int) -> BinaryIO:
        """Return a blob as a file that begins at ``offset``; see ``Contents.open_at``."""
        if blob.data is not None:
            return content_opener(blob.data)(offset)
        file = self._store.verified_reader(blob.digest, blob.size, partial(self._report, blob))
        file.seek(offset)
        return file

    def _report(self, blob: Descriptor, seen: int) -> None:
        self._job.check()
        self._job.report("verifying", blob.digest, seen, blob.size)

    def repositories(self, blob: Descriptor, parents: Sequence[Descriptor]) -> Sequence[str]:
        """Return the repositories that are named in the labels of the blob and of its parents.

        Repositories with paths similar to the path of the destination come first.
        """
        target = self._target
        if target is None:
            return ()
        found: set[str] = set()
        for descriptor in (blob, *parents):
            labels = self._labels.get(descriptor.digest, {})
            found.update(labels.get(source_key(target), "").split(","))
        found = {path for path in found if path != target.repository and _is_repository(path)}
        return sorted(found, key=lambda path: (-_common(path, target.repository), path))[
            :_MAX_MOUNTS
        ]


def _is_repository(text: str) -> bool:
    """Return whether ``text``, a part of a label's value, is a valid repository."""
    found = parse_name(f"localhost/{text}")
    return found is not None and found.repository == text


def _common(path: str, other: str) -> int:
    """Return how many components two paths have in common, counted from the start."""
    pairs = zip(path.split("/"), other.split("/"), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))

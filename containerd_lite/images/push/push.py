"""From a store to a registry."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import BinaryIO

from ...debug import LoggedStep
from ...errors import NotFound
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT
from ...oci.reference import Reference
from ...registry.openers import opener as content_opener
from ...store.protocol import ContentStore, read_blob
from ..concurrency import Gate
from ..gc_labels import source_key
from ..image import expect_named, name_and_target
from ..image_backend import ImageBackend
from ..job import Job
from ..names import name_of, parse_name
from ..platforms import Platforms
from ..resolver import Pusher, using
from ..via import Via, falling_back, is_for_daemon
from .delivery import Delivery
from .plan import Choice, Planner
from .push_requests import PushRequest

_LOGGER = logging.getLogger(__package__)

#: Repositories that are asked for a blob before it is uploaded.
_MOUNTS = 4


def push_image(backend: ImageBackend, request: PushRequest, via: Via) -> Descriptor:
    """As ``Client.push``."""
    if via == "auto" and isinstance(request.target, Descriptor):
        via = "client"  # the daemon pushes what has a name
    if is_for_daemon(backend, via, **request.only_for_client()):
        with falling_back(via):
            return _push_by_daemon(backend, request)
    job, step = Job(request.progress), LoggedStep(_LOGGER, "push %s", request.ref)
    with step, backend.keeping(), using(request.resolver, job.tell) as registries:
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
        )


def _push_by_daemon(backend: ImageBackend, request: PushRequest) -> Descriptor:
    image = expect_named(backend, request.target, "pushes")
    name_of(image.target, request.ref)
    with LoggedStep(_LOGGER, "push %s by the daemon", request.ref), backend.keeping():
        backend.transfers().push(
            request.ref, image.name, platforms=Platforms(None), job=Job(request.progress)
        )
    return image.target


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
) -> Descriptor:
    """Bring ``target`` to where ``name`` is; returns what the name stands for there now.

    Without ``platforms`` all goes along that the target refers to, and with ``sparse`` all of
    that which the store has.  With ``platforms`` an index is reduced to those, unless ``sparse``
    leaves it as it is.  ``chunk_size`` is in bytes.  Raises ``NotFound``, with the digests, for
    content that is missing, and what store and pusher raise; then no upload goes on.
    """
    contents = _Stored(store, parse_name(name))
    choice = Choice(name, platforms, sparse)
    gate = Gate(job, max_concurrent_uploads)
    plan = Planner(contents, choice, job, workers=gate.workers).plan(target)
    Delivery(contents, pusher, job, gate=gate, chunk_size=chunk_size).run(name, plan)
    return plan.root


class _Stored:
    """A store's content, on its way to ``target``; ``Contents``."""

    remedy = "Push what is here with platform= or sparse=True, or bring the rest with fetch_missing"

    def __init__(self, store: ContentStore, target: Reference | None) -> None:
        self._store = store
        self._target = target
        self._labels: dict[str, Mapping[str, str]] = {}

    def has(self, blob: Descriptor) -> bool:
        try:
            self._labels[blob.digest] = self._store.info(blob.digest).labels
        except NotFound:
            return blob.data is not None
        return True

    def read(self, document: Descriptor) -> bytes:
        if document.data is not None:
            return document.data
        return read_blob(self._store, document, MAX_DOCUMENT)

    def open_at(self, blob: Descriptor, offset: int) -> BinaryIO:
        if blob.data is not None:
            return content_opener(blob.data)(offset)
        file = self._store.reader(blob.digest)
        file.seek(offset)
        return file

    def repositories(self, blob: Descriptor, parents: Sequence[Descriptor]) -> Sequence[str]:
        """From the labels of the blob and its parents, the closest by path first."""
        target = self._target
        if target is None:
            return ()
        for parent in parents:
            if parent.digest not in self._labels:
                self.has(parent)
        found: set[str] = set()
        for one in (blob, *parents):
            labels = self._labels.get(one.digest, {})
            found.update(labels.get(source_key(target), "").split(","))
        found = {one for one in found if one != target.repository and _is_repository(one)}
        return sorted(found, key=lambda one: (-_shared(one, target.repository), one))[:_MOUNTS]


def _is_repository(text: str) -> bool:
    """Whether a label holds what a registry may be asked for."""
    found = parse_name(f"localhost/{text}")
    return found is not None and found.repository == text


def _shared(one: str, other: str) -> int:
    """How many components of the paths are the same at their beginning."""
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))

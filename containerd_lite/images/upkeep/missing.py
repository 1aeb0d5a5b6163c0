"""Fetches the missing content of an image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property

from ...debug import LoggedStep
from ...errors import InvalidArgument, RegistryUnavailable
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...store.documents import read_document
from ..gc_labels import child_labels
from ..image import ImageLike, name_and_target
from ..image_backend import ImageBackend
from ..job import Job
from ..platforms import Platforms, wanted_children
from ..pull.store_fetcher import StoreFetcher, check_document_size
from ..resolver import Fetcher, Reader, Resolver, using
from ..walk import Dispatcher
from .upkeep_request import FetchRequest

_LOGGER = logging.getLogger(__package__)


def fetch_missing(
    backend: ImageBackend, source: ImageLike, request: FetchRequest
) -> tuple[Descriptor, ...]:
    """Fetch the missing content of an image; see ``Client.fetch_missing``."""
    name, target = name_and_target(backend, source)
    platforms = request.platforms(backend)
    ref, job = request.ref or name, Job(request.progress)
    step = LoggedStep(_LOGGER, "fetch missing content of %s", ref)
    with step, backend.keeping(), using(request.resolver, job.report_event) as resolver:
        fetcher = StoreFetcher(LateFetcher(resolver, ref), ref, backend.store, job)
        return _fetch_missing(fetcher, target, platforms, workers=request.max_concurrent_downloads)


def _fetch_missing(
    source: StoreFetcher, target: Descriptor, platforms: Platforms, *, workers: int
) -> tuple[Descriptor, ...]:
    store, job = source.store, source.job
    present = {info.digest for info in store.walk()}
    fetched: dict[str, Descriptor] = {}

    def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
        check_document_size(descriptor)
        if descriptor.digest not in present:
            source.fetch_if_missing(descriptor)
            fetched[descriptor.digest] = descriptor
        if not media_types.is_document(descriptor.media_type):
            return ()
        document = read_document(store, descriptor)
        # The labels name all children, because a later call may fetch children that this call
        # skips.
        source.label(descriptor, child_labels(document.children))
        return wanted_children(document, platforms, source.name, is_root=descriptor == target)

    with Dispatcher(handle, workers, job) as work:
        work.add(target)
        work.wait()
    job.report("done", source.name)
    return tuple(fetched.values())


class LateFetcher:
    """A ``Fetcher`` that uses the resolver only when content is needed.

    So, if no content is missing, the name of the image need not be a reference. If the registry was
    unavailable once, all later fetches fail without a request.

    Args:
        resolver: The resolver that makes the real fetcher.
        ref: The reference to fetch from; ``""`` if the caller passed no reference.
    """

    def __init__(self, resolver: Resolver, ref: str) -> None:
        self._resolver = resolver
        self._ref = ref
        self._failure: RegistryUnavailable | None = None

    @cached_property
    def _fetcher(self) -> Fetcher:
        if not self._ref:
            raise InvalidArgument(
                "a descriptor does not say where its content comes from",
                remedy="Pass a reference with ref=",
            )
        return self._resolver.fetcher(self._ref)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """Return a reader of the content of ``descriptor``; see ``Fetcher.fetch``.

        Raises:
            InvalidArgument: The reference to fetch from is missing or invalid.
            RegistryUnavailable: The registry is unavailable, or was unavailable in an earlier call.
        """
        if self._failure is not None:
            raise self._failure
        try:
            return self._fetcher.fetch(descriptor, offset)
        except RegistryUnavailable as error:
            self._failure = error
            raise

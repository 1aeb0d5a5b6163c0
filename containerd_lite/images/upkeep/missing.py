"""Fetches the missing content of an image."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ...debug import LoggedStep
from ...errors import InvalidArgument, RegistryUnavailable, SignatureError
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...store.documents import read_document
from ..gc_labels import child_labels
from ..guards import guard_for
from ..image import ImageLike, name_and_target
from ..image_backend import ImageBackend
from ..job import Job
from ..platforms import Platforms, wanted_children
from ..pull.store_fetcher import StoreFetcher, check_document_size
from ..resolver import Fetcher, Reader, Resolver, using
from ..walk import Dispatcher
from .upkeep_request import FetchRequest

if TYPE_CHECKING:
    from ..signatures.verification import Guard

_LOGGER = logging.getLogger(__package__)


def fetch_missing(
    backend: ImageBackend, source: ImageLike, request: FetchRequest
) -> tuple[Descriptor, ...]:
    """Fetch the missing content of an image; see ``Client.fetch_missing``."""
    name, target = name_and_target(backend, source)
    platforms = request.platforms(backend)
    ref, job = request.ref or name, Job(request.progress)
    step = LoggedStep(_LOGGER, "fetch missing content of %s", ref)
    with (
        step,
        backend.keeping(),
        using(request.resolver, backend.host_caches, job.report_event) as resolver,
    ):
        late = LateFetcher(resolver, ref, target, guard_for(backend, request.policy))
        fetcher = StoreFetcher(late, ref, backend.store, job, before_write=late.check_policies)
        return _fetch_missing(fetcher, target, platforms, workers=request.max_concurrent_downloads)


def _fetch_missing(
    source: StoreFetcher, target: Descriptor, platforms: Platforms, *, workers: int
) -> tuple[Descriptor, ...]:
    store, job = source.store, source.job
    present = {info.digest for info in store.walk()}
    fetched: dict[str, Descriptor] = {}

    def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
        check_document_size(descriptor)
        if descriptor.digest in present:
            job.report("exists", descriptor.digest, descriptor.size, descriptor.size)
        else:
            source.fetch_if_missing(descriptor)
            fetched[descriptor.digest] = descriptor
        if not media_types.is_document(descriptor.media_type):
            return ()
        document = read_document(store, descriptor)
        # The labels name all children, because a later call may fetch children that this call
        # skips.
        source.label(descriptor, child_labels(document.children))
        children = wanted_children(document, platforms, source.name, is_root=descriptor == target)
        job.expect(children, descriptor)
        return children

    job.expect([target])
    with Dispatcher(handle, workers, job) as work:
        work.add(target)
        work.wait()
    job.report("done", source.name)
    return tuple(fetched.values())


class LateFetcher:
    """A ``Fetcher`` that uses the resolver only when content is needed.

    So, if no content is missing, the name of the image need not be a reference, and no policy is
    applied. If the registry was unavailable once, or a policy does not accept the image, all later
    fetches fail without a request.

    Args:
        resolver: The resolver that makes the real fetcher.
        ref: The reference to fetch from; ``""`` if the caller passed no reference.
        target: The manifest or index of the image.
        guard: What verifies the image before its first content is fetched.
    """

    def __init__(
        self, resolver: Resolver, ref: str, target: Descriptor, guard: Guard | None
    ) -> None:
        self._resolver = resolver
        self._ref = ref
        self._target = target
        self._guard = guard
        self._is_accepted = False
        self._failure: RegistryUnavailable | SignatureError | None = None
        self._lock = threading.Lock()

    @cached_property
    def _fetcher(self) -> Fetcher:
        if not self._ref:
            raise InvalidArgument(
                "a descriptor does not say where its content comes from",
                remedy="Pass a reference with ref=",
            )
        return self._resolver.fetcher(self._ref)

    def check_policies(self) -> None:
        """Verify the image before its first content is fetched.

        Call this method before each write, too. A daemon can have the content in another namespace,
        and then nothing is fetched.

        Raises:
            SignatureError: A policy does not accept the image.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._guard is None or self._is_accepted:
                return
            try:
                self._guard.check_pull(self._resolver, self._ref, self._target)
            except SignatureError as error:
                self._failure = error
                raise
            self._is_accepted = True

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """Return a reader of the content of ``descriptor``; see ``Fetcher.fetch``.

        Raises:
            InvalidArgument: The reference to fetch from is missing or invalid.
            RegistryUnavailable: The registry is unavailable, or was unavailable in an earlier call.
            SignatureError: A policy does not accept the image.
        """
        self.check_policies()
        try:
            return self._fetcher.fetch(descriptor, offset)
        except RegistryUnavailable as error:
            self._failure = error
            raise

"""Pulls an image from a registry into a store."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

from ...debug import LoggedStep
from ...errors import InvalidArgument
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...oci.image_record import CONVERTED, REPAIRED, digest_in
from ...records import replace
from ...registry.registry_access import for_daemon
from ...store.write_locks import write_lock
from ...workers import Workers, result_when_done
from .. import daemon
from ..concurrency import USUAL_LARGE
from ..guards import guard_for
from ..image import Image
from ..image_backend import ImageBackend
from ..job import Job
from ..names import full_name
from ..platforms import only_one
from ..resolver import using
from ..tally import Tally
from ..via import Via, falling_back, is_for_daemon
from .convert_manifest import repair_octet_config
from .fetch_walk import FetchWalk
from .pull_request import PullRequest
from .store_fetcher import StoreFetcher

if TYPE_CHECKING:
    from ..signatures.verification import Guard

_LOGGER = logging.getLogger(__package__)

#: The maximum number of attempts to pull an image if the daemon restarts during each attempt.
_MOST_TRIES = 5


def pull_image(backend: ImageBackend, request: PullRequest, via: Via) -> Image:
    """Pull an image; see ``Client.pull``."""
    backend = backend.with_defaults(
        platform=only_one(request.platform), snapshotter=request.snapshotter
    )
    if request.discard_layers and not backend.has_snapshots:
        raise InvalidArgument(
            "discard_layers= needs a daemon: a layout unpacks no layers",
            remedy="Leave discard_layers= out",
        )
    by_daemon = is_for_daemon(backend, via, **request.only_for_client())
    guard = guard_for(backend, request.policy)
    lease = request.lease(backend)
    # Pulls that can resume each other share one lease, and the first successful pull deletes the
    # lease. So these pulls run one after the other.
    lock = write_lock(("resume", backend.store.identity, lease), lambda: None)
    step, tally = LoggedStep(_LOGGER, "pull %s", request.ref), Tally()
    with step, lock if lease else nullcontext(), backend.keeping(lease):
        if by_daemon:
            with falling_back(via):  # containerd 1.7 refuses some options only during the transfer
                return _pull_by_daemon(backend, request, guard, Job(request.progress, tally))
        return _retry_after_restarts(
            backend,
            lambda job: _pull_here(backend, request, guard, job),
            lambda: Job(request.progress, tally, keeps_partial=request.resume),
        )


def _pull_by_daemon(
    backend: ImageBackend, request: PullRequest, guard: Guard | None, job: Job
) -> Image:
    """Have the daemon's Transfer service pull the image.

    If policies apply, this process verifies the image first. The daemon then pulls the digest that
    was verified.
    """
    transfers, platforms = backend.transfers(), request.platforms(backend)
    verdict = None
    if guard is not None:
        with using(request.resolver, backend.host_caches) as resolver:
            full, target = resolver.resolve(request.ref)
            verdict = guard.check_pull(resolver, full, target, platforms)
    wanted = platforms.wanted or ()
    to_unpack = wanted[0] if len(wanted) == 1 else backend.platform
    changes, name = daemon.NameChanges(backend), full_name(request.ref)
    saved: list[str] = []
    with changes.restoring(saved):
        with Workers(2, "containerd-lite-pull") as workers:
            # The workers ask the daemon while the streams of the transfer are opened.
            remembered = workers.submit(changes.remember, name)
            snapshotter = workers.submit(_snapshotter, backend, request)

            def ready() -> str:
                result_when_done(remembered)
                workers.submit(changes.read_ahead)  # during the transfer
                return result_when_done(snapshotter)

            credentials, plain_http = for_daemon(request.resolver)
            transfers.pull(
                request.ref,
                credentials=credentials,
                plain_http=plain_http,
                digest=verdict.digest if verdict else "",
                platforms=platforms,
                unpack=to_unpack if request.unpack else None,
                snapshotter=ready,
                all_metadata=request.all_metadata,
                labels=request.labels,
                saved=saved,
                job=job,
            )
        (image,) = changes.accept([name], platforms)
        if request.unpack:
            daemon.unpack_skipped(image, platforms, snapshotter.result())
    return Image(backend, image.info, is_by_daemon=True, verdict=verdict)


def _snapshotter(backend: ImageBackend, request: PullRequest) -> str:
    """Return the name of the snapshotter to unpack into, ``""`` if nothing is unpacked.

    Without a name, the daemon would use its own default, not the default of this client.
    """
    return backend.snapshots(request.snapshotter).snapshotter if request.unpack else ""


def _retry_after_restarts(
    backend: ImageBackend, work: Callable[[Job], Image], new_job: Callable[[], Job]
) -> Image:
    """Call ``work``; repeat the call if the daemon has restarted or a deleted lease is restored.

    Content that an earlier call has stored is not fetched again.
    """
    for tries_left in reversed(range(_MOST_TRIES)):
        job = new_job()
        try:
            return work(job)
        except Exception as error:
            if job.is_cancelled or not tries_left or not backend.is_back(error):
                raise
    raise AssertionError("unreachable")


def _pull_here(backend: ImageBackend, request: PullRequest, guard: Guard | None, job: Job) -> Image:
    """Fetch the image, unpack it at the same time, and give it its name.

    When this function raises an error, all its threads have ended.

    Raises:
        NotFound: The image or some of its content does not exist.
        NoMatchingPlatform: The image lacks a wanted platform.
        InvalidArgument: A manifest, index or config is invalid.
        SignatureError: A policy does not accept the image.
    """
    with using(request.resolver, backend.host_caches, job.report_event) as resolver:
        job.report("resolving", request.ref)
        name, target = resolver.resolve(request.ref)
        job.report("resolved", name, 0, target.size)
        verdict = None
        if guard is not None:
            verdict = guard.check_pull(resolver, name, target, request.platforms(backend))
        source = StoreFetcher(resolver.fetcher(name), name, backend.store, job)
        labels = dict(request.labels or {})
        if media_types.may_be_schema1(target.media_type):
            labels[CONVERTED] = target.digest
            target = _convert_schema1(source, target, request)
            source = replace(source, is_labelled=False)
        job.expect([target])
        walk = FetchWalk(request, backend, source, target)
        unpacked = walk.run()
        if walk.has_octet_config:
            repaired = repair_octet_config(backend.store, target, job)
            if digest_in(name) and repaired != target:
                labels[REPAIRED] = target.digest
            target = repaired
        job.report("done", name)
    exists = source.content.holds(target.digest)
    record = backend.names.put(name, target, labels, exists=exists)
    is_lazy = any(manifest.is_lazy for manifest in unpacked)
    return Image(backend, record, is_lazy=is_lazy, verdict=verdict)


def _convert_schema1(source: StoreFetcher, target: Descriptor, request: PullRequest) -> Descriptor:
    """Fetch and convert a schema 1 image; return the descriptor of the new manifest.

    Raises:
        InvalidArgument: The caller has not asked for the conversion.
    """
    if not request.convert_schema1:
        raise InvalidArgument(
            f"{source.name} is a Docker schema 1 image, which must be converted",
            remedy="Pull the image with convert_schema1=True, or push it again with a current tool",
        )
    from .convert_schema1 import convert  # imported here, because few pulls convert an image

    workers = request.max_concurrent_downloads or USUAL_LARGE
    return convert(source.fetcher, source.store, source.name, target, source.job, workers=workers)

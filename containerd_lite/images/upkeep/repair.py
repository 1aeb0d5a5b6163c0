"""Bringing back content that is not what its digest says.

What lives here: the walk that mends, and what it takes to write a digest anew.  What may not:
finding out what is broken (``check``); which images; the lease over it all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import cast

from ...debug import LoggedStep
from ...errors import (
    Aborted,
    Cancelled,
    ContainerdError,
    DataLoss,
    InvalidArgument,
    NoMatchingPlatform,
    NotFound,
    is_away,
)
from ...oci import media_types
from ...oci.content import ContentInfo
from ...oci.descriptor import Descriptor
from ...records import record
from ...store.documents import read_document
from ...store.protocol import ContentStore, Writer
from ...store.write_locks import write_lock
from ..gc_labels import child_labels
from ..image import ImageLike, name_and_target
from ..image_backend import ImageBackend, Replacer
from ..job import Job, side_by_side
from ..platforms import wanted_children
from ..pull.fetch_blob import fetch_blob
from ..pull.store_fetcher import StoreFetcher, expect_bounded
from ..resolver import Resolver, using
from ..walk import Dispatcher, children_in
from .missing import LateFetcher
from .upkeep_request import FetchRequest
from .verify import HASHERS, find_fault

_LOGGER = logging.getLogger(__package__)

_Found = Sequence[Descriptor]


@record(frozen=True)
class RepairReport:
    """Digests: ``repaired`` had other bytes, ``fetched`` was missing; ``checked`` counts all."""

    checked: int
    repaired: tuple[str, ...]
    fetched: tuple[str, ...]

    def __repr__(self) -> str:
        done = f"{len(self.repaired)} repaired, {len(self.fetched)} fetched"
        return f"<RepairReport {self.checked} checked, {done}>"


def repair_images(
    backend: ImageBackend, sources: Sequence[ImageLike], request: FetchRequest
) -> RepairReport:
    """As ``Client.repair``."""
    images = [name_and_target(backend, source) for source in sources]
    if not sources:
        images = [(found.name, found.target) for found in backend.names.list()]
    step, tell = LoggedStep(_LOGGER, "repair %d images", len(images)), Job(request.progress).tell
    with step, backend.keeping(), using(request.resolver, tell) as resolver:
        repair = Repair(backend, request, resolver)
        if not sources:
            repair.everything(images)
        for name, target in images if sources else ():
            repair.image(request.ref or name, target)
    return repair.report()  # not within the block: what has been repaired stays


class Repair:
    """One repair of a store, of several images, one after the other."""

    def __init__(self, backend: ImageBackend, request: FetchRequest, resolver: Resolver) -> None:
        self._store = backend.store
        self._replacer = backend.replacer()
        self._resolver = resolver
        self._platforms = request.platforms(backend)
        self._progress = request.progress
        self._workers = request.max_concurrent_downloads
        self._good: set[str] = set()
        self._failures: dict[str, ContainerdError] = {}
        self._repaired: list[str] = []
        self._fetched: list[str] = []

    def image(self, ref: str, target: Descriptor, *allowed: type[ContainerdError]) -> None:
        """Mend what ``target`` refers to, from ``ref``.

        What is broken is mended of all that is here, what is missing of the platforms wanted.
        Errors that are ``allowed`` end the search for the latter.
        """
        tried: set[str] = set()
        with suppress(*allowed):
            self._walk(ref, target, partial(self._wanted, tried))
        self._walk(ref, target, partial(self._present, tried))

    def everything(self, images: Iterable[tuple[str, Descriptor]]) -> None:
        """Mend all images, by name and target, and look at what no image refers to.

        An image that has none of the platforms wanted lacks nothing; one whose documents are not
        what they should be keeps nobody from mending the others.
        """
        for ref, target in images:
            try:
                self.image(ref, target, NoMatchingPlatform)
            except (InvalidArgument, DataLoss) as error:
                self._failures[target.digest] = error
        self._rest()

    def _walk(
        self,
        ref: str,
        target: Descriptor,
        handle: Callable[[StoreFetcher, Descriptor, Descriptor], _Found],
    ) -> None:
        job = Job(self._progress)
        source = StoreFetcher(LateFetcher(self._resolver, ref), ref, self._store, job)
        with Dispatcher(partial(handle, source, target), self._workers, job) as work:
            work.add(target)
            work.wait()

    def _wanted(
        self, tried: set[str], source: StoreFetcher, root: Descriptor, one: Descriptor
    ) -> _Found:
        tried.add(one.digest)
        if not self._mend(source, one, fetch=True) or not media_types.is_document(one.media_type):
            return ()
        document = read_document(self._store, one)
        source.label(one, child_labels(document.children))
        return wanted_children(document, self._platforms, source.name, is_root=one == root)

    def _present(
        self, tried: set[str], source: StoreFetcher, root: Descriptor, one: Descriptor
    ) -> _Found:
        if one.digest not in tried:
            self._mend(source, one, fetch=False)
        return tuple(children_in(self._store)(one)) if one.digest in self._good else ()

    def _mend(self, source: StoreFetcher, descriptor: Descriptor, *, fetch: bool) -> bool:
        """Whether the blob is here and good, now."""
        digest = descriptor.digest
        try:
            # One blob may be two descriptors' at a time.
            with write_lock(("repair", self._store.identity, digest), source.job.check):
                if digest not in self._good and self._make_good(source, descriptor, fetch):
                    self._good.add(digest)
                    self._failures.pop(digest, None)
        except ContainerdError as error:
            if isinstance(error, Cancelled) or is_away(error):
                raise
            self._failures[digest] = error
        return digest in self._good

    def _make_good(self, source: StoreFetcher, descriptor: Descriptor, fetch: bool) -> bool:
        digest, store, done = descriptor.digest, self._store, None
        expect_bounded(descriptor)
        try:
            info = store.info(digest)
        except NotFound:
            if not fetch:
                return False
            source.bring(descriptor)
            info, done = store.info(digest), self._fetched
        # What was missing is looked at, too: the daemon may have taken it from another namespace.
        if find_fault(store, digest, info.size, source.job) is not None:
            self._replace(source, descriptor, info.labels)
            done = self._repaired
        if done is not None:
            done.append(digest)
        return True

    def _replace(
        self, source: StoreFetcher, descriptor: Descriptor, labels: Mapping[str, str]
    ) -> None:
        staging = cast(ContentStore, _Staging(self._store, self._replacer))
        fetch_blob(source.fetcher, staging, descriptor, labels, source.job)
        # A daemon takes good bytes and leaves the broken where they are, as long as somebody
        # writes that digest in another namespace: it says nothing of it.
        if find_fault(self._store, descriptor.digest, descriptor.size, source.job) is not None:
            raise Aborted(
                f"a write in another namespace holds the broken content of {descriptor.digest}",
                remedy="Repair again when that is done",
            )

    def _rest(self) -> None:
        """Look at what no image refers to: nobody knows where it could come from."""
        job = Job(self._progress)
        seen = self._good | self._failures.keys()

        def look(info: ContentInfo) -> None:
            if find_fault(self._store, info.digest, info.size, job) is None:
                self._good.add(info.digest)
            else:
                self._failures[info.digest] = DataLoss(
                    f"{info.digest} is broken, and no image refers to it", remedy="Delete it"
                )

        unseen = [one for one in self._store.walk() if one.digest not in seen]
        side_by_side(look, unseen, job, HASHERS)

    def report(self) -> RepairReport:
        """Raises ``DataLoss`` if anything could not be mended; ``joined`` says why, of each."""
        if self._failures:
            digest, cause = next(iter(self._failures.items()))
            lost = DataLoss(
                f"{len(self._failures)} could not be repaired; {digest}: {cause.message}",
                remedy="Name a reference that has it with ref=, or delete the image",
            )
            lost.joined = tuple(self._failures.values())
            raise lost from cause
        return RepairReport(len(self._good), tuple(self._repaired), tuple(self._fetched))


class _Staging:
    """A store in which a digest that is there, broken, can be written; made for ``fetch_blob``."""

    def __init__(self, store: ContentStore, replacer: Replacer) -> None:
        self._store = store
        self._replacer = replacer

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def writer(self, ref: str, *, size: int = 0, expected: str = "") -> Writer:
        return self._replacer.replacing_writer(ref, size=size, expected=expected)

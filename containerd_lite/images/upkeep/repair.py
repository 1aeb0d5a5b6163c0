"""Replaces content that does not match its digest, and fetches missing content."""

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
    SignatureError,
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
from ..guards import guard_for
from ..image import ImageLike, name_and_target
from ..image_backend import ImageBackend, Replacer
from ..job import Job, side_by_side
from ..platforms import wanted_children
from ..pull.fetch_blob import fetch_blob
from ..pull.store_fetcher import StoreFetcher, check_document_size
from ..resolver import Resolver, using
from ..tally import Tally
from ..walk import Dispatcher, children_in, walk
from .missing import LateFetcher
from .upkeep_request import FetchRequest
from .verify import HASHERS, find_fault, present_sizes

_LOGGER = logging.getLogger(__package__)

_Children = Sequence[Descriptor]


@record(frozen=True)
class RepairReport:
    """The result of a repair.

    Attributes:
        checked: How many blobs were checked. All of them are sound now.
        repaired: The digests of blobs that were broken.
        fetched: The digests of blobs that were missing.
    """

    checked: int
    repaired: tuple[str, ...]
    fetched: tuple[str, ...]

    def __repr__(self) -> str:
        counts = f"{len(self.repaired)} repaired, {len(self.fetched)} fetched"
        return f"<RepairReport {self.checked} checked, {counts}>"


def repair_images(
    backend: ImageBackend, sources: Sequence[ImageLike], request: FetchRequest
) -> RepairReport:
    """Repair images; see ``Client.repair``."""
    images = [name_and_target(backend, source) for source in sources]
    if not sources:
        images = [(found.name, found.target) for found in backend.names.list()]
    step, tally = LoggedStep(_LOGGER, "repair %d images", len(images)), Tally(verifies=True)
    job = Job(request.progress, tally)
    with (
        step,
        backend.keeping(),
        using(request.resolver, backend.host_caches, job.report_event) as resolver,
    ):
        if job.progress is not None:
            targets = [target for _, target in images]
            for digest, size in present_sizes(backend.store, targets if sources else ()).items():
                job.report("waiting", digest, 0, size)
            job.expect(targets)
        repair = Repair(backend, request, resolver, tally)
        for name, target in images if job.progress is not None else ():
            repair.expect(request.ref or name, target)
        if not sources:
            repair.everything(images)
        for name, target in images if sources else ():
            repair.image(request.ref or name, target)
    # ``report`` can raise an error. Inside the block, the error would cause the fetched content to
    # be deleted.
    return repair.report()


class Repair:
    """Repairs several images of a store, one after the other.

    Args:
        backend: The backend of the images.
        request: The arguments of the repair.
        resolver: Finds the content to fetch.
        tally: Counts the bytes of the repair.
    """

    def __init__(
        self, backend: ImageBackend, request: FetchRequest, resolver: Resolver, tally: Tally
    ) -> None:
        self._store = backend.store
        self._replacer = backend.replacer()
        self._resolver = resolver
        self._guard = guard_for(backend, request.policy)
        self._platforms = request.platforms(backend)
        self._new_job = partial(Job, request.progress, tally)
        self._workers = request.max_concurrent_downloads
        self._good: set[str] = set()
        self._failures: dict[str, ContainerdError] = {}
        self._repaired: list[str] = []
        self._fetched: list[str] = []

    def expect(self, ref: str, target: Descriptor) -> None:
        """Add the wanted content of one image to the tally.

        The content below a manifest or index that is missing or broken is added when the repair has
        read this manifest or index.
        """
        job = self._new_job()

        def wanted(item: Descriptor) -> _Children:
            if not media_types.is_document(item.media_type):
                return ()
            try:
                document = read_document(self._store, item)
                children = wanted_children(document, self._platforms, ref, is_root=item == target)
            except (NotFound, DataLoss, InvalidArgument):
                return ()
            job.expect(children, item)
            return children

        for _ in walk(wanted, target):
            pass

    def image(self, ref: str, target: Descriptor, *allowed: type[ContainerdError]) -> None:
        """Replace the broken content of one image, and fetch its missing content.

        Broken content is replaced for all platforms. Missing content is fetched only for the wanted
        platforms.

        Args:
            ref: The reference to fetch from.
            target: The descriptor of the image's manifest or index.
            *allowed: Classes of errors that end the search for missing content, but are not raised.
        """
        tried: set[str] = set()
        with suppress(*allowed):
            self._walk(ref, target, partial(self._repair_wanted, tried))
        self._walk(ref, target, partial(self._repair_present, tried))

    def everything(self, images: Iterable[tuple[str, Descriptor]]) -> None:
        """Repair all images, then check the content that no image refers to.

        If an image lacks a wanted platform, its missing content is not fetched. If a manifest or
        index of an image is invalid, or a policy does not accept an image, the other images are
        still repaired.

        Args:
            images: The names and the descriptors of the images.
        """
        for ref, target in images:
            try:
                self.image(ref, target, NoMatchingPlatform)
            except (InvalidArgument, DataLoss, SignatureError) as error:
                self._failures[target.digest] = error
        self._check_unreferenced()

    def _walk(
        self,
        ref: str,
        target: Descriptor,
        handle: Callable[[StoreFetcher, Descriptor, Descriptor], _Children],
    ) -> None:
        """Call ``handle`` with each descriptor of an image, in several threads."""
        job = self._new_job()
        late = LateFetcher(self._resolver, ref, target, self._guard)
        source = StoreFetcher(late, ref, self._store, job, before_write=late.check_policies)
        with Dispatcher(partial(handle, source, target), self._workers, job) as work:
            work.add(target)
            work.wait()

    def _repair_wanted(
        self, tried: set[str], source: StoreFetcher, root: Descriptor, item: Descriptor
    ) -> _Children:
        """Repair or fetch ``item``, and return its wanted children."""
        tried.add(item.digest)
        if not self._repair(source, item, fetch=True) or not media_types.is_document(
            item.media_type
        ):
            return ()
        document = read_document(self._store, item)
        source.label(item, child_labels(document.children))
        children = wanted_children(document, self._platforms, source.name, is_root=item == root)
        source.job.expect(children, item)
        return children

    def _repair_present(
        self, tried: set[str], source: StoreFetcher, root: Descriptor, item: Descriptor
    ) -> _Children:
        """Repair ``item`` if the store has it, and return all its children."""
        if item.digest not in tried:
            self._repair(source, item, fetch=False)
        return tuple(children_in(self._store)(item)) if item.digest in self._good else ()

    def _repair(self, source: StoreFetcher, descriptor: Descriptor, *, fetch: bool) -> bool:
        """Repair a blob; return whether the store has a sound blob now.

        If the blob cannot be repaired, record the error. A missing blob is fetched only if
        ``fetch`` is true.
        """
        digest = descriptor.digest
        try:
            # Two threads may handle descriptors of the same blob at the same time.
            with write_lock(("repair", self._store.identity, digest), source.job.check):
                if digest not in self._good and self._make_good(source, descriptor, fetch):
                    self._good.add(digest)
                    self._failures.pop(digest, None)
        except ContainerdError as error:
            if isinstance(error, Cancelled | SignatureError) or is_away(error):
                raise
            self._failures[digest] = error
        return digest in self._good

    def _make_good(self, source: StoreFetcher, descriptor: Descriptor, fetch: bool) -> bool:
        """Check a blob; replace a broken blob, and fetch a missing blob.

        Return false if the blob is missing and ``fetch`` is false.
        """
        digest, store, changed = descriptor.digest, self._store, None
        check_document_size(descriptor)
        try:
            info = store.info(digest)
        except NotFound:
            if not fetch:
                return False
            source.fetch_if_missing(descriptor)
            info, changed = store.info(digest), self._fetched
        # A fetched blob is checked, too: the daemon may have used the bytes of another namespace.
        if find_fault(store, digest, info.size, source.job) is not None:
            self._replace(source, descriptor, info.labels)
            changed = self._repaired
        if changed is not None:
            changed.append(digest)
        return True

    def _replace(
        self, source: StoreFetcher, descriptor: Descriptor, labels: Mapping[str, str]
    ) -> None:
        """Fetch a broken blob again, and replace the broken content."""
        replacing_store = cast(ContentStore, _ReplacingStore(self._store, self._replacer))
        fetch_blob(source.fetcher, replacing_store, descriptor, labels, source.job)
        # If another client writes the same blob in another namespace meanwhile, the daemon accepts
        # the good bytes without an error, but keeps the broken bytes.
        if find_fault(self._store, descriptor.digest, descriptor.size, source.job) is not None:
            raise Aborted(
                f"{descriptor.digest} cannot be replaced during a write in another namespace",
                remedy="Repair again when that write has ended",
            )

    def _check_unreferenced(self) -> None:
        """Check the content that no image refers to.

        Broken content that no image refers to cannot be repaired, because its registry is unknown.
        """
        job = self._new_job()
        job.seal()  # all content of the store is known
        seen = self._good | self._failures.keys()

        def check(info: ContentInfo) -> None:
            if find_fault(self._store, info.digest, info.size, job) is None:
                self._good.add(info.digest)
            else:
                self._failures[info.digest] = DataLoss(
                    f"{info.digest} is broken, and no image refers to it", remedy="Delete it"
                )

        unseen = [info for info in self._store.walk() if info.digest not in seen]
        side_by_side(check, unseen, job, HASHERS)

    def report(self) -> RepairReport:
        """Return the report.

        Raises:
            DataLoss: Some blobs could not be repaired. ``joined`` contains an error for each of
                these blobs.
        """
        if self._failures:
            digest, cause = next(iter(self._failures.items()))
            failure = DataLoss(
                f"could not repair {len(self._failures)} blob(s); {digest}: {cause.message}",
                remedy="Pass ref= with a reference to a repository that has the content, "
                "or delete the image",
            )
            failure.joined = tuple(self._failures.values())
            raise failure from cause
        return RepairReport(len(self._good), tuple(self._repaired), tuple(self._fetched))


class _ReplacingStore:
    """A store whose writers replace broken content, for use by ``fetch_blob``."""

    def __init__(self, store: ContentStore, replacer: Replacer) -> None:
        self._store = store
        self._replacer = replacer

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def writer(self, ref: str, *, size: int = 0, expected: str = "") -> Writer:
        return self._replacer.replacing_writer(ref, size=size, expected=expected)

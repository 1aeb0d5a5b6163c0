"""Bringing back content that is not what its digest says.

What lives here: the walk that mends, and what it takes to write a digest anew.  What may not:
finding out what is broken (``check``); which images; the lease over it all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

from ..errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    ContainerdError,
    DataLoss,
    InvalidArgument,
    NoMatchingPlatform,
    NotFound,
)
from ..oci import digest as digests
from ..oci import media_types
from ..oci.content import ContentInfo
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import parse
from ..progress import ProgressCallback
from ..services.content import ContentService
from ..services.keeping import collect, is_away, keeping
from ..services.leases import LeaseService
from ..services.namespaces import NamespaceService
from ..store.daemon import DaemonStore
from ..store.layout import LayoutStore
from ..store.protocol import ContentStore, Writer, read_blob
from .check import LateFetcher
from .fetch import fetch_blob
from .job import Job, side_by_side
from .labels import child_labels
from .platforms import Platforms, wanted_children
from .resolver import Resolver
from .source import Source, expect_bounded
from .turns import turn
from .verify import HASHERS, find_fault
from .walk import Dispatcher, children_in

_BUFFER = 1 << 20
#: How long garbage collection may take (seconds), and what is kept meanwhile.
_COLLECTION = 120.0
_KEPT = 3600.0
#: Labels by which one blob keeps content and snapshots alive.
_REFERENCES = "containerd.io/gc.ref."

_Found = Sequence[Descriptor]


@dataclass(frozen=True)
class RepairReport:
    """Digests: ``repaired`` had other bytes, ``fetched`` was missing; ``checked`` counts all."""

    checked: int
    repaired: tuple[str, ...]
    fetched: tuple[str, ...]

    def __repr__(self) -> str:
        done = f"{len(self.repaired)} repaired, {len(self.fetched)} fetched"
        return f"<RepairReport {self.checked} checked, {done}>"


# ---- repair --------------------------------------------------------------------------------


class Repair:
    """One repair of a store, of several images, one after the other."""

    def __init__(
        self,
        store: ContentStore,
        ground: Ground,
        resolver: Resolver,
        platforms: Platforms,
        progress: ProgressCallback | None,
        workers: int,
    ) -> None:
        self._store = store
        self._ground = ground
        self._resolver = resolver
        self._platforms = platforms
        self._progress = progress
        self._workers = workers
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
        handle: Callable[[Source, Descriptor, Descriptor], _Found],
    ) -> None:
        job = Job(self._progress)
        source = Source(LateFetcher(self._resolver, ref), ref, self._store, job)
        with Dispatcher(partial(handle, source, target), self._workers, job) as work:
            work.add(target)
            work.wait()

    def _wanted(self, tried: set[str], source: Source, root: Descriptor, one: Descriptor) -> _Found:
        tried.add(one.digest)
        if not self._mend(source, one, fetch=True) or not media_types.is_document(one.media_type):
            return ()
        document = parse(read_blob(self._store, one, MAX_DOCUMENT), one.media_type)
        source.label(one, child_labels(document.children))
        return wanted_children(document, self._platforms, source.name, is_root=one == root)

    def _present(
        self, tried: set[str], source: Source, root: Descriptor, one: Descriptor
    ) -> _Found:
        if one.digest not in tried:
            self._mend(source, one, fetch=False)
        return tuple(children_in(self._store)(one)) if one.digest in self._good else ()

    def _mend(self, source: Source, descriptor: Descriptor, *, fetch: bool) -> bool:
        """Whether the blob is here and good, now."""
        digest = descriptor.digest
        try:
            # One blob may be two descriptors' at a time.
            with turn(("repair", self._store.identity, digest), source.job.check):
                if digest not in self._good and self._make_good(source, descriptor, fetch):
                    self._good.add(digest)
                    self._failures.pop(digest, None)
        except ContainerdError as error:
            if isinstance(error, Cancelled) or is_away(error):
                raise
            self._failures[digest] = error
        return digest in self._good

    def _make_good(self, source: Source, descriptor: Descriptor, fetch: bool) -> bool:
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

    def _replace(self, source: Source, descriptor: Descriptor, labels: Mapping[str, str]) -> None:
        staging = cast(ContentStore, _Staging(self._store, self._ground))
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


# ---- writing a digest anew -----------------------------------------------------------------


class Ground(Protocol):
    """What lies below a store."""

    def writer(self, ref: str, *, size: int, expected: str) -> Writer:
        """Begin or resume a write of what is there, broken, and stays until the commit."""


class FolderGround:
    """The files of a layout."""

    def __init__(self, store: ContentStore) -> None:
        self._store = cast(LayoutStore, store)

    def writer(self, ref: str, *, size: int, expected: str) -> Writer:
        return self._store.replacing_writer(ref, size=size, expected=expected)


class DaemonGround:
    """The blobs of a daemon, which all namespaces share.

    A namespace that deletes content only forgets it.  The bytes go with the next garbage
    collection, once no namespace knows them; until then a write of the digest gets them again,
    broken as they are (metadata/content.go; so it is in 1.6, 1.7 and 2.x).
    """

    def __init__(
        self, content: ContentService, leases: LeaseService, namespaces: NamespaceService
    ) -> None:
        self._content = content
        self._leases = leases
        self._namespaces = namespaces
        self._lock = threading.Lock()

    def writer(self, ref: str, *, size: int, expected: str) -> Writer:
        return _StagedWriter(
            DaemonStore(self._content).writer(ref, size=size), self, expected, size
        )

    @contextmanager
    def cleared(self, digest: str) -> Iterator[None]:
        """Within the block the content of ``digest`` is gone, so that it can be written anew.

        Every namespace that had it has it, with its labels, after the block.
        """
        with self._lock, ExitStack() as stack:
            for namespace in self._namespaces.list():
                stack.enter_context(self._forgotten(namespace.name, digest))
            collect(self._leases, _COLLECTION)
            yield

    @contextmanager
    def _forgotten(self, namespace: str, digest: str) -> Iterator[None]:
        content = self._content.with_options(namespace=namespace)
        try:
            info = content.info(digest)
        except NotFound:
            yield
            return
        store = DaemonStore(content)
        own = DaemonStore(self._content)
        with keeping(self._leases.with_options(namespace=namespace), _KEPT):
            double = _stand_in(store, info)
            try:
                store.delete(digest)
                yield
                _give_back(own, store, info)
            except BaseException:
                with suppress(ContainerdError):  # as it was, if the bytes are still there
                    _give_back(own, store, info)
                raise
            finally:
                with suppress(NotFound):
                    store.delete(double)


def _stand_in(store: ContentStore, info: ContentInfo) -> str:
    """Other content, which keeps alive what the blob keeps alive; returns its digest."""
    body = f"stand-in for {info.digest} {os.urandom(8).hex()}".encode()
    labels = {key: value for key, value in info.labels.items() if key.startswith(_REFERENCES)}
    digest = digests.of(body)
    with store.writer(f"stand-in-{digest}", size=len(body), expected=digest) as writer:
        writer.write(body)
        return writer.commit(labels)


def _give_back(source: ContentStore, store: ContentStore, info: ContentInfo) -> None:
    """Let a namespace have a blob as it had it, out of one that has it."""
    ref = f"repair-{info.digest}"
    try:
        with store.writer(ref, size=info.size, expected=info.digest) as writer:
            if writer.offset < info.size:  # namespaces that do not share
                with source.reader(info.digest) as file:
                    file.seek(writer.offset)
                    while data := file.read(_BUFFER):
                        writer.write(data)
            writer.commit(info.labels)
    except AlreadyExists:  # somebody else has fetched it meanwhile
        store.update(info.digest, info.labels)


class _Staging:
    """A store in which a digest that is there, broken, can be written; made for ``fetch_blob``."""

    def __init__(self, store: ContentStore, ground: Ground) -> None:
        self._store = store
        self._ground = ground

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def writer(self, ref: str, *, size: int = 0, expected: str = "") -> Writer:
        return self._ground.writer(ref, size=size, expected=expected)


class _StagedWriter:
    """A ``Writer`` that verifies by itself: a daemon that expected the digest would refuse it.

    The broken content goes at the last moment: where the good is not to be had, nothing changes.
    """

    def __init__(self, writer: Writer, ground: DaemonGround, digest: str, size: int) -> None:
        self._writer = writer
        self._ground = ground
        self._digest = digest
        # What an earlier writer has left fails in the end, and is then fetched from nothing.
        self._verifier = digests.Verifier(digest, size)

    @property
    def offset(self) -> int:
        return self._writer.offset

    def write(self, data: bytes | memoryview) -> int:
        self._verifier.update(data)
        return self._writer.write(data)

    def commit(self, labels: Mapping[str, str] | None = None) -> str:
        self._verifier.check()
        with self._ground.cleared(self._digest):
            return self._writer.commit(labels)

    def close(self) -> None:
        self._writer.close()

    def __enter__(self) -> _StagedWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

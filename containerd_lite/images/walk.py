"""Walks over content: from a descriptor to its children, in one thread or in several.

A handler is a function that returns the children of a descriptor. Handlers are combined by
chaining and wrapping. The module follows containerd's core/images/handlers.go: ``chain`` is its
``Handlers``, ``walk`` its ``Walk``, ``Dispatcher`` its ``Dispatch``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future

from ..errors import InvalidArgument
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import MAX_DEPTH, parse
from ..store.protocol import ContentStore, read_blob
from ..workers import Workers, result_when_done
from .job import Job

#: Handles a descriptor and returns its children.
Handler = Callable[[Descriptor], Iterable[Descriptor]]
#: Returns a handler that may call the given one and change its result.
WrapHandler = Callable[[Handler], Handler]

#: Most descriptors in one walk; an index of 20 platforms with 127 layers each has 2,600.
MAX_DESCRIPTORS = 50_000

_Key = tuple[str, str]


class SkipDescriptor(Exception):
    """Raised by a handler to skip the descriptor's children and the later handlers."""


class StopHandlers(Exception):
    """Raised by a handler to skip the later handlers; the children found so far are walked."""


def chain(*handlers: Handler) -> Handler:
    """Return a handler that calls ``handlers`` in order and returns the children of all."""

    def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
        found: list[Descriptor] = []
        for handler in handlers:
            try:
                found += handler(descriptor)
            except StopHandlers:
                break
        return found

    return handle


def children_of(read: Callable[[Descriptor], bytes]) -> Handler:
    """Return a handler that returns the children of manifests and indexes.

    Other descriptors have no children.

    Args:
        read: Returns the content of a descriptor.
    """

    def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
        if not media_types.is_document(descriptor.media_type):
            return ()
        return parse(read(descriptor), descriptor.media_type).children

    return handle


def children_in(store: ContentStore) -> Handler:
    """Return a handler that reads manifests and indexes from ``store``; see ``children_of``.

    The handler raises ``NotFound`` if the store lacks a document.
    """
    return children_of(lambda descriptor: read_blob(store, descriptor, MAX_DOCUMENT))


def walk(handler: Handler, *roots: Descriptor) -> Iterator[Descriptor]:
    """Walk over descriptors in one thread.

    Args:
        handler: Returns the children of a descriptor. It is called after the descriptor has been
            yielded.
        *roots: The descriptors to start from.

    Yields:
        The roots and all descriptors below them, each once, parents before children.

    Raises:
        InvalidArgument: There are too many descriptors, or they are nested too deeply.
    """
    bounds = _Bounds()
    pending = [(root, 0) for root in reversed(roots)]
    while pending:
        descriptor, depth = pending.pop()
        if not bounds.is_new(descriptor, depth):
            continue
        yield descriptor
        try:
            children = tuple(handler(descriptor))
        except SkipDescriptor:
            continue
        pending += ((child, depth + 1) for child in reversed(children))


class _Bounds:
    """The descriptors that a walk has seen, with limits on their number and their depth."""

    def __init__(self) -> None:
        self._seen: set[_Key] = set()

    def is_new(self, descriptor: Descriptor, depth: int) -> bool:
        """Record a descriptor; return whether the walk sees it for the first time."""
        if depth > MAX_DEPTH:
            raise InvalidArgument(f"{descriptor.digest} is nested more than {MAX_DEPTH} deep")
        before = len(self._seen)
        self._seen.add(key(descriptor))
        if len(self._seen) > MAX_DESCRIPTORS:
            raise InvalidArgument(f"the image has more than {MAX_DESCRIPTORS} descriptors")
        return len(self._seen) > before


def key(descriptor: Descriptor) -> _Key:
    """Return the key by which descriptors differ.

    The media type is part of it: the same content may be named as a layer and as a manifest.
    """
    return descriptor.digest, descriptor.media_type


class Dispatcher:
    """Calls a handler on descriptors and on their children, in several threads.

    It handles each descriptor once. It is a context manager: when the block ends, all its threads
    have ended. The first failure stops all threads (``Job.fail``).

    Args:
        handler: Handles a descriptor and returns its children.
        workers: How many threads run at a time.
        job: The job that the first failure stops.

    Raises:
        InvalidArgument: ``workers`` is less than 1.
    """

    def __init__(self, handler: Handler, workers: int, job: Job) -> None:
        if workers < 1:
            raise InvalidArgument("max_concurrent must be 1 or more")
        self._handler = handler
        self._job = job
        self._pool = Workers(workers, "containerd-lite")
        self._lock = threading.Lock()
        self._bounds = _Bounds()
        self._tasks: dict[_Key, Future[None]] = {}
        self._order: list[Future[None]] = []

    def add(self, descriptor: Descriptor, depth: int = 0) -> Future[None]:
        """Have a descriptor and its descendants handled, unless it has been added before.

        Args:
            descriptor: The descriptor.
            depth: How deep the descriptor is nested, for the limit on the depth.

        Returns:
            A future that is done when the descriptor has been handled. It does not wait for the
            children.

        Raises:
            Cancelled: The job has failed.
            InvalidArgument: There are too many descriptors, or they are nested too deeply.
        """
        with self._lock:
            self._job.check()
            if self._bounds.is_new(descriptor, depth):
                # ``Workers`` copy the caller's context, so the thread uses the caller's lease.
                task = self._pool.submit(self._handle, descriptor, depth)
                self._tasks[key(descriptor)] = task
                self._order.append(task)
            return self._tasks[key(descriptor)]

    def _handle(self, descriptor: Descriptor, depth: int) -> None:
        try:
            with self._job.stop.watching():
                for child in self._handler(descriptor):
                    self.add(child, depth + 1)
        except SkipDescriptor:
            pass
        except BaseException as error:
            self._job.fail(error)  # at once, so that the other threads stop
            raise

    def wait(self) -> None:
        """Wait until all descriptors have been handled; raise the error of one that failed."""
        handled = 0
        while handled < len(self._order):  # children are added before their parent is done
            result_when_done(self._order[handled])
            handled += 1

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._job.fail(error)
        with self._lock:
            pass  # an add() that runs ends first; after a failure, later ones raise
        self._pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is not None:
            self._job.blame(error)

"""Walks over content: from a descriptor to its children, in one thread or in several threads.

A handler is a function that returns the children of a descriptor. Handlers can be chained and
wrapped. The module follows containerd's core/images/handlers.go: ``chain`` corresponds to
``Handlers`` there, ``walk`` to ``Walk``, and ``Dispatcher`` to ``Dispatch``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future

from ..errors import InvalidArgument, ResourceExhausted
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import MAX_DEPTH, parse
from ..store.protocol import ContentStore, read_blob
from ..workers import Workers, result_when_done
from .job import Job

#: A function that handles a descriptor and returns the descriptor's children.
Handler = Callable[[Descriptor], Iterable[Descriptor]]
#: A function that wraps a handler. The returned handler can call the wrapped handler and change the
#: result.
WrapHandler = Callable[[Handler], Handler]

#: The maximum number of descriptors in one walk, as in containerd since 2.2.9. An image for 20
#: platforms, with 127 layers for each platform, has 2,600 descriptors.
MAX_DESCRIPTORS = 10_000

_Key = tuple[str, str]


class SkipDescriptor(Exception):
    """Raised by a handler to skip the descriptor's children and the later handlers."""


class StopHandlers(Exception):
    """Raised by a handler to skip the later handlers; the walk uses the children found so far."""


def chain(*handlers: Handler) -> Handler:
    """Return a handler that calls ``handlers`` in order and returns the children that they find."""

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
        read: A function that returns the content of a descriptor.
    """

    def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
        if not media_types.is_document(descriptor.media_type):
            return ()
        return parse(read(descriptor), descriptor.media_type, exact=False).children

    return handle


def children_in(store: ContentStore) -> Handler:
    """Return a handler that reads manifests and indexes from ``store``; see ``children_of``.

    The handler raises ``NotFound`` if the store lacks a document.
    """
    return children_of(lambda descriptor: read_blob(store, descriptor, MAX_DOCUMENT))


def walk(handler: Handler, *roots: Descriptor) -> Iterator[Descriptor]:
    """Walk over descriptors in one thread.

    Args:
        handler: A function that returns the children of a descriptor. ``walk`` yields each
            descriptor before it calls the handler with this descriptor.
        *roots: The descriptors to start from.

    Yields:
        The roots and all descriptors below them, each once, parents before children.

    Raises:
        ResourceExhausted: There are too many descriptors.
        InvalidArgument: The descriptors are nested too deeply.
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
        """Record a descriptor; return whether the walk sees the descriptor for the first time."""
        if depth > MAX_DEPTH:
            raise InvalidArgument(f"{descriptor.digest} is nested more than {MAX_DEPTH} deep")
        before = len(self._seen)
        self._seen.add(key(descriptor))
        if len(self._seen) > MAX_DESCRIPTORS:
            raise ResourceExhausted(
                f"the image has more than {MAX_DESCRIPTORS} descriptors",
                remedy="Pull fewer platforms, or do not use the image: no tool makes such images",
            )
        return len(self._seen) > before


def key(descriptor: Descriptor) -> _Key:
    """Return the key that identifies a descriptor within a walk.

    The key contains the media type, because the same content can be listed as a layer and as a
    manifest.
    """
    return descriptor.digest, descriptor.media_type


class Dispatcher:
    """Calls a handler on descriptors and on their children, in several threads.

    Each descriptor is handled once. The dispatcher is a context manager: at the end of the block,
    all its threads have ended. The first failure stops all threads (``Job.fail``).

    Args:
        handler: A function that handles a descriptor and returns the descriptor's children.
        workers: How many threads run at a time.
        job: The job that the first failure stops.
        is_quick: A function that returns whether the handler handles a descriptor without waiting.
            The thread that adds such a descriptor also handles it. For an image of four layers that
            is there already, this saves 10 % of the CPU time of a pull. Default: other threads
            handle all descriptors.

    Raises:
        InvalidArgument: ``workers`` is less than 1.
    """

    def __init__(
        self,
        handler: Handler,
        workers: int,
        job: Job,
        is_quick: Callable[[Descriptor], bool] = lambda descriptor: False,
    ) -> None:
        if workers < 1:
            raise InvalidArgument("max_concurrent must be 1 or more")
        self._handler = handler
        self._job = job
        self._is_quick = is_quick
        self._pool = Workers(workers, "containerd-lite")
        self._lock = threading.Lock()
        self._bounds = _Bounds()
        self._tasks: dict[_Key, Future[None]] = {}
        self._order: list[Future[None]] = []

    def add(self, descriptor: Descriptor, depth: int = 0) -> Future[None]:
        """Schedule the handling of a descriptor and all its descendants.

        A descriptor that was added before is not handled again.

        Args:
            descriptor: The descriptor.
            depth: How deep the descriptor is nested. The dispatcher limits the depth.

        Returns:
            A future that is done when the descriptor has been handled. The descriptor's children
            may still wait to be handled.

        Raises:
            Cancelled: The job has failed.
            ResourceExhausted: There are too many descriptors.
            InvalidArgument: The descriptors are nested too deeply.
        """
        with self._lock:
            self._job.check()
            if not self._bounds.is_new(descriptor, depth):
                return self._tasks[key(descriptor)]
            task: Future[None]
            if is_quick := self._is_quick(descriptor):
                task = Future()
            else:
                # ``Workers`` copy the caller's context, so the thread uses the caller's lease.
                task = self._pool.submit(self._handle, descriptor, depth)
            self._tasks[key(descriptor)] = task
            self._order.append(task)
        if is_quick:
            self._handle_at_once(descriptor, depth, task)
        return task

    def _handle_at_once(self, descriptor: Descriptor, depth: int, task: Future[None]) -> None:
        try:
            self._handle(descriptor, depth)
        except BaseException as error:
            task.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            task.set_result(None)

    def _handle(self, descriptor: Descriptor, depth: int) -> None:
        try:
            with self._job.stop.watching():
                for child in self._handler(descriptor):
                    self.add(child, depth + 1)
        except SkipDescriptor:
            pass
        except BaseException as error:
            self._job.fail(error)  # stops the other threads immediately
            raise

    def wait(self) -> None:
        """Wait until all descriptors have been handled; raise the first error."""
        handled = 0
        while handled < len(self._order):  # a handled parent has already added its children
            result_when_done(self._order[handled])
            handled += 1

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._job.fail(error)
        with self._lock:
            pass  # wait for a running add(); after a failure, each later add() raises
        self._pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is not None:
            self._job.blame(error)

"""The walk over content: one function, descriptor → children, composed by wrapping.

What lives here: the handler, how handlers are put together, and the walk in order and side by
side.  What may not: any one store or registry.

As containerd's core/images/handlers.go: ``chain`` is its ``Handlers``, ``walk`` its ``Walk``,
``Dispatcher`` its ``Dispatch``.
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
from ..workers import Workers
from .job import Job

#: Told a descriptor, does what it is for, and gives its children.
Handler = Callable[[Descriptor], Iterable[Descriptor]]
#: Makes another handler of one, which may ask it and change what it gives.
WrapHandler = Callable[[Handler], Handler]

#: Descriptors of one walk; an index of 20 platforms with 127 layers each has 2,600.
MAX_DESCRIPTORS = 50_000

_Key = tuple[str, str]


class SkipDescriptor(Exception):
    """Raised by a handler: the descriptor has no children, and no later handler is asked."""


class StopHandlers(Exception):
    """Raised by a handler: no later one is asked; the children found so far are walked."""


def chain(*handlers: Handler) -> Handler:
    """One handler that asks several in their order, and gives the children of all."""

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
    """The handler that gives what a manifest or an index refers to, and nothing of all else."""

    def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
        if not media_types.is_document(descriptor.media_type):
            return ()
        return parse(read(descriptor), descriptor.media_type).children

    return handle


def children_in(store: ContentStore) -> Handler:
    """``children_of`` what ``store`` has.  Raises ``NotFound`` for a document that it lacks."""
    return children_of(lambda descriptor: read_blob(store, descriptor, MAX_DOCUMENT))


def walk(handler: Handler, *roots: Descriptor) -> Iterator[Descriptor]:
    """The roots and all below them, each once, parents first.

    A descriptor is given before the handler is asked for its children.  Raises
    ``InvalidArgument`` for content without end.
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
    """What a walk has seen; it tells when that is too much."""

    def __init__(self) -> None:
        self._seen: set[_Key] = set()

    def is_new(self, descriptor: Descriptor, depth: int) -> bool:
        if depth > MAX_DEPTH:
            raise InvalidArgument(f"{descriptor.digest} is nested more than {MAX_DEPTH} deep")
        before = len(self._seen)
        self._seen.add(key(descriptor))
        if len(self._seen) > MAX_DESCRIPTORS:
            raise InvalidArgument(f"an image of more than {MAX_DESCRIPTORS} descriptors")
        return len(self._seen) > before


def key(descriptor: Descriptor) -> _Key:
    """What makes a descriptor another one: content may be a layer here, and a manifest there."""
    return descriptor.digest, descriptor.media_type


class Dispatcher:
    """Runs a handler on descriptors side by side, each once, and then on their children.

    A context manager.  The first failure stops all (``Job.fail``); however the block is left,
    nothing runs any more afterwards.
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
        """Handle a descriptor, and what is below it, some time; once, however often it is added.

        The future is done with the descriptor, and says nothing of its children.  Raises
        ``Cancelled`` once a part has failed.
        """
        with self._lock:
            self._job.check()
            if self._bounds.is_new(descriptor, depth):
                # The lease of the caller is the thread's, too.
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
            self._job.fail(error)  # at once: the others need not finish
            raise

    def wait(self) -> None:
        """Until all that was added is done.  Raises the failure, if there is one."""
        place = 0
        while place < len(self._order):  # children are added before their parent is done
            self._order[place].result()
            place += 1

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._job.fail(error)
        with self._lock:
            pass  # from now on nobody adds anything
        self._pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is not None:
            self._job.blame(error)

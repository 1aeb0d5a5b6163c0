"""A subscription to events that goes on until it is closed, through restarts if it shall.

What lives here: ``EventStream``.  What may not: what events say (``event_types`` has that), and
threads: whoever asks for the next event does all the work.

containerd sends the headers of Subscribe with the first event, not before (1.6, 1.7 and 2.1), so
nothing that comes by itself tells that the daemon has taken note of a subscription; a call that is
made at once may be quicker.  To know, the stream publishes an event of its own, under a topic that
nobody else knows, until it comes back.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ..deadline import Deadline, backoff
from ..errors import (
    Cancelled,
    ConnectionLost,
    ContainerdError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
    Unknown,
)
from ..locks import holding
from ..transport.stream import Stream
from ._base import MessageStream, Service
from ._events import event_of
from .event_types import GAP_TOPIC, Event, Gap

if TYPE_CHECKING:
    from typing_extensions import Self

#: Between tries to subscribe again, in seconds.
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0
#: How long an event of our own may take before another is published, in seconds.
_FIRST_LOOK, _LONGEST_LOOK = 0.02, 1.0
#: Events with topics below this one are ours, or other clients'; no stream gives them.
_PROBES = "/containerd-lite/subscribed/"
_NOTHING = {"type_url": "google.protobuf.Empty", "value": b""}


class EventStream:
    """Events as they happen: an iterator of ``Event`` and a context manager.

    Any thread may ``close`` it, and several may read: each event goes to one of them.  It has no
    thread of its own, and one that is dropped is cancelled.  It neither pickles nor goes on in a
    forked child: ``TypeError``, ``FailedPrecondition``.
    """

    def __init__(
        self,
        service: Service,
        filters: tuple[str, ...],
        timeout: float | None,
        *,
        reconnect: bool,
        is_patient: bool,
    ) -> None:
        """``service`` has no deadline of its own; ``is_patient`` waits for the daemon now, too."""
        self._service = service
        self._filters = filters
        self._deadline = Deadline(timeout)
        self._reconnect = reconnect
        self._topic = f"{_PROBES}{os.urandom(8).hex()}"
        self._pid = os.getpid()
        self._is_closed = False
        self._closed = threading.Event()  # the same, to be waited for
        self._renewing = threading.RLock()  # held by whoever subscribes again
        self._state = threading.Lock()  # of the two below
        self._lost: ContainerdError | None = None  # until the next subscription stands
        self._stream: MessageStream
        self._proven: MessageStream | None = None  # the one that gave an event of ours
        self._early: deque[Event] = deque()  # what came while we waited for that
        self._since = datetime.now(timezone.utc)
        self._last: Event | None = None
        if is_patient:
            self._persist(self._begin, self._deadline)
        else:
            self._begin()

    def receive(self, timeout: float | None = None) -> Event | None:
        """The next event; ``None`` once the stream is closed.

        ``timeout`` in seconds bounds this wait alone: ``DeadlineExceeded`` then leaves the
        subscription as it is.  Other errors as ``EventService.subscribe``.
        """
        deadline = self._deadline if timeout is None else self._deadline.sooner(timeout)
        while not self._is_closed:
            if self._early:
                return self._early.popleft()
            if self._lost is not None:
                self._renew(deadline)
                continue
            stream = self._stream
            try:
                event = self._next(stream, deadline)
            except ContainerdError as error:
                self._failed(stream, error)
            else:
                if event is not None:
                    return event
        return None

    def poll(self) -> Event | None:
        """An event that has come already, else ``None``; never waits, and tells no failure."""
        if self._early:
            return self._early.popleft()
        while self._lost is None and (message := self._stream.poll()) is not None:
            event = self._last = event_of(message)
            if not event.topic.startswith(_PROBES):
                return event
            self._noted(self._stream, event)
        return None

    def wait_until_subscribed(self, timeout: float | None = None) -> None:
        """Wait until the daemon provably sends what happens from now on.

        It publishes an event with a topic of its own below ``/containerd-lite/subscribed``, which
        other programs' subscriptions may see, and waits for it.  Events that come meanwhile are
        not lost.  ``timeout`` in seconds bounds the wait: ``DeadlineExceeded``.  Other errors as
        ``EventService.subscribe``.
        """
        deadline = self._deadline.sooner(timeout)
        while not self._is_closed:
            if self._lost is not None:
                self._renew(deadline)
            stream = self._stream
            try:
                return self._prove(stream, deadline, self._early)
            except ContainerdError as error:
                self._failed(stream, error)

    def close(self) -> None:
        """End the subscription: whoever waits for an event gets the end of the iteration, at once.

        May be called from any thread, and twice.
        """
        self._is_closed = True
        self._closed.set()
        self._stream.close()

    @property
    def raw(self) -> Stream:
        """The call that events come by now."""
        return self._stream.raw

    # ---- what comes ------------------------------------------------------------------------

    def _next(self, stream: MessageStream, deadline: Deadline) -> Event | None:
        """What comes next; ``None`` for an event of ours."""
        left = deadline.remaining()
        if left == 0.0 and self._deadline.expired:
            raise self._late(None)  # however much there still is to come
        message = stream.receive(left)
        if message is None:
            raise ConnectionLost("the daemon ended the subscription", operation="Events.Subscribe")
        event = self._last = event_of(message)
        if not event.topic.startswith(_PROBES):
            return event
        self._noted(stream, event)
        return None

    def _noted(self, stream: MessageStream, event: Event) -> None:
        if event.topic == self._topic:
            self._proven = stream

    def _failed(self, stream: MessageStream, error: ContainerdError) -> None:
        """Raise the error, unless the stream was closed or shall go on after it."""
        if self._is_closed:
            return
        if self._deadline.expired and isinstance(error, DeadlineExceeded | Cancelled):
            stream.close()  # whoever else reads gets Cancelled
            raise self._late(None) from None
        if type(error) is Unknown and self._filters and self._last is None:
            # containerd does not say which kind of error it is; there is but one before any event.
            better = InvalidArgument(error.message, remedy="services.filters.Filter makes filters")
            better.operation, better.address = error.operation, error.address
            raise better from error.__cause__
        if not self._reconnect or not isinstance(error, Unavailable):
            raise error
        with self._state:
            if stream is self._stream and self._lost is None:
                self._lost = error

    # ---- subscribing -----------------------------------------------------------------------

    def _begin(self) -> None:
        filters = self._filters and (*self._filters, f'topic=="{self._topic}"')
        stream = self._service._stream("Subscribe", {"filters": filters})
        with self._state:
            self._stream = stream
        if self._is_closed:  # it came too late for close() to see it
            stream.close()

    def _persist(self, act: Callable[[], None], deadline: Deadline) -> None:
        """Do it until the daemon is there, or the stream is closed."""
        waits = backoff(_FIRST_WAIT, _LONGEST_WAIT)
        while not self._is_closed:
            try:
                return act()
            except Unavailable as error:
                self._closed.wait(deadline.sooner(next(waits)).remaining())
                if deadline.expired:
                    raise self._late(error) from error

    def _renew(self, deadline: Deadline) -> None:
        """Subscribe again, and leave the gap and what came since for whoever reads."""
        if self._pid != os.getpid():
            raise FailedPrecondition(
                "the subscription belongs to the process that this one was forked from",
                remedy="Subscribe in the process that reads it",
            )
        with holding(self._renewing, deadline) as is_ours:
            if not is_ours:
                raise self._late(self._lost)
            try:
                if self._lost is not None:
                    self._persist(lambda: self._begin_again(deadline), deadline)
            except ContainerdError:
                if not self._is_closed:
                    raise

    def _begin_again(self, deadline: Deadline) -> None:
        self._stream.close()
        last, came = self._last, deque[Event]()
        try:
            self._begin()
            self._prove(self._stream, deadline, came)
        except BaseException:
            self._last = last  # what came is in the gap
            raise
        since = self._since if last is None else last.timestamp
        until = datetime.now(timezone.utc)
        gap = Gap(since, until, self._lost.message if self._lost is not None else "")
        self._early.extend([Event(until, "", GAP_TOPIC, gap), *came])
        with self._state:
            self._lost = None

    def _prove(self, stream: MessageStream, deadline: Deadline, came: deque[Event]) -> None:
        """Publish until an event of ours is among what comes; the others go to ``came``."""
        fields = {"topic": self._topic, "event": _NOTHING}
        for wait in backoff(_FIRST_LOOK, _LONGEST_LOOK):
            until = deadline.sooner(wait)
            # As a stream, which close() need not wait for: it is the events that are waited for.
            with self._service._stream("Publish", fields) as probe:
                try:
                    while self._proven is not stream and not until.expired:
                        event = self._next(stream, until)
                        if event is not None:
                            came.append(event)
                except DeadlineExceeded:
                    _check(probe)
            if self._proven is stream:
                return
            if deadline.expired:
                raise self._late(None)

    def _late(self, why: ContainerdError | None) -> DeadlineExceeded:
        if self._deadline.expired:
            said = "the time of the subscription is over"
        else:
            said = "the subscription did not stand in time"
        return DeadlineExceeded(
            f"{said}: {why}" if why is not None else said, operation="Events.Subscribe"
        )

    # ---- iterator, context manager -----------------------------------------------------------

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self.receive()
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> str:
        raise TypeError("an EventStream cannot be pickled: subscribe in the process that reads it")

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "lost" if self._lost else "open"
        return f"<EventStream {self._service.identity[0]} {state}>"


def _check(probe: MessageStream) -> None:
    """Raise why the publishing failed, if it did by now."""
    with suppress(DeadlineExceeded):
        probe.receive(0.0)

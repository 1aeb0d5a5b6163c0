"""A subscription to events, which can survive restarts of the daemon.

``EventStream`` starts no thread: the thread that requests the next event does all the work.

containerd (1.6, 1.7 and 2.1) sends the response headers of ``Subscribe`` only with the first event.
So the client does not know when the daemon has processed the request. The daemon does not send
events that happened before it processed the request. To find out whether the daemon has processed
the request, ``EventStream`` publishes probes. A probe is an event whose topic no other client uses.
When the stream receives one of its probes, the subscription is confirmed.
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
from ..interrupt import check
from ..locks import holding
from ..operation import cancellable
from ..transport.stream import Stream
from ._base import MessageStream, Service
from ._events import event_of
from .event_types import GAP_TOPIC, Event, Gap

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..operation import CancelToken

#: Seconds between attempts to subscribe again: the first wait and the longest wait.
_FIRST_RETRY, _LONGEST_RETRY = 0.05, 2.0
#: Seconds to wait for a probe before the next probe: the first wait and the longest wait.
_FIRST_PROBE, _LONGEST_PROBE = 0.02, 1.0
#: Seconds between checks whether a waiting thread was interrupted.
_CHECK_INTERVAL = 0.1
#: The prefix of the topics of all probes, including probes of other clients. ``EventStream`` never
#: returns probes to its caller.
_PROBE_PREFIX = "/containerd-lite/subscribed/"
_EMPTY_EVENT = {"type_url": "google.protobuf.Empty", "value": b""}


class EventStream:
    """A subscription to events: an iterator of ``Event`` and a context manager.

    Any thread may call ``close``. Several threads may read events. Each event goes to one of these
    threads. The subscription starts no thread. Dropping the last reference to this object cancels
    the subscription.

    This object cannot be pickled (``TypeError``). In a forked child process, the subscription
    cannot continue (``FailedPrecondition``).

    Args:
        service: The events service, which must not have a deadline.
        filters: The filters of the subscription.
        timeout: Seconds that the subscription may last. ``None`` means no limit.
        reconnect: Whether to subscribe again when the connection to the daemon is lost.
        is_patient: Whether the constructor waits until the daemon can be reached.
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
        self._service = service
        self._filters = filters
        self._deadline = Deadline(timeout)
        self._reconnect = reconnect
        self._probe_topic = f"{_PROBE_PREFIX}{os.urandom(8).hex()}"
        self._pid = os.getpid()
        self._is_closed = False
        self._closed_event = threading.Event()  # set by close(), which ends all waits
        self._renewal_lock = threading.RLock()  # locked by the thread that subscribes again
        self._state_lock = threading.Lock()  # protects _loss and _stream
        self._loss: ContainerdError | None = None  # set until the next subscription is confirmed
        self._stream: MessageStream
        self._confirmed_stream: MessageStream | None = None  # the stream that received our probe
        self._buffered: deque[Event] = deque()  # events that arrived before our probe
        self._started_at = datetime.now(timezone.utc)
        self._last_event: Event | None = None
        if is_patient:
            self._retry(self._subscribe, self._deadline)
        else:
            self._subscribe()

    def receive(
        self, timeout: float | None = None, *, cancel: CancelToken | None = None
    ) -> Event | None:
        """Return the next event, or ``None`` if the stream is closed.

        Args:
            timeout: Seconds to wait for the next event. Default: until the subscription's deadline.
            cancel: A token whose ``cancel`` ends the wait, but not the subscription. Default: none.

        Raises:
            Cancelled: The token was cancelled.
            DeadlineExceeded: No event arrived within ``timeout``, or the deadline of the
                subscription has expired. The subscription continues after ``timeout``, but not
                after its deadline.
            ContainerdError: The subscription failed. See ``EventService.subscribe``.
        """
        deadline = self._deadline if timeout is None else self._deadline.sooner(timeout)
        with cancellable("wait for an event", cancel):
            return self._receive(deadline)

    def _receive(self, deadline: Deadline) -> Event | None:
        while not self._is_closed:
            if self._buffered:
                return self._buffered.popleft()
            if self._loss is not None:
                self._renew(deadline)
                continue
            stream = self._stream
            try:
                event = self._next_event(stream, deadline)
            except ContainerdError as error:
                self._handle_error(stream, error)
            else:
                if event is not None:
                    return event
        return None

    def poll(self) -> Event | None:
        """Return an event that has already arrived, or ``None``. Do not wait.

        If the subscription has failed, this method returns ``None``. ``receive`` raises the error.
        """
        if self._buffered:
            return self._buffered.popleft()
        while self._loss is None and (message := self._stream.poll()) is not None:
            event = self._last_event = event_of(message)
            if not event.topic.startswith(_PROBE_PREFIX):
                return event
            self._note_probe(self._stream, event)
        return None

    def wait_until_subscribed(
        self, timeout: float | None = None, *, cancel: CancelToken | None = None
    ) -> None:
        """Wait until it is certain that the daemon has processed the subscription.

        This method publishes an event, and waits until this subscription receives the event. The
        topic of the event is unique, and begins with ``/containerd-lite/subscribed/``.
        Subscriptions of other programs may also receive the event. If other events arrive during
        the wait, ``receive`` returns them later.

        Args:
            timeout: Seconds to wait. Default: until the subscription's deadline.
            cancel: As for ``receive``.

        Raises:
            Cancelled: The token was cancelled.
            DeadlineExceeded: The published event did not arrive in time.
            ContainerdError: The subscription failed. See ``EventService.subscribe``.
        """
        deadline = self._deadline.sooner(timeout)
        with cancellable("wait for the subscription", cancel):
            while not self._is_closed:
                if self._loss is not None:
                    self._renew(deadline)
                stream = self._stream
                try:
                    return self._confirm(stream, deadline, self._buffered)
                except ContainerdError as error:
                    self._handle_error(stream, error)

    def close(self) -> None:
        """End the subscription. Iterations over the events end at once, in all threads.

        Any thread may call this method. A second call does nothing.
        """
        self._is_closed = True
        self._closed_event.set()
        self._stream.close()

    @property
    def raw(self) -> Stream:
        """The current ``Subscribe`` call."""
        return self._stream.raw

    # ---- receiving ---------------------------------------------------------------------------

    def _next_event(self, stream: MessageStream, deadline: Deadline) -> Event | None:
        """Wait for the next event and return it. If the event is a probe, return ``None``."""
        remaining = deadline.remaining()
        if remaining == 0.0 and self._deadline.expired:
            raise self._timeout_error(None)  # no more events are read after the deadline
        message = stream.receive(remaining)
        if message is None:
            raise ConnectionLost("the daemon ended the subscription", operation="Events.Subscribe")
        event = self._last_event = event_of(message)
        if not event.topic.startswith(_PROBE_PREFIX):
            return event
        self._note_probe(stream, event)
        return None

    def _note_probe(self, stream: MessageStream, event: Event) -> None:
        if event.topic == self._probe_topic:
            self._confirmed_stream = stream

    def _handle_error(self, stream: MessageStream, error: ContainerdError) -> None:
        """Raise the error, unless this object is closed or will subscribe again."""
        if self._is_closed:
            return
        if self._deadline.expired and isinstance(error, DeadlineExceeded | Cancelled):
            stream.close()  # other threads that read from this stream get Cancelled
            raise self._timeout_error(None) from None
        if type(error) is Unknown and self._filters and self._last_event is None:
            # containerd reports an invalid filter as Unknown. Before the first event, only an
            # invalid filter causes Unknown.
            filter_error = InvalidArgument(
                error.message, remedy="Make filters with services.filters.Filter"
            )
            filter_error.operation, filter_error.address = error.operation, error.address
            raise filter_error from error.__cause__
        if not self._reconnect or not isinstance(error, Unavailable):
            raise error
        with self._state_lock:
            if stream is self._stream and self._loss is None:
                self._loss = error

    # ---- subscribing -----------------------------------------------------------------------

    def _subscribe(self) -> None:
        filters = self._filters and (*self._filters, f'topic=="{self._probe_topic}"')
        stream = self._service._stream("Subscribe", {"filters": filters})
        with self._state_lock:
            self._stream = stream
        if self._is_closed:  # close() in another thread may have closed only the previous stream
            stream.close()

    def _retry(self, attempt: Callable[[], None], deadline: Deadline) -> None:
        """Repeat ``attempt`` while it raises ``Unavailable`` and this object is not closed."""
        waits = backoff(_FIRST_RETRY, _LONGEST_RETRY)
        while not self._is_closed:
            try:
                return attempt()
            except Unavailable as error:
                self._pause(deadline.sooner(next(waits)))
                if deadline.expired:
                    raise self._timeout_error(error) from error

    def _pause(self, deadline: Deadline) -> None:
        """Wait until the deadline, or until ``close`` or an interrupt ends the wait."""
        while not deadline.expired:
            if self._closed_event.wait(deadline.sooner(_CHECK_INTERVAL).remaining()):
                return
            check()

    def _renew(self, deadline: Deadline) -> None:
        """Subscribe again. Buffer a ``Gap`` event, and the events that arrive meanwhile."""
        if self._pid != os.getpid():
            raise FailedPrecondition(
                "the subscription belongs to the parent process, which forked this process",
                remedy="Subscribe in the process that reads the events",
            )
        with holding(self._renewal_lock, deadline, check) as is_locked:
            if not is_locked:
                raise self._timeout_error(self._loss)
            try:
                if self._loss is not None:
                    self._retry(lambda: self._resubscribe(deadline), deadline)
            except ContainerdError:
                if not self._is_closed:
                    raise

    def _resubscribe(self, deadline: Deadline) -> None:
        self._stream.close()
        last_event, events = self._last_event, deque[Event]()
        try:
            self._subscribe()
            self._confirm(self._stream, deadline, events)
        except BaseException:
            # Events that this attempt received are lost, so the gap must begin before these events.
            self._last_event = last_event
            raise
        since = self._started_at if last_event is None else last_event.timestamp
        until = datetime.now(timezone.utc)
        gap = Gap(since, until, self._loss.message if self._loss is not None else "")
        self._buffered.extend([Event(until, "", GAP_TOPIC, gap), *events])
        with self._state_lock:
            self._loss = None

    def _confirm(self, stream: MessageStream, deadline: Deadline, events: deque[Event]) -> None:
        """Publish probes until ``stream`` receives one. Append other events to ``events``."""
        fields = {"topic": self._probe_topic, "event": _EMPTY_EVENT}
        for wait in backoff(_FIRST_PROBE, _LONGEST_PROBE):
            until = deadline.sooner(wait)
            # Publish is called as a streaming call, so that this thread can wait for events. A
            # unary call would wait for its response, and close() could not interrupt this wait.
            with self._service._stream("Publish", fields) as probe:
                try:
                    while self._confirmed_stream is not stream and not until.expired:
                        event = self._next_event(stream, until)
                        if event is not None:
                            events.append(event)
                except DeadlineExceeded:
                    _check_published(probe)
            if self._confirmed_stream is stream:
                return
            if deadline.expired:
                raise self._timeout_error(None)

    def _timeout_error(self, cause: ContainerdError | None) -> DeadlineExceeded:
        if self._deadline.expired:
            text = "the deadline of the subscription has expired"
        else:
            text = "the subscription was not confirmed in time"
        return DeadlineExceeded(
            f"{text}: {cause}" if cause is not None else text, operation="Events.Subscribe"
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
        state = "closed" if self._is_closed else "lost" if self._loss else "open"
        return f"<EventStream {self._service.identity[0]} {state}>"


def _check_published(probe: MessageStream) -> None:
    """Raise the error of a ``Publish`` call if the call has already failed."""
    with suppress(DeadlineExceeded):
        probe.receive(0.0)

"""containerd.services.events.v1: what happens in the daemon, as it happens.

What lives here: the RPCs.  What may not: what events say (``event_types``), how a subscription
goes on (``subscription``).
"""

from __future__ import annotations

from copy import copy

from ..records import replace
from ..schema.values import timestamp
from ._base import Service
from ._events import payload_fields
from ._types import AnyValue
from .event_types import Event, Payload
from .subscription import EventStream


class EventService(Service):
    """The events of all namespaces."""

    _name = "containerd.services.events.v1.Events"

    def subscribe(
        self, *filters: str, timeout: float | None = None, reconnect: bool = False
    ) -> EventStream:
        """Stream the events from now on that one of ``filters`` lets through, of all namespaces.

        An event has the fields ``topic``, ``namespace`` and ``event.<field>``, such as
        ``event.container_id``, where its type gives it some (images, containers, tasks do).
        ``timeout`` in seconds is the deadline of it all; without one it ends when it is closed,
        from whichever thread, and then without an exception.

        containerd replays nothing.  The request is sent when this returns, but the daemon may not
        have got to it: to lose nothing, subscribe, then make sure, then list::

            with client.event_service.subscribe(reconnect=True) as stream:
                stream.wait_until_subscribed()
                look_at(client.list_images())
                for event in stream:
                    if isinstance(event.event, Gap):
                        look_at(client.list_images())

        With ``reconnect`` the stream survives the daemon: it subscribes again with the same
        filters as soon as it can, makes sure, and gives an event with a ``Gap``, one for each
        absence, so that the consumer knows that it is to list again.  ``close()`` ends it then,
        too.

        Raises, when the stream is read: ``InvalidArgument`` for a filter that cannot be parsed,
        ``DeadlineExceeded``, ``Cancelled`` where the client was closed, and ``Unavailable``
        (``ConnectionLost``) unless it is to ``reconnect``; at once, what keeps it from being sent.
        """
        context = self._context
        service = copy(self)  # the stream keeps the time: the daemon calls its end an unknown error
        service._context = replace(context, long_timeout=None, wait_for_ready=False)
        return EventStream(
            service,
            filters,
            context.long_timeout if timeout is None else timeout,
            reconnect=reconnect,
            is_patient=context.wait_for_ready,
        )

    def publish(self, topic: str, event: Payload | AnyValue) -> None:
        """Send an event, a record of ``event_types`` or any other, to all who have subscribed.

        ``topic`` is like ``/tasks/exit``; the namespace is the client's, the time the daemon's.
        Raises ``InvalidArgument`` for a topic that is none.
        """
        self._call("Publish", {"topic": topic, "event": payload_fields(event)})

    def forward(self, event: Event) -> None:
        """Send an event as it is, on behalf of its namespace, with its own time.

        Raises ``InvalidArgument`` for a topic or a namespace that is none, and for a ``Gap``.
        """
        envelope = {
            "timestamp": timestamp(event.timestamp),
            "namespace": event.namespace,
            "topic": event.topic,
            "event": payload_fields(event.event),
        }
        self._call("Forward", {"envelope": envelope})

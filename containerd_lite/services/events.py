"""The events service, containerd.services.events.v1.

``event_types`` has the records of events, and ``subscription`` the stream of a subscription.
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
        """Stream the daemon's events from now on, of all namespaces.

        containerd does not send past events. When this method returns, the request is sent, but
        the daemon may not have processed it yet. To miss no event, subscribe, wait until the
        daemon has processed the request, and then list::

            with client.event_service.subscribe(reconnect=True) as stream:
                stream.wait_until_subscribed()
                look_at(client.list_images())
                for event in stream:
                    if isinstance(event.event, Gap):
                        look_at(client.list_images())

        With ``reconnect`` the stream continues after a restart of the daemon. It subscribes again
        with the same filters, and waits until the daemon has processed that. Then it yields an
        event with a ``Gap``, one for each interruption, after which the caller must list again.

        This method raises an error if the request cannot be sent. Errors of the subscription are
        raised when the stream is read.

        Args:
            filters: Only events that match one of these filters. Default: all events. The fields
                are ``topic``, ``namespace`` and ``event.<field>``, such as
                ``event.container_id``. Events of images, containers and tasks have such fields.
            timeout: Seconds that the whole subscription may last. Default: until it is closed.
            reconnect: Whether to subscribe again when the connection to the daemon is lost.

        Returns:
            An iterator of events. Any thread may close it, which ends the iteration without an
            exception.

        Raises:
            InvalidArgument: A filter cannot be parsed.
            DeadlineExceeded: The subscription has lasted ``timeout`` seconds.
            Cancelled: The client was closed.
            Unavailable: The connection was lost (``ConnectionLost``), without ``reconnect``.
        """
        context = self._context
        service = copy(self)
        # The stream enforces the deadline, because the daemon reports its expiry as Unknown.
        service._context = replace(context, long_timeout=None, wait_for_ready=False)
        return EventStream(
            service,
            filters,
            context.long_timeout if timeout is None else timeout,
            reconnect=reconnect,
            is_patient=context.wait_for_ready,
        )

    def publish(self, topic: str, event: Payload | AnyValue) -> None:
        """Send an event to all subscribers, with the client's namespace and the daemon's time.

        Args:
            topic: The topic, such as ``/tasks/exit``.
            event: A record of ``event_types``, or a value of any other type.

        Raises:
            InvalidArgument: The topic or the event is invalid.
        """
        self._call("Publish", {"topic": topic, "event": payload_fields(event)})

    def forward(self, event: Event) -> None:
        """Send an event to all subscribers, with its own namespace and time.

        Raises:
            InvalidArgument: The topic or the namespace is invalid, or the event is a ``Gap``.
        """
        envelope = {
            "timestamp": timestamp(event.timestamp),
            "namespace": event.namespace,
            "topic": event.topic,
            "event": payload_fields(event.event),
        }
        self._call("Forward", {"envelope": envelope})

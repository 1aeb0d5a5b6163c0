"""The events service, containerd.services.events.v1.

The module ``event_types`` contains the records of events. The module ``subscription`` contains
``EventStream``, which receives events.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy
from itertools import product
from typing import get_args

from .. import limits
from ..arguments import check_types
from ..errors import InvalidArgument
from ..records import replace
from ..schema.values import timestamp
from ._base import Service
from ._events import payload_fields
from ._types import AnyValue
from .event_types import Event, EventTypes, Payload, topic_of
from .filters import Filter
from .subscription import EventStream


class EventService(Service):
    """The events of all namespaces."""

    _name = "containerd.services.events.v1.Events"

    def subscribe(
        self,
        *filters: str,
        topic: str | None = None,
        container: str | None = None,
        namespace: str | None = None,
        type: EventTypes | None = None,
        timeout: float | None = None,
        reconnect: bool = False,
    ) -> EventStream:
        """Subscribe to new events of all namespaces.

        containerd does not send past events. When this method returns, the request has been sent,
        but the daemon may not have processed it yet. To avoid missing events, first subscribe,
        then wait until the daemon has processed the request, and then list the objects::

            with client.event_service.subscribe(reconnect=True) as stream:
                stream.wait_until_subscribed()
                look_at(client.list_images())
                for event in stream:
                    if isinstance(event.event, Gap):
                        look_at(client.list_images())

        With ``reconnect`` the stream continues after a restart of the daemon. The stream
        subscribes again with the same filters, and waits until the daemon has processed the
        request. Then the stream yields one event that contains a ``Gap``. After this event, the
        caller must list the objects again.

        This method raises an error if the request cannot be sent. If the subscription fails later,
        reading from the stream raises the error.

        Args:
            filters: Only events that match one of these filters. Default: all events. The fields
                are ``topic``, ``namespace`` and ``event.<field>``, such as
                ``event.container_id``. Only some types of events support ``event.<field>``, such as
                the events of images, containers and tasks.
            topic: Only events with this topic (``"/tasks/exit"``). If it ends with ``/``, only
                events whose topic begins with it (``"/tasks/"``).
            container: Only events of the container with this id, and of its task.
            namespace: Only events of this namespace.
            type: Only events of this type, such as ``TaskExit``, or of one of several types.
            timeout: Seconds that the whole subscription may last. Default: no limit.
            reconnect: Whether to subscribe again when the connection to the daemon is lost.

        Returns:
            An iterator over events. Any thread may close the iterator, which ends the iteration
            without an exception.

        Raises:
            InvalidArgument: A filter cannot be parsed, or ``type`` is not a type of events.
            DeadlineExceeded: The subscription has lasted ``timeout`` seconds.
            Cancelled: The client was closed.
            Unavailable: ``reconnect`` is false, and the connection was lost (``ConnectionLost``).
        """
        context = self._context
        service = copy(self)
        # EventStream enforces the deadline, because daemons report an expired deadline as Unknown.
        service._context = replace(context, long_timeout=None, wait_for_ready=False)
        return EventStream(
            service,
            _all_filters(filters, topic, container, namespace, type),
            context.long_timeout if timeout is None else limits.seconds("timeout", timeout),
            reconnect=reconnect,
            is_patient=context.wait_for_ready,
        )

    def publish(self, topic: str, event: Payload | AnyValue) -> None:
        """Publish an event with the client's namespace and the daemon's current time.

        Args:
            topic: The topic, such as ``/tasks/exit``.
            event: A record of ``event_types``, or an ``AnyValue`` for other types of events.

        Raises:
            InvalidArgument: The topic or the event is invalid.
        """
        self._call("Publish", {"topic": topic, "event": payload_fields(event)})

    def forward(self, event: Event) -> None:
        """Publish an event with the namespace and the time that ``event`` contains.

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


def _all_filters(
    filters: Sequence[str],
    topic: str | None,
    container: str | None,
    namespace: str | None,
    type: EventTypes | None,
) -> tuple[str, ...]:
    """Return the filters for events that match one of ``filters``, and all other arguments."""
    check_types({"topic": topic, "container": container, "namespace": namespace})
    check_types({"filters": filters})
    name, here = Filter("topic"), list[Sequence[str]]()
    if topic is not None:
        prefix = f"^{re.escape(topic)}"
        here.append([name.matches(prefix) if topic.endswith("/") else name == topic])
    if type is not None:
        here.append([name == each for each in _topics(type)])
    if namespace is not None:
        here.append([Filter("namespace") == namespace])
    if container is not None:
        own = name.matches("^/containers/") & (Filter("event.id") == container)
        here.append([Filter("event.container_id") == container, own])
    groups = [filters, *here] if filters else here
    return tuple(",".join(parts) for parts in product(*groups)) if here else tuple(filters)


def _topics(types: EventTypes) -> list[str]:
    found = types if isinstance(types, tuple) else (types,)
    for each in found:
        if each not in get_args(Payload):
            raise InvalidArgument(
                f"type={each!r} is not a type of events", remedy="Pass a class such as TaskExit"
            )
    return [topic_of(each) for each in found]

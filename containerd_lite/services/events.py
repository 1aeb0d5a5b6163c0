"""containerd.services.events.v1: what happens in the daemon, as it happens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..schema.pool import DynamicMessage
from ..schema.values import datetime_of
from ._base import MessageStream, Service
from ._types import AnyValue, any_of


@dataclass(frozen=True)
class Event:
    """One event, as published on ``topic`` (``/tasks/exit``)."""

    timestamp: datetime
    namespace: str
    topic: str
    event: AnyValue


class EventService(Service):
    """The events of all namespaces."""

    _name = "containerd.services.events.v1.Events"

    def subscribe(self, *filters: str) -> MessageStream:
        """Stream envelopes from now on; ``event_of`` reads one.  Nothing is replayed."""
        return self._stream("Subscribe", {"filters": filters})


def event_of(message: DynamicMessage) -> Event:
    return Event(
        datetime_of(message.timestamp), message.namespace, message.topic, any_of(message.event)
    )

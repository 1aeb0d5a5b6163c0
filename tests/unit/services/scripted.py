"""A server that answers methods of containerd's API by functions of messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._base import CallContext
from containerd_lite.transport.channel import Channel
from tests.wire.peer import Peer, Request, Wire, answering

#: From the request's message to the fields of each response.
Answers = dict[str, Callable[[Any], list[dict[str, Any]]]]


@contextmanager
def serving(answers: Answers, asked: list[Any]) -> Iterator[tuple[Channel, CallContext]]:
    """``asked`` gets each request's message, decoded by the descriptor set alone."""

    def answer(wire: Wire, request: Request) -> None:
        method = CONTAINERD.method(request.path[1:])
        message = method.request.FromString(request.message)
        asked.append(message)
        bodies = [
            method.response(**fields).SerializeToString()
            for fields in answers[request.path[1:]](message)
        ]
        wire.send(wire.answer(request.stream_id, *bodies))

    with Peer(answering(answer)) as peer, Channel(peer.address) as channel:
        yield channel, CallContext("ns")

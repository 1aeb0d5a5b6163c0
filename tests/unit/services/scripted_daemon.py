"""A server that answers methods of containerd's API side by side, and refuses some.

As ``scripted``, for tests in which calls wait for each other: each request is answered in a
thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._base import CallContext
from containerd_lite.transport.channel import Channel
from tests.wire.peer import RESPONSE, Closed, Peer, Request, Wire, answering

#: From the request's message to the fields of the response.
Answer = Callable[[Any], Mapping[str, Any]]
#: The calls in the order in which they came: ``Service/Method`` without the package, the message.
Calls = list[tuple[str, Any]]

_THREADS = 16


class Refused(Exception):
    """An answer that is an error: gRPC's number of it, and what it says."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(code, said)
        self.code, self.said = code, said


@contextmanager
def serving(answers: Mapping[str, Answer], calls: Calls) -> Iterator[tuple[Channel, CallContext]]:
    """``answers`` are by the name that ``calls`` has, too."""
    lock = threading.Lock()

    def answered(wire: Wire, request: Request) -> None:
        method = CONTAINERD.method(request.path[1:])
        message = method.request.FromString(request.message)
        name = request.path.rpartition(".")[2]
        with lock:
            calls.append((name, message))
        try:
            body = method.response(**answers[name](message)).SerializeToString()
            end = None
        except Refused as refused:
            end = [*RESPONSE, ("grpc-status", str(refused.code)), ("grpc-message", refused.said)]
        with lock, suppress(Closed):  # what one answer says of its headers, the next refers to
            wire.send(
                wire.headers(request.stream_id, end, end=True)
                if end
                else wire.answer(request.stream_id, body)
            )

    with ThreadPoolExecutor(_THREADS) as pool:
        script = answering(lambda wire, request: tasks.append(pool.submit(answered, wire, request)))
        tasks: list[Any] = []
        with Peer(script) as peer, Channel(peer.address) as channel:
            yield channel, CallContext("ns")
    for task in tasks:
        task.result()

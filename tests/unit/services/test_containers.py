"""A list of containers, from daemons that stream it, and from those that cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from containerd_lite.errors import DeadlineExceeded, InvalidArgument, Unimplemented
from containerd_lite.schema.pool import CONTAINERD, encode
from containerd_lite.services._base import CallContext
from containerd_lite.services.containers import ContainerService
from containerd_lite.transport.channel import Channel
from tests.wire.peer import Peer, Request, Wire, answering, data
from tests.wire.peer import message as framed

pytestmark = pytest.mark.backend

PACKAGE = "containerd.services.containers.v1"
STREAM, LIST = f"/{PACKAGE}.Containers/ListStream", f"/{PACKAGE}.Containers/List"
VERSION = "/containerd.services.version.v1.Version/Version"


def message(name: str, **fields: Any) -> bytes:
    return encode(CONTAINERD.message(name)(**fields))


def streamed(id: str) -> bytes:
    return message(f"{PACKAGE}.ListContainerMessage", container={"id": id})


class Daemon:
    """Answers what `stream` says to ListStream; else as a daemon of 1.1 would."""

    def __init__(self, stream: Callable[[Wire, Request], None]) -> None:
        self.asked: list[str] = []
        self.filters: list[str] = []
        self._stream = stream

    def answer(self, wire: Wire, request: Request) -> None:
        self.asked.append(request.path)
        if request.path == STREAM:
            self._stream(wire, request)
        elif request.path == LIST:
            kind = CONTAINERD.message(f"{PACKAGE}.ListContainersRequest")
            self.filters = list(kind.FromString(request.message).filters)
            whole = message(f"{PACKAGE}.ListContainersResponse", containers=[{"id": "old"}])
            wire.send(wire.answer(request.stream_id, whole))
        else:
            said = message("containerd.services.version.v1.VersionResponse", version="1.1.0")
            wire.send(wire.answer(request.stream_id, said))


@contextmanager
def serving(daemon: Daemon, timeout: float | None = 5.0) -> Iterator[ContainerService]:
    with Peer(answering(daemon.answer)) as peer, Channel(peer.address) as channel:
        yield ContainerService(channel, CallContext("ns", timeout=timeout))


def unimplemented(wire: Wire, request: Request) -> None:
    wire.send(wire.headers(request.stream_id), wire.trailers(request.stream_id, 12))


def test_a_list_is_a_stream() -> None:
    def two(wire: Wire, request: Request) -> None:
        wire.send(wire.answer(request.stream_id, streamed("a"), streamed("b")))

    daemon = Daemon(two)
    with serving(daemon) as service:
        assert [found.id for found in service.list()] == ["a", "b"]
        assert [found.id for found in service.stream()] == ["a", "b"]
    assert daemon.asked == [STREAM] * 2


def test_a_daemon_that_streams_none_is_asked_for_all_at_once() -> None:
    daemon = Daemon(unimplemented)
    with serving(daemon) as service:
        assert [found.id for found in service.list("id==old", "image==x")] == ["old"]
        with pytest.raises(Unimplemented, match=r"containerd 1\.1\.0; the method came with 1\.2"):
            list(service.stream())
    assert daemon.asked == [STREAM, VERSION, LIST, STREAM, VERSION]
    assert daemon.filters == ["id==old", "image==x"]


def test_another_error_is_no_reason_to_ask_again() -> None:
    def broken(wire: Wire, request: Request) -> None:
        wire.send(wire.headers(request.stream_id))
        wire.send(wire.trailers(request.stream_id, 3, ("grpc-message", "no filter")))

    daemon = Daemon(broken)
    with serving(daemon) as service, pytest.raises(InvalidArgument, match="no filter"):
        service.list("==")
    assert daemon.asked == [STREAM]


def test_a_list_has_the_deadline_of_metadata() -> None:
    def stop_after_one(wire: Wire, request: Request) -> None:
        body = data(request.stream_id, framed(streamed("a")))
        wire.send(wire.headers(request.stream_id), body)

    with serving(Daemon(stop_after_one), timeout=0.2) as service:
        with pytest.raises(DeadlineExceeded):
            service.list()
        first = next(iter(service.stream()))  # which a consumer may read as slowly as it likes
        assert first.id == "a"

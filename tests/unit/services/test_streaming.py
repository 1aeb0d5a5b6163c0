"""Bytes through a stream: what each side may do, against a server that does what it may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from containerd_lite.errors import Aborted, DeadlineExceeded, ProtocolError, Unknown
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._base import CallContext
from containerd_lite.services._types import AnyValue
from containerd_lite.services.streaming import (
    MAX_DATA,
    WINDOW,
    ByteReader,
    ByteWriter,
    Stream,
    StreamingService,
)
from containerd_lite.transport.channel import Channel
from tests.wire.peer import DATA, END_STREAM, HEADERS, Peer, Wire, descriptors, message, settings
from tests.wire.peer import data as frame

pytestmark = pytest.mark.backend

EMPTY = AnyValue("google.protobuf.Empty", b"")
OTHER = AnyValue("some.Other", b"x")


def packed(name: str, **fields: object) -> AnyValue:
    name = f"containerd.types.transfer.{name}"
    return AnyValue(name, CONTAINERD.message(name)(**fields).SerializeToString())


def data(body: bytes) -> AnyValue:
    return packed("Data", data=body)


def credit(size: int) -> AnyValue:
    return packed("WindowUpdate", update=size)


class End:
    """The daemon's end of one stream."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.id = 0
        self._at = 0

    def receive(self) -> Any:
        """The client's next value as its message, ``None`` once it has said that all is sent."""
        any_kind = CONTAINERD.message("google.protobuf.Any")
        while True:
            body = self.wire.open[self.id].body if self.id else b""
            size = int.from_bytes(body[self._at + 1 : self._at + 5], "big")
            if len(body) >= self._at + 5 + size and len(body) > self._at:
                found = any_kind.FromString(bytes(body[self._at + 5 : self._at + 5 + size]))
                self._at += 5 + size
                return CONTAINERD.message(found.type_url).FromString(found.value)
            came = self.wire.read()
            self.wire._take(came)
            if came.kind == HEADERS:
                self.id = came.stream_id
                self.wire.send(self.wire.headers(self.id))
            if came.kind == DATA and came.flags & END_STREAM and not came.payload:
                return None

    def send(self, *values: AnyValue) -> None:
        any_kind = CONTAINERD.message("google.protobuf.Any")
        for value in values:
            body = message(any_kind(**vars(value)).SerializeToString())
            for at in range(0, len(body), 16384):
                self.wire.send(frame(self.id, body[at : at + 16384]))

    def end(self, status: int = 0) -> None:
        self.wire.send(self.wire.trailers(self.id, status))


@contextmanager
def service(script: Callable[[End], None], *first: AnyValue) -> Iterator[StreamingService]:
    """A daemon that answers the opening by ``first``, then does as ``script`` says."""

    def run(wire: Wire) -> None:
        wire.send(settings())
        end = End(wire)
        assert end.receive().id == "mine"
        end.send(*first)
        script(end)
        wire.wait_closed()

    before = descriptors()
    with Peer(run) as peer, Channel(peer.address) as channel:
        yield StreamingService(channel, CallContext("ns", timeout=5))
    assert descriptors() == before


@contextmanager
def opened(script: Callable[[End], None]) -> Iterator[Stream]:
    with service(script, EMPTY) as found, found.stream("mine") as stream:
        yield stream


def nothing(end: End) -> None:
    """Do nothing."""


def test_values_both_ways() -> None:
    def script(end: End) -> None:
        assert end.receive().update == 7
        end.send(OTHER, EMPTY)
        assert end.receive() is None
        end.end()

    with opened(script) as stream:
        stream.send(credit(7))
        assert stream.receive(5) == OTHER
        stream.finish_sending()
        assert list(stream) == [EMPTY]
        assert stream.is_done


@pytest.mark.parametrize("first", [OTHER, data(b"x")])
def test_another_answer_to_the_opening(first: AnyValue) -> None:
    with service(nothing, first) as found, pytest.raises(ProtocolError, match=first.type_url):
        found.stream("mine")


def test_no_answer_to_the_opening() -> None:
    with service(nothing) as found, pytest.raises(DeadlineExceeded):
        found.with_options(timeout=0.05).stream("mine")
    with service(End.end) as found, pytest.raises(ProtocolError, match="with nothing"):
        found.stream("mine")


def test_a_reader_gives_credit_for_what_was_read() -> None:
    granted: list[int] = []

    def script(end: End) -> None:
        for n in range(8):
            granted.append(end.receive().update)
            end.send(data(bytes([n]) * MAX_DATA))
        end.end()

    with opened(script) as stream:
        reader = ByteReader(stream, timeout=5)
        assert reader.read(1) == b"\0"
        assert reader.readall() == b"".join(bytes([n]) * MAX_DATA for n in range(8))[1:]
        assert reader.read(1) == b""
    assert granted == [WINDOW] + 7 * [MAX_DATA]  # what waits is never more than a window


@pytest.mark.parametrize(
    ("sent", "rule"),
    [
        ([data(bytes(MAX_DATA + 1))], f"{MAX_DATA + 1} bytes.*the maximum is {MAX_DATA} bytes"),
        ([data(bytes(MAX_DATA))] * 2 + [data(b"x")], "sent 1 bytes.*its credit was 0 bytes"),
    ],
)
def test_a_daemon_that_sends_more_than_it_may(sent: list[AnyValue], rule: str) -> None:
    def script(end: End) -> None:
        end.receive()
        end.send(*sent)

    with opened(script) as stream:
        reader = ByteReader(stream, timeout=5)
        reader._window = WINDOW if len(sent) > 1 else reader._window

        def all_at_once() -> None:
            while True:
                reader._handle_value(stream.receive(5))

        reader._grant_credit() if len(sent) == 1 else stream.send(credit(WINDOW))
        with pytest.raises(ProtocolError, match=rule):
            all_at_once()


def test_what_comes_between_the_bytes() -> None:
    def script(end: End) -> None:
        end.receive()
        end.send(data(b"a"), OTHER, data(b""), data(b"b"))
        end.end()

    with opened(script) as stream:
        seen: list[AnyValue] = []
        assert ByteReader(stream, other=seen.append, timeout=5).readall() == b"ab"
        assert seen == [OTHER]
    with opened(script) as stream:
        reader = ByteReader(stream, timeout=5)
        assert reader.read(1) == b"a"
        with pytest.raises(ProtocolError, match=r"some\.Other"):
            reader.read(1)


def test_how_a_stream_of_bytes_fails() -> None:
    def script(end: End) -> None:
        end.receive()
        end.send(data(b"a"))
        end.end(2)

    with opened(script) as stream:
        reader = ByteReader(stream, timeout=5)
        assert reader.read(1) == b"a"
        with pytest.raises(Unknown):
            reader.read(1)
    with opened(lambda end: end.receive()) as stream, pytest.raises(DeadlineExceeded):
        ByteReader(stream, timeout=0.05).read(1)


def test_a_writer_sends_what_it_may() -> None:
    sizes: list[int] = []

    def script(end: End) -> None:
        for allowed in (1, MAX_DATA + 5, 100_000):
            end.send(credit(allowed))
            while allowed:
                size = len(end.receive().data)
                sizes.append(size)
                assert size <= min(MAX_DATA, allowed)
                allowed -= size
                if sum(sizes) == 100_006:
                    break
        assert end.receive() is None
        end.end()

    with opened(script) as stream:
        writer = ByteWriter(stream, timeout=5)
        assert writer.write(b"") == 0
        assert writer.write(bytearray(6)) == 6
        assert writer.write(bytes(100_000)) == 100_000
        writer.finish()
        assert stream.receive(5) is None
    assert sizes[0] == 1
    assert sum(sizes) == 100_006


def test_a_writer_is_not_given_credit() -> None:
    with opened(nothing) as stream, pytest.raises(DeadlineExceeded):
        ByteWriter(stream, timeout=0.05).write(b"x")
    with opened(End.end) as stream, pytest.raises(Aborted, match="before all data was sent"):
        ByteWriter(stream, timeout=5).write(b"x")


@pytest.mark.parametrize(
    ("sent", "rule"),
    [
        ([OTHER], "where credit was expected"),
        ([data(b"x")], "where credit was expected"),
        ([credit(-1)], "a negative credit of -1 bytes"),
        ([credit((1 << 31) - 1), credit(1)], f"{1 << 31} bytes: the maximum is {(1 << 31) - 1}"),
    ],
)
def test_credit_that_cannot_be(sent: list[AnyValue], rule: str) -> None:
    def script(end: End) -> None:
        end.send(*sent)

    with opened(script) as stream:
        writer = ByteWriter(stream, timeout=5)

        def take_all() -> None:
            while True:
                writer._add_credit(stream.receive(5) or EMPTY)

        with pytest.raises(ProtocolError, match=rule):
            take_all()

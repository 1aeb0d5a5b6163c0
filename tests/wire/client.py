"""A `wire.Connection`, with no socket: a test gives it a server's bytes and looks at its own."""

from __future__ import annotations

from hpack import Decoder

from containerd_lite.wire import metadata
from containerd_lite.wire.call import Call, Timeout
from containerd_lite.wire.connection import Connection
from containerd_lite.wire.framing import opened
from containerd_lite.wire.metadata import Status
from tests.wire import peer
from tests.wire.peer import Frame, Frames

PATH = "/a.B/C"
CANCELLED = Status(metadata.CANCELLED, "enough", origin="local")


class Client:
    """A connection with a server's side to it; what goes out is parsed as it is taken."""

    def __init__(self, values: dict[int, int] | None = None, *, step: int = 0) -> None:
        self.wire = Connection()
        self.server = Frames()
        self.decoder = Decoder()
        self.step = step
        self.waiting = b""
        self.preface = b"".join(self.wire.outgoing)
        self.wire.outgoing.clear()
        self.give(peer.settings(values))
        assert self.sent() == [Frame(peer.SETTINGS, peer.ACK, 0, b"")]

    def give(self, *parts: bytes) -> None:
        data = b"".join(parts)
        step = self.step or len(data) or 1
        for at in range(0, len(data), step):
            self.waiting += data[at : at + step]
            used = self.wire.receive(memoryview(bytearray(self.waiting)))
            self.waiting = self.waiting[used:]

    def sent(self) -> list[Frame]:
        found, rest = peer.split(b"".join(self.wire.outgoing))
        self.wire.outgoing.clear()
        self.wire.add_waiting_frames()
        assert rest == b""
        return found

    def start(self, body: bytes | None = b"", timeout: Timeout = None) -> Call:
        """A unary call, or an open one with `None`; its request is taken off what is sent."""
        call = self.wire.start(PATH, (), timeout)
        if body is not None:
            self.wire.send(call, body, last=True)
        for found in self.sent():
            if found.kind == peer.HEADERS:
                self.decoder.decode(found.payload)
        return call

    def inbox(self, call: Call) -> list[bytes]:
        found = []
        while (body := self.wire.take(call)) is not None:
            found.append(bytes(opened(body)))
        return found


def resets(found: list[Frame]) -> list[tuple[int, int]]:
    return [(f.stream_id, f.word) for f in found if f.kind == peer.RST_STREAM]


def code(call: Call) -> int:
    assert call.status is not None
    return call.status.code

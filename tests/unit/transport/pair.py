"""A link whose socket is one end of a pair; the test holds the other and says what comes."""

from __future__ import annotations

import socket

from containerd_lite.deadline import Deadline
from containerd_lite.transport.link import Link
from containerd_lite.wire import metadata
from containerd_lite.wire.call import Call
from containerd_lite.wire.connection import Connection
from containerd_lite.wire.metadata import Status
from tests.wire import peer
from tests.wire.peer import Wire

NEVER = Deadline(None)
PATH = "/a.B/C"
CLOSED = Status(metadata.CANCELLED, "closed", origin="local")


class Pair:
    """A link and the server at its other end, which acts in the test's own thread."""

    def __init__(self, *, ready: bool = True) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(peer.PATIENCE)
        self.sock = theirs
        self.server = Wire(theirs, [], 0)
        self.link = Link(ours, Connection(), Deadline(peer.PATIENCE))
        if ready:
            self.server.send(peer.settings())

    def start(self, *body: bytes) -> Call:
        call = self.link.start(PATH, (), NEVER, body or None)
        assert call is not None
        return call

    def close(self) -> None:
        self.link.close(CLOSED)
        self.sock.close()


def ended(link: Link, call: Call, deadline: Deadline) -> bool:
    """Wait until a message has come, or the call has ended."""
    in_time, _ = link.receive(call, deadline)
    return in_time


def is_reading(link: Link) -> bool:
    return link._is_polling


def is_crowded(link: Link, followers: int) -> bool:
    return link._is_polling and len(link._followers) == followers

"""A relay between the client and a server, both on Unix sockets, that keeps every frame.

What lives here: what a client cannot tell of its own calls: the flags of messages, resets.
"""

from __future__ import annotations

import socket
from pathlib import Path

from tests.wire.peer import (
    DATA,
    PATIENCE,
    PREFACE,
    Closed,
    Frame,
    Peer,
    Wire,
    Worker,
    frame,
    split,
)


class Relay(Peer):
    """``seen`` has the client's frames for each connection, ``answered`` the server's."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self.answered: dict[int, list[Frame]] = {}
        super().__init__(self._relay)

    def __enter__(self) -> Relay:
        return self

    def _relay(self, wire: Wire) -> None:
        answered = self.answered[wire.number] = []
        with socket.socket(socket.AF_UNIX) as server:
            server.settimeout(PATIENCE)
            server.connect(str(self._server))
            back = Worker(_pass_back, server, wire, answered)
            try:
                server.sendall(PREFACE)
                while True:
                    server.sendall(frame(*wire.read()))
            finally:
                server.shutdown(socket.SHUT_RDWR)
                back.result()


def _pass_back(server: socket.socket, wire: Wire, answered: list[Frame]) -> None:
    rest = b""
    while more := server.recv(65536):
        found, rest = split(rest + more)
        answered += found  # before the client has them
        try:
            wire.send(more)
        except Closed:
            return


def flags_and_sizes(frames: list[Frame]) -> list[tuple[int, int]]:
    """The compressed-flag and the size on the wire of each message, stream after stream."""
    bodies: dict[int, bytes] = {}
    for one in frames:
        if one.kind == DATA:
            bodies[one.stream_id] = bodies.get(one.stream_id, b"") + one.payload
    found = []
    for body in bodies.values():
        while body:
            size = int.from_bytes(body[1:5], "big")
            found.append((body[0], size))
            body = body[5 + size :]
    return found

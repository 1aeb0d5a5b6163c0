"""A relay on the loopback between a client and a registry, which cuts them off in mid-stream.

What lives here: sockets, and the count of bytes.  What may not: knowledge of HTTP.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterable, Sequence

_PATIENCE = 60.0
"""Seconds, against hanging."""
_PIECE = 1 << 16
"""Bytes passed on at a time."""

UP, DOWN = "up", "down"


class Relay:
    """Passes bytes on, in both directions, and cuts each time that so many went in one.

    ``carried`` counts the bytes of either direction that came out at the other end, and ``heard``
    keeps those of the clients, of whom there were ``clients``.
    """

    def __init__(
        self,
        target: str,
        way: str = UP,
        after: Sequence[int] = (),
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """``target`` is ``host:port``; ``after`` lists the bytes from one cut to the next.

        ``meanwhile`` is done in a cut, when the old connections are closed and the new ones wait.
        """
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._way, self._after, self._meanwhile = way, list(after), meanwhile
        self.cuts = 0
        self.carried = {UP: 0, DOWN: 0}
        self.heard = bytearray()
        self.clients = 0
        self._failed: BaseException | None = None
        self._lock = threading.Lock()
        self._gate = threading.Lock()  # held while a cut goes on
        #: Clients come before their servers, and so they are hung up: no farewell is passed on.
        self._open: dict[socket.socket, None] = {}
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``, in place of the registry's own."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Relay:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with self._gate:
            _hang_up([self._listener, *self._open])
        for thread in list(self._threads):
            thread.join(_PATIENCE)
            if thread.is_alive():
                raise RuntimeError("the relay hangs")
        self._listener.close()
        if self._failed is not None:
            raise self._failed

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # which is the end
            while True:
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        # Errors of either end are its way of hanging up; there is nobody to report them to.
        with client, contextlib.suppress(OSError):
            with self._gate:
                server = socket.create_connection(self._target, _PATIENCE)
                self._open |= {client: None, server: None}
                self.clients += 1
            with server:
                try:
                    self._pass_on(client, server)
                finally:
                    with self._gate:
                        del self._open[client], self._open[server]

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        """Passes on what comes from either end, until one closes or both are cut off."""
        ways = {client: (server, UP), server: (client, DOWN)}
        while ready := select.select(list(ways), [], [], _PATIENCE)[0]:
            for sock in ready:
                other, way = ways[sock]
                came = sock.recv(_PIECE)
                if not came:
                    return
                room = self._room(way, len(came))
                if way == UP:
                    self.heard += came[:room]
                other.sendall(came[:room])
                if room < len(came):
                    self.cut()
                    return

    def _room(self, way: str, count: int) -> int:
        """How many of ``count`` bytes may pass; fewer if a cut is due."""
        with self._lock:
            due = way == self._way and self._after and self._after[0] < count
            room = self._after.pop(0) if due else count
            if way == self._way and self._after and not due:
                self._after[0] -= count
            self.carried[way] += room
            return room

    def cut(self) -> None:
        """Closes all connections now."""
        with self._gate:
            _hang_up(self._open)
            self.cuts += 1
            try:
                self._meanwhile()
            except BaseException as error:  # it is the test's to see
                self._failed = error


def _hang_up(socks: Iterable[socket.socket]) -> None:
    for sock in socks:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

"""A registry that answers what a test tells it to, in real bytes on a loopback address."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.harness.leaks import open_files
from tests.harness.tls import localhost_pem


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    raw: bytes = field(repr=False, default=b"")
    body: bytes = field(repr=False, default=b"")
    #: Whether the body was not taken to its end.
    cut: bool = False
    #: The client's certificate (DER), if it showed one.
    certificate: bytes | None = field(repr=False, default=None)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


#: Bytes to send; pieces to send, closing after them; or a function that makes one of them.
Reply = bytes | Iterator[bytes]
Script = Reply | Callable[[Request], Reply]


def reply(
    status: int = 200, body: bytes | str | object = b"", *, length: int | None = None,
    **headers: str,
) -> bytes:  # fmt: skip
    """A whole response; header names are written with underscores."""
    if not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = [f"HTTP/1.1 {status} Scripted"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if length != -1:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def challenge(value: str) -> bytes:
    error = {"errors": [{"code": "UNAUTHORIZED", "message": "who is there"}]}
    return reply(401, error, WWW_Authenticate=value)


class Scripted:
    """One server; a path without a script, or with all of it played, is a 404."""

    def __init__(self, address: str = "127.0.0.1", *, tls: bool | ssl.SSLContext = False) -> None:
        self.requests: list[Request] = []
        #: Set when the server closes: what a stalling script waits for.
        self.closing = threading.Event()
        #: Whether a stalling script was not hung up on in time.
        self.outlasted = False
        #: Methods and paths that are answered before the body has come.
        self.hasty: set[tuple[str, str]] = set()
        #: By method and path: how much is taken of one body after the other (bytes) before the
        #: connection is cut.  The script sees what came, and its answer is lost.
        self.cuts: dict[tuple[str, str], list[int]] = {}
        self._scripts: dict[tuple[str, str], list[Script]] = {}
        self._tls = tls if isinstance(tls, ssl.SSLContext) else None
        if tls is True:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(localhost_pem())
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((address, 0))
        self.host = f"{address}:{self._listener.getsockname()[1]}"
        self.origin = f"{'https' if tls else 'http'}://{self.host}"
        self.connections = 0

    def on(self, method: str, path: str, *scripts: Script) -> None:
        """Plays ``scripts`` in turn for a method and path (no query); the last one repeats."""
        self._scripts[method, path] = list(scripts)

    def seen(self, method: str, path: str) -> list[Request]:
        return [r for r in self.requests if (r.method, r.path) == (method, path)]

    @property
    def bytes_seen(self) -> bytes:
        return b"".join(request.raw + request.body for request in self.requests)

    @property
    def clients(self) -> int:
        """How many sockets of this process are connected to the server."""
        count = 0
        for number, file in open_files().items():
            if file.startswith("socket:"):
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as sock:
                    address, port = sock.getpeername()[:2]
                    count += f"{address}:{port}" == self.host
        return count

    def let_nobody_in(self) -> None:
        """From now on connections are refused."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def hang_up(self) -> None:
        """Closes the connections that are open."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Scripted:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        for thread in list(self._threads):
            thread.join(5)
            assert not thread.is_alive()
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.append(sock)
                self.connections += 1
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        # SSL errors and resets are the client's way of hanging up; nothing to report.
        with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            stream: socket.socket = sock
            if self._tls:
                stream = self._tls.wrap_socket(sock, server_side=True)
                stack.callback(stream.close)
                with self._lock:
                    self._open.append(stream)
            with stream.makefile("rb") as file:
                while not self.closing.is_set() and self._exchange(stream, file):
                    pass

    def _exchange(self, stream: socket.socket, file: io.BufferedReader) -> bool:
        raw = b""
        if file.peek(1)[:1] == b"\x16":  # a TLS greeting, to a server without TLS
            stream.sendall(reply(400, "speak http"))
            return False
        while not raw.endswith(b"\r\n\r\n"):
            line = file.readline(65536)
            if not line:
                return False
            raw += line
        first, *lines = raw.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.split(": ", 1) for line in lines if line)
        headers = {k.lower(): v for k, v in pairs}
        key = method, target.partition("?")[0]
        size = 0 if key in self.hasty else int(headers.get("content-length", "0"))
        cuts = self.cuts.get(key)
        cut = cuts.pop(0) if cuts else None
        body = file.read(size if cut is None else min(cut, size))
        shown = stream.getpeercert(True) if isinstance(stream, ssl.SSLSocket) else None
        request = Request(method, target, headers, raw, body, len(body) < size, shown)
        self.requests.append(request)
        answer = self._answer(request)
        return cut is None and self._play(stream, request, answer)

    def _answer(self, request: Request) -> Reply:
        scripts = self._scripts.get((request.method, request.path), [reply(404)])
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return script(request) if callable(script) else script

    def _play(self, stream: socket.socket, request: Request, answer: Reply) -> bool:
        if isinstance(answer, bytes):
            if request.method == "HEAD":
                answer = answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            stream.sendall(answer)
            return bool(answer) and b"connection: close" not in answer.lower()
        for piece in answer:
            stream.sendall(piece)
        return False

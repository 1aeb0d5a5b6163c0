"""A scripted HTTP/2 server of real bytes on a Unix socket, for tests of the client.

    with Peer(answering(echo)) as peer:
        Channel(peer.address).unary("/a.B/C", b"x")

`Frames` makes a server's bytes and needs no socket; `Wire` is one connection as a script sees it;
`Peer` runs a script for each connection, in a thread. Everything is bounded: a script that waits
for longer than `PATIENCE` seconds fails, and its failure is raised when the peer is left.
"""

from __future__ import annotations

import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from hpack import Decoder, Encoder

from tests.wire.workers import PATIENCE as PATIENCE
from tests.wire.workers import Worker as Worker
from tests.wire.workers import descriptors as descriptors
from tests.wire.workers import eventually as eventually

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_MOST_CONNECTIONS = 1000

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS, PADDED, HAS_PRIORITY = 4, 8, 32
HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 3, 4, 5

Field = tuple[str | bytes, str | bytes]
RESPONSE: tuple[Field, ...] = ((":status", "200"), ("content-type", "application/grpc"))


class Frame(NamedTuple):
    """One frame as it came; `word` is what RST_STREAM, WINDOW_UPDATE and GOAWAY begin with."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def word(self) -> int:
        return int.from_bytes(self.payload[:4], "big")


def frame(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    return (
        struct.pack(">L", len(payload))[1:] + struct.pack(">BBL", kind, flags, stream_id) + payload
    )


def word(value: int) -> bytes:
    return struct.pack(">L", value)


def message(body: bytes, compressed: int = 0) -> bytes:
    """gRPC's 5-byte prefix, and the message."""
    return struct.pack(">BL", compressed, len(body)) + body


def settings(values: dict[int, int] | None = None) -> bytes:
    pairs = (struct.pack(">HL", code, value) for code, value in (values or {}).items())
    return frame(SETTINGS, 0, 0, b"".join(pairs))


def goaway(last_id: int, code: int = 0, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, word(last_id) + word(code) + debug)


def rst(stream_id: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream_id, word(code))


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, word(increment))


def ping(payload: bytes = b"12345678", flags: int = 0) -> bytes:
    return frame(PING, flags, 0, payload)


def data(stream_id: int, payload: bytes, *, end: bool = False, padding: int | None = None) -> bytes:
    """One DATA frame; `padding` bytes of padding if that is not `None`."""
    flags = END_STREAM if end else 0
    if padding is not None:
        payload = bytes((padding,)) + payload + bytes(padding)
        flags |= PADDED
    return frame(DATA, flags, stream_id, payload)


def split(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames in some bytes, and what is left."""
    found = []
    while len(data) >= 9:
        size = int.from_bytes(data[:3], "big")
        if len(data) < 9 + size:
            break
        stream_id = int.from_bytes(data[5:9], "big") & 0x7FFFFFFF
        found.append(Frame(data[3], data[4], stream_id, data[9 : 9 + size]))
        data = data[9 + size :]
    return found, data


class Frames:
    """A server's frames; it remembers what its HPACK encoder has told the client."""

    def __init__(self) -> None:
        self.encoder = Encoder()

    def block(self, fields: Iterable[Field]) -> bytes:
        return bytes(self.encoder.encode(list(fields)))

    def headers(
        self,
        stream_id: int,
        fields: Iterable[Field] = RESPONSE,
        *,
        end: bool = False,
        pieces: int = 1,
    ) -> bytes:
        """HEADERS, and CONTINUATION if the block shall come in more than one piece."""
        block = self.block(fields)
        size = -(-len(block) // pieces) or 1
        parts = [block[at : at + size] for at in range(0, len(block), size)] or [b""]
        flags = END_STREAM if end else 0
        if len(parts) == 1:
            return frame(HEADERS, flags | END_HEADERS, stream_id, block)
        out = [frame(HEADERS, flags, stream_id, parts[0])]
        out += [frame(CONTINUATION, 0, stream_id, part) for part in parts[1:-1]]
        return b"".join([*out, frame(CONTINUATION, END_HEADERS, stream_id, parts[-1])])

    def trailers(self, stream_id: int, status: int = 0, *more: Field) -> bytes:
        return self.headers(stream_id, [("grpc-status", str(status)), *more], end=True)

    def answer(self, stream_id: int, *bodies: bytes, status: int = 0) -> bytes:
        """A whole response: headers, each message in a DATA frame or more, trailers."""
        out = [self.headers(stream_id)]
        for body in bodies:
            whole = message(body)
            out += [data(stream_id, whole[at : at + 16384]) for at in range(0, len(whole), 16384)]
        return b"".join([*out, self.trailers(stream_id, status)])


@dataclass
class Request:
    """One request, whole."""

    stream_id: int
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)

    @property
    def path(self) -> str:
        return self.headers[":path"]

    @property
    def message(self) -> bytes:
        """The first message."""
        return bytes(self.body[5 : 5 + int.from_bytes(self.body[1:5], "big")])


class Closed(Exception):
    """The client closed the connection: the script is over."""


class Wire(Frames):
    """One connection, from the server's side; `number` counts them from 0."""

    def __init__(self, sock: socket.socket, seen: list[Frame], number: int) -> None:
        super().__init__()
        self.number = number
        self.seen = seen
        self.decoder = Decoder()
        self.open: dict[int, Request] = {}
        self._sock = sock
        self._input = b""
        self._ready: list[Frame] = []
        self._had_preface = False
        self._lock = threading.Lock()

    def send(self, *parts: bytes) -> None:
        """Send bytes, or raise `Closed`; more threads than one may."""
        try:
            with self._lock:
                self._sock.sendall(b"".join(parts))
        except OSError as error:
            raise Closed from error

    def read(self) -> Frame:
        """The client's next frame; raises `Closed` at the end, `TimeoutError` after a while."""
        while not self._ready:
            try:
                more = self._sock.recv(65536)
            except ConnectionError as error:
                raise Closed from error
            if not more:
                raise Closed
            self._input += more
            if not self._had_preface and len(self._input) >= len(PREFACE):
                assert self._input.startswith(PREFACE)
                self._input = self._input[len(PREFACE) :]
                self._had_preface = True
            if self._had_preface:
                self._ready, self._input = split(self._input)
        found = self._ready.pop(0)
        self.seen.append(found)
        return found

    def read_until(self, kind: int, stream_id: int | None = None) -> Frame:
        """The next frame of a kind; what comes before is dealt with as `request` does."""
        while True:
            found = self.read()
            self._take(found)
            if found.kind == kind and stream_id in (None, found.stream_id):
                return found

    def request(self) -> Request:
        """The next request that is whole; SETTINGS are acknowledged, DATA is given credit for."""
        while True:
            found = self.read()
            self._take(found)
            if found.kind in (DATA, HEADERS) and found.flags & END_STREAM:
                return self.open.pop(found.stream_id)

    def _take(self, found: Frame) -> None:
        if found.kind == SETTINGS and not found.flags & ACK:
            self.send(frame(SETTINGS, ACK))
        elif found.kind == HEADERS:
            assert found.flags & END_HEADERS
            fields = {str(name): str(value) for name, value in self.decoder.decode(found.payload)}
            self.open[found.stream_id] = Request(found.stream_id, fields)
        elif found.kind == DATA:
            self.open[found.stream_id].body += found.payload
            if found.payload:
                size = len(found.payload)
                self.send(window_update(0, size), window_update(found.stream_id, size))
        elif found.kind == RST_STREAM:
            self.open.pop(found.stream_id, None)

    def wait_closed(self) -> None:
        """Read whatever comes until the client closes."""
        while True:
            self.read()


Script = Callable[[Wire], None]
Answer = Callable[[Wire, Request], None]


def echo(wire: Wire, request: Request) -> None:
    """The request's first message back."""
    wire.send(wire.answer(request.stream_id, request.message))


def answering(answer: Answer, values: dict[int, int] | None = None) -> Script:
    """A script that answers each request, until the client closes."""

    def script(wire: Wire) -> None:
        wire.send(settings(values))
        while True:
            answer(wire, wire.request())

    return script


def silent(wire: Wire) -> None:
    """Take the connection, read, and never say a word."""
    wire.wait_closed()


class Peer:
    """Listens on `path` in a folder of its own, from `with` or `listen()` on.

    `seen` has a list of frames for each connection. Connections are numbered in the order in
    which they came.
    """

    def __init__(self, script: Script, *, listening: bool = True) -> None:
        self._script = script
        self._folder = Path(tempfile.mkdtemp(prefix="peer"))
        self.path = self._folder / "s"
        self.address = f"unix://{self.path}"
        self.seen: list[list[Frame]] = []
        self.failures: list[BaseException] = []
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self._socks: list[socket.socket] = []
        if listening:
            self.listen()

    def listen(self) -> None:
        """Begin, or begin again after `stop`."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._acceptor = self._start(self._accept, self._listener)

    def stop(self) -> None:
        """As a daemon that ends: close every connection, then the socket file is gone."""
        if self._listener is not None:
            _close(self._listener)
            self._listener = None
            self.path.unlink()
            self._acceptor.join(PATIENCE)  # it takes no more connections from here on
        for sock in self._socks:
            _close(sock)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a script of the peer hangs"
        self._threads.clear()
        self._socks.clear()

    def _start(self, target: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self, listener: socket.socket) -> None:
        while len(self.seen) < _MOST_CONNECTIONS:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            self._socks.append(sock)
            self.seen.append([])
            self._start(self._run, sock, len(self.seen) - 1)

    def _run(self, sock: socket.socket, number: int) -> None:
        try:
            self._script(Wire(sock, self.seen[number], number))
        except (Closed, TimeoutError):
            pass
        except BaseException as error:
            if sock.fileno() != -1:
                self.failures.append(error)
        finally:
            _close(sock)

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        if error is None and self.failures:
            raise self.failures[0]


def _close(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it
    except OSError:
        pass
    finally:
        sock.close()

"""What a client and a daemon said, recorded and put into one row: every call after the other.

`Relay` stands between a client and a daemon and keeps each byte that passes; `conversation_of`
makes the calls of it, and the one string of bytes with which a server answers them, one after the
other, on one connection. The frames are the daemon's own, PING and WINDOW_UPDATE too; only their
streams are numbered anew and their header blocks encoded anew.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from types import TracebackType

from hpack import Decoder

from containerd_lite import Client
from containerd_lite.errors import BY_CODE, ContainerdError
from containerd_lite.services._base import CallContext
from containerd_lite.services.content import ContentService
from containerd_lite.transport.channel import Channel
from containerd_lite.wire.metadata import Metadata, decode_message
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry
from tests.wire.peer import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PATIENCE,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Field,
    Frame,
    Frames,
    data,
    frame,
    ping,
    rst,
    split,
    window_update,
)

#: The methods recorded here whose requests or responses are streams; the others are unary.
_STREAMING = ("Content/Read", "Content/Write", "Content/List", "Snapshots/List")
#: Names of a request's header fields that are not its caller's (PROTOCOL-HTTP2.md, Requests).
_OF_GRPC = ("te", "content-type", "user-agent")
#: The calls of several connections pass over one: it gets the room that all those had.
_ROOM = 1 << 20

#: A frame of the server's, for a stream yet to be numbered.
Piece = Callable[[Frames, int], bytes]


@dataclass
class Exchange:
    """One call: what was asked, and the frames in answer to it."""

    path: str
    metadata: Metadata
    asked: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)
    pieces: list[Piece] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)
    end: int = 0  #: how many of the pieces there were when the stream ended

    @property
    def is_streaming(self) -> bool:
        return self.path.endswith(_STREAMING)

    @property
    def requests(self) -> list[bytes]:
        return _messages(self.asked)

    @property
    def responses(self) -> list[bytes]:
        return _messages(self.answered)

    @property
    def error(self) -> type[ContainerdError] | None:
        """The exception that its status stands for, ``None`` for OK."""
        code = int(self.trailers["grpc-status"])
        return BY_CODE[code] if code else None

    @property
    def message(self) -> str:
        return decode_message(self.trailers.get("grpc-message", "").encode())


@dataclass(frozen=True)
class Conversation:
    """Calls in a row, and the server's side of it all.

    ``turns[n]`` is how much of ``sent`` may go out once ``n`` requests have come; ``ends[n]``,
    where the answer to call ``n`` is whole; ``boundaries`` lists where frames begin and end.
    """

    exchanges: list[Exchange]
    sent: bytes
    turns: list[int]
    ends: list[int]
    boundaries: list[int]

    def answered(self, cut: int) -> int:
        """How many calls have their whole answer in the first ``cut`` bytes."""
        return sum(end <= cut for end in self.ends)


class Relay:
    """Listens at ``address``, and passes what comes on to a daemon and back.

    ``tape`` has each piece that passed: connection, whether from the daemon, bytes.
    """

    def __init__(self, daemon: str) -> None:
        self.address = f"unix-abstract:relay-{secrets.token_hex(8)}"
        self.tape: list[tuple[int, bool, bytes]] = []
        self._daemon = daemon
        self._socks: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind("\0" + self.address.partition(":")[2])
        self._listener.listen(64)
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                daemon = socket.socket(socket.AF_UNIX)
                self._socks += client, daemon
                daemon.connect(self._daemon)
                number = len(self._socks) // 2
                self._start(self._pass, client, daemon, number, False)
                self._start(self._pass, daemon, client, number, True)

    def _pass(
        self, source: socket.socket, target: socket.socket, number: int, is_daemon: bool
    ) -> None:
        with suppress(OSError):
            while chunk := source.recv(1 << 20):
                self.tape.append((number, is_daemon, chunk))
                target.sendall(chunk)
        shut(target)

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shut(self._listener)
        self._threads[0].join(PATIENCE)  # no connection comes after that
        for sock in self._socks:
            shut(sock)
        for thread in self._threads:
            thread.join(PATIENCE)
        for sock in (self._listener, *self._socks):
            sock.close()


def shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it


class _Connection:
    """One connection of a tape; it adds the calls that begin on it to ``found``."""

    def __init__(self, found: list[Exchange]) -> None:
        self.settings = b""
        self._found = found
        self._open: dict[int, Exchange] = {}
        self._latest: Exchange | None = None
        self._rest = {True: b"", False: b""}
        self._decoders = {True: Decoder(), False: Decoder()}
        self._had_preface = False

    def take(self, is_daemon: bool, chunk: bytes) -> None:
        waiting = self._rest[is_daemon] + chunk
        if not is_daemon and not self._had_preface:
            if len(waiting) < len(PREFACE):
                self._rest[is_daemon] = waiting
                return
            waiting, self._had_preface = waiting.removeprefix(PREFACE), True
        found, self._rest[is_daemon] = split(waiting)
        for one in found:
            if is_daemon:
                self._take_answer(one)
            else:
                self._take_request(one)

    def _fields(self, found: Frame, is_daemon: bool) -> list[tuple[str, str]]:
        assert found.flags & (END_HEADERS | PADDED) == END_HEADERS
        decoded = self._decoders[is_daemon].decode(found.payload)
        return [(str(name), str(value)) for name, value in decoded]

    def _take_request(self, found: Frame) -> None:
        if found.kind == HEADERS:
            fields = self._fields(found, False)
            metadata = tuple(one for one in fields if not _is_of_grpc(one[0]))
            self._latest = Exchange(dict(fields)[":path"], metadata)
            self._open[found.stream_id] = self._latest
            self._found.append(self._latest)
        elif found.kind == DATA:
            self._open[found.stream_id].asked += found.payload

    def _take_answer(self, found: Frame) -> None:
        if found.kind == SETTINGS and not found.flags & ACK:
            self.settings = self.settings or found.payload
        # A frame of the connection's goes with the call that it came after.
        exchange = self._open[found.stream_id] if found.stream_id else self._latest
        if exchange is None:
            return
        fields: list[tuple[str, str]] = []
        if found.kind == HEADERS:
            fields = self._fields(found, True)
            exchange.trailers = dict(fields)
        elif found.kind == DATA:
            assert not found.flags & PADDED
            exchange.answered += found.payload
        piece = _piece(found, fields)
        if piece is not None:
            exchange.pieces.append(piece)
        if found.kind in (HEADERS, DATA) and found.flags & END_STREAM:
            exchange.end = len(exchange.pieces)


def _is_of_grpc(name: str) -> bool:
    return name in _OF_GRPC or name.startswith((":", "grpc-"))


def _piece(found: Frame, fields: Iterable[Field]) -> Piece | None:
    """The frame again, for another stream; ``None`` for one that only its own connection means."""
    has_end, own = bool(found.flags & END_STREAM), bool(found.stream_id)
    if found.kind == HEADERS:
        return lambda frames, stream: frames.headers(stream, fields, end=has_end)
    if found.kind == DATA:
        return lambda frames, stream: data(stream, found.payload, end=has_end)
    if found.kind == WINDOW_UPDATE:
        return lambda frames, stream: window_update(stream if own else 0, found.word)
    if found.kind == RST_STREAM:
        return lambda frames, stream: rst(stream, found.word)
    if found.kind == PING and not found.flags & ACK:
        return lambda frames, stream: ping(found.payload)
    return None


def conversation_of(tape: Iterable[tuple[int, bool, bytes]]) -> Conversation:
    """The calls of a tape in the order in which they began, those that the daemon ended."""
    begun: list[Exchange] = []
    connections: dict[int, _Connection] = {}
    for number, is_daemon, chunk in tape:
        connections.setdefault(number, _Connection(begun)).take(is_daemon, chunk)
    exchanges = [one for one in begun if one.end]
    frames, settings = Frames(), next(iter(connections.values())).settings
    pieces = [frame(SETTINGS, 0, 0, settings), frame(SETTINGS, ACK), window_update(0, _ROOM)]
    turns, ends = [1], []  # counted in pieces, so far
    for number, exchange in enumerate(exchanges):
        ends.append(len(pieces) + exchange.end)
        pieces += (make(frames, 2 * number + 1) for make in exchange.pieces)
        turns.append(len(pieces))
    places = [0, *accumulate(map(len, pieces))]
    return Conversation(
        exchanges,
        b"".join(pieces),
        [places[turn] for turn in turns],
        [places[end] for end in ends],
        places,
    )


def record(daemon: Daemon, registry: Registry, busybox: str) -> Conversation:
    """A blob read, a small image pulled and unpacked, and a container run, on a real daemon."""
    namespace = daemon.new_namespace()
    small = images.push(
        images.random_image([20_000, 300], seed=11), registry.host, "spoken-of", "latest"
    )
    blob = images.random_image([20_000], seed=12).layers[0]["digest"]
    body = images.random_image([20_000], seed=12).blobs[blob]
    with Client(daemon.address, namespace=namespace) as plain, Relay(str(daemon.socket)) as relay:
        runnable = plain.pull(busybox)
        with plain.lease(), Channel(relay.address) as channel:
            with plain.content_store.writer("spoken-of", size=len(body), expected=blob) as writer:
                writer.write(body)
                writer.commit()
            with ContentService(channel, CallContext(namespace)).read(blob) as chunks:
                assert b"".join(chunks) == body
            with Client(channel=channel, namespace=namespace) as recorded:
                recorded.pull(small)
                command = ["sh", "-c", "echo hello; exit 3"]
                done = recorded.run(runnable.name, command, user="0:0")
            assert (done.exit_code, done.stdout) == (3, b"hello\n")
        plain.get_image(small).delete()
        runnable.delete(sync=True)
    return conversation_of(relay.tape)


def _messages(body: bytes | bytearray) -> list[bytes]:
    """gRPC's messages in the data of a stream (PROTOCOL-HTTP2.md, Length-Prefixed-Message)."""
    found, at = [], 0
    while at < len(body):
        size = int.from_bytes(body[at + 1 : at + 5], "big")
        found.append(bytes(body[at + 5 : at + 5 + size]))
        at += 5 + size
    return found

"""A conversation once more, with a server that says its first so many bytes and no more.

`replay_cut` is one such run; its `Outcome` tells how each call ended, and by how much a call
outstayed its deadline.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from containerd_lite.errors import ContainerdError
from containerd_lite.transport.channel import Channel
from tests.hostile.conversation import Conversation, Exchange, shut
from tests.wire.peer import DATA, END_STREAM, HEADERS, PATIENCE, PREFACE, split

#: The time, in seconds, for a call whose answer will not come.
SHORT = 0.05
#: How many calls are made that cannot be answered: the one that was cut, and those after it.
_UNANSWERED = 2


class CutServer:
    """Answers one connection up to a byte; then it ends as a daemon does, or is `silent`.

    A daemon that ends takes no connection any more, and closes those that it has.
    """

    def __init__(self, conversation: Conversation, cut: int, *, silent: bool) -> None:
        self.address = f"unix-abstract:cut-{secrets.token_hex(8)}"
        self._conversation = conversation
        self._cut = cut
        self._silent = silent
        self._sock: socket.socket | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind("\0" + self.address.partition(":")[2])
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            self._sock, _ = self._listener.accept()
            self._answer(self._sock)
            while self._silent and self._sock.recv(1 << 16):
                pass
        shut(self._listener)
        self._listener.close()
        if self._sock is not None:
            self._sock.close()

    def _answer(self, sock: socket.socket) -> None:
        """Send what the requests that came call for, until the cut."""
        sent = requests = 0
        waiting = b""
        sock.recv(len(PREFACE), socket.MSG_WAITALL)
        while True:
            limit = min(self._cut, self._conversation.turns[requests])
            sock.sendall(self._conversation.sent[sent:limit])
            sent = limit
            more = b"" if sent == self._cut else sock.recv(1 << 16)
            if not more:
                return
            found, waiting = split(waiting + more)
            requests += sum(one.kind in (HEADERS, DATA) and one.flags & END_STREAM for one in found)

    def __enter__(self) -> CutServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shut(self._listener)
        if self._sock is not None:
            shut(self._sock)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the server hangs"


@dataclass(frozen=True)
class Result:
    """How one call ended: what came, and the error, if it was one."""

    exchange: Exchange
    messages: list[bytes]
    error: ContainerdError | None
    overrun: float  #: seconds past the deadline; below zero where it was in time

    @property
    def is_answer(self) -> bool:
        """Whether the call ended as the daemon had it end."""
        if self.error is None:
            return self.exchange.error is None and self.messages == self.exchange.responses
        told = (type(self.error), self.error.message)
        return told == (self.exchange.error, self.exchange.message)


@dataclass(frozen=True)
class Outcome:
    """How the calls ended, those that were made."""

    results: list[Result]

    @property
    def overrun(self) -> float:
        """The most seconds by which a call went past its deadline; 0 if none did."""
        return max(0.0, *(result.overrun for result in self.results))


def replay_cut(
    conversation: Conversation, cut: int, *, silent: bool, short: float = SHORT
) -> Outcome:
    """Make the calls in a row, on one connection, to a server that says `cut` bytes.

    It then ends as a daemon does, or, if `silent`, keeps the connection and says nothing; calls
    that nothing will answer then have `short` seconds. A few such calls are made, not all.
    """
    results: list[Result] = []
    answered = conversation.answered(cut)
    with (
        CutServer(conversation, cut, silent=silent) as server,
        Channel(server.address) as channel,
    ):
        for number, exchange in enumerate(conversation.exchanges[: answered + _UNANSWERED]):
            timeout = short if silent and number >= answered else PATIENCE
            results.append(_call(channel, exchange, timeout))
    return Outcome(results)


def _call(channel: Channel, exchange: Exchange, timeout: float) -> Result:
    messages: list[bytes] = []
    error: ContainerdError | None = None
    begin = time.perf_counter()
    try:
        if exchange.is_streaming:
            _stream(channel, exchange, timeout, messages)
        else:
            messages.append(_unary(channel, exchange, exchange.requests, timeout))
    except ContainerdError as raised:
        error = raised
    return Result(exchange, messages, error, time.perf_counter() - begin - timeout)


def _unary(
    channel: Channel, exchange: Exchange, requests: Sequence[bytes], timeout: float
) -> bytes:
    (request,) = requests
    # A connection of its own is the spare one, on which the streams are, too.
    reply = channel.unary(
        exchange.path, request, metadata=exchange.metadata, timeout=timeout, dedicated=True
    )
    return bytes(reply)


def _stream(channel: Channel, exchange: Exchange, timeout: float, messages: list[bytes]) -> None:
    with channel.stream(exchange.path, metadata=exchange.metadata, timeout=timeout) as stream:
        *first, last = exchange.requests
        for request in first:
            stream.send(request)
        stream.send(last, last=True)
        while (message := stream.receive()) is not None:
            messages.append(bytes(message))

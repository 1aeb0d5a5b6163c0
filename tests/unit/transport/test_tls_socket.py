"""TLS as ``pump`` and ``link`` meet it: every byte gets across, however it is torn.

The server's TLS runs in memory, so that the test says which bytes come when.
"""

from __future__ import annotations

import random
import select
import socket
import ssl
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.transport.address import parse_address
from containerd_lite.transport.channel import Channel
from containerd_lite.transport.failures import TLSFault
from containerd_lite.transport.tls import TLS, TLSSocket, secure
from containerd_lite.wire import metadata
from tests.harness.tls import Files, Front, server_context
from tests.wire.peer import PATIENCE, Peer, Worker, answering, echo

pytestmark = pytest.mark.interpreter

#: Plain bytes in one record (RFC 8446, 5.1).
RECORD = 16384
#: The smallest buffer that is promised to hold all; what pump has at least; and at most.
BUFFERS = (2 * (RECORD + 2048 + 5), (256 << 10) - RECORD - 8, 256 << 10)
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


class Server:
    """The other end; the bytes that it makes are the test's to send."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def shake_hands(self, size: int, then: bytes) -> None:
        """Send the handshake in pieces of a size, and then more together with its end."""
        while True:
            with suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                break
            self.send(self._outgoing.read(), size)
            self._incoming.write(self.sock.recv(1 << 16))
        last = self._outgoing.read()
        if self._tls.version() == "TLSv1.3":  # these are tickets: the client has what it waits for
            size = len(last)
        self.send(last[:-1], size)
        self.sock.sendall(last[-1:] + self.seal(then))

    def send(self, data: bytes, size: int) -> None:
        for at in range(0, len(data), size):
            self.sock.sendall(data[at : at + size])

    def seal(self, data: bytes) -> bytes:
        """Some bytes as records."""
        for at in range(0, len(data), RECORD):
            self._tls.write(data[at : at + RECORD])
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """The end, as a record (close_notify)."""
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._outgoing.read()

    def take(self, size: int) -> bytes:
        """What can be read after some more bytes have come; raises ``ssl.SSLError`` at the end."""
        self._incoming.write(self.sock.recv(size))
        found = bytearray()
        with suppress(ssl.SSLWantReadError):
            while more := self._tls.read(1 << 16):
                found += more
            raise ssl.SSLZeroReturnError
        return bytes(found)


Connect = Callable[..., tuple[TLSSocket, Server]]


@pytest.fixture
def connect(files: Files) -> Iterator[Connect]:
    """Makes a pair; whatever is open at the end is closed."""
    opened: list[socket.socket] = []

    def make(
        version: ssl.TLSVersion = VERSIONS[-1],
        size: int = 1 << 16,
        then: bytes = b"",
        room: int = 1 << 18,
    ) -> tuple[TLSSocket, Server]:
        near, far = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        opened.extend((near, far))
        context = server_context(files.server)
        context.minimum_version = context.maximum_version = version
        tls = TLS(files.authority.certificate)
        worker = Worker(secure, near, tls, "localhost", Deadline(PATIENCE))
        server = Server(far, context)
        server.shake_hands(size, then)
        sock = worker.result()
        assert isinstance(sock, TLSSocket)
        return sock, server

    yield make
    for sock in opened:
        sock.close()


def is_readable(sock: TLSSocket) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


def drain(sock: TLSSocket, size: int = BUFFERS[-1]) -> bytes:
    """All that ``poll`` knows of; there must be no more."""
    buffer, got = memoryview(bytearray(size)), bytearray()
    while is_readable(sock):
        with suppress(BlockingIOError):
            count = sock.recv_into(buffer)
            assert count, "the end"
            got += buffer[:count]
    with pytest.raises(BlockingIOError):
        sock.recv_into(buffer)
    return bytes(got)


# ---- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 7, 50, 1 << 16])
def test_a_torn_handshake(connect: Connect, version: ssl.TLSVersion, size: int) -> None:
    """What came together with the last of the handshake is not lost to ``poll``."""
    sock, server = connect(version, size, b"hello")
    assert drain(sock) == b"hello"
    assert sock.sendmsg([b"x"]) == 1
    assert server.take(1 << 16) == b"x"


@pytest.mark.parametrize("version", VERSIONS)
def test_torn_at_every_size(connect: Connect, version: ssl.TLSVersion) -> None:
    sock, server = connect(version)
    drain(sock)  # the tickets
    pieces = [b"a", b"b" * 100, b"c" * 200]
    for size in range(1, 400):
        sealed = b"".join(map(server.seal, pieces))
        got = b""
        for at in range(0, len(sealed), size):
            server.sock.sendall(sealed[at : at + size])
            got += drain(sock)
        assert got == b"".join(pieces), f"torn into pieces of {size}"


@pytest.mark.parametrize("size", BUFFERS)
@pytest.mark.parametrize("total", [RECORD - 1, RECORD, RECORD + 1, BUFFERS[-1], 1 << 20])
def test_poll_knows_of_everything(connect: Connect, size: int, total: int) -> None:
    sock, server = connect()
    server.sock.setblocking(False)
    plain = random.Random(total).randbytes(total)
    sealed, got = memoryview(server.seal(plain)), b""
    while sealed:
        sealed = sealed[server.sock.send(sealed) :]
        got += drain(sock, size)
    assert got == plain


@pytest.mark.parametrize("size", [1, 100, RECORD, BUFFERS[0] - 1])
def test_a_small_buffer_is_read_into_again(connect: Connect, size: int) -> None:
    sock, server = connect()
    plain = random.Random(size).randbytes(50_000)
    worker = Worker(server.send, server.seal(plain), 30_000)
    buffer, got = memoryview(bytearray(size)), bytearray()
    while len(got) < len(plain):
        with suppress(BlockingIOError):
            got += buffer[: sock.recv_into(buffer)]
    worker.result()
    assert got == plain


@pytest.mark.parametrize("version", VERSIONS)
def test_the_end_behind_data(connect: Connect, version: ssl.TLSVersion) -> None:
    """``poll`` tells of it, though the socket below is open."""
    sock, server = connect(version)
    drain(sock)
    server.sock.sendall(server.seal(b"last") + server.goodbye())
    buffer = memoryview(bytearray(BUFFERS[-1]))
    assert is_readable(sock)
    assert sock.recv_into(buffer) == 4
    for _ in range(2):
        assert is_readable(sock)
        assert sock.recv_into(buffer) == 0


def test_an_end_without_goodbye(connect: Connect) -> None:
    sock, server = connect()
    drain(sock)
    server.sock.sendall(server.seal(b"last") + server.seal(b"cut")[:-1])
    server.sock.close()
    buffer = memoryview(bytearray(BUFFERS[-1]))
    assert sock.recv_into(buffer) == 4
    for _ in range(2):
        assert sock.recv_into(buffer) == 0


def test_the_end_after_ours(connect: Connect) -> None:
    sock, server = connect()
    drain(sock)
    sock.shutdown(socket.SHUT_WR)
    server.sock.sendall(server.seal(b"last") + server.goodbye())
    buffer = memoryview(bytearray(BUFFERS[-1]))
    assert sock.recv_into(buffer) == 4
    assert sock.recv_into(buffer) == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_broken_record(connect: Connect, version: ssl.TLSVersion) -> None:
    """RFC 8446, 5.2: a record that does not authenticate ends the connection."""
    sock, server = connect(version)
    drain(sock)
    good, bad = server.seal(b"good"), bytearray(server.seal(b"bad"))
    bad[-1] ^= 1
    server.sock.sendall(good + bad + server.seal(b"late"))
    buffer = memoryview(bytearray(BUFFERS[-1]))
    assert sock.recv_into(buffer) == 4
    for _ in range(2):
        assert is_readable(sock)
        with pytest.raises(TLSFault, match="TLS failed") as caught:
            sock.recv_into(buffer)
        assert caught.value.status.code == metadata.INTERNAL
    sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(ssl.SSLError, match=r"(?i)alert.*mac"):  # bad_record_mac
        server.take(1 << 16)


# ---- writing ---------------------------------------------------------------------------------


def offer(sock: TLSSocket, waiting: deque[memoryview]) -> int:
    """Write as ``pump`` does: what was not taken is offered again, and more behind it."""
    sent = left = sock.sendmsg(list(waiting))
    while left:
        first = waiting.popleft()
        if len(first) > left:
            waiting.appendleft(first[left:])
        left -= min(left, len(first))
    return sent


@pytest.mark.parametrize("seed", range(4))
def test_writes_that_the_kernel_takes_in_part(connect: Connect, seed: int) -> None:
    sock, server = connect(VERSIONS[seed % 2], room=4096)
    chance = random.Random(seed)
    plain = chance.randbytes(1 << 20)
    sizes = [1, 9, 300, RECORD - 9, RECORD, RECORD + 9, 40_000]
    waiting: deque[memoryview] = deque()
    at, sent, blocked, got = 0, 0, 0, bytearray()
    while len(got) < len(plain):
        size = chance.choice(sizes)
        waiting.append(memoryview(plain)[at : at + size])
        at += size
        try:
            sent += offer(sock, waiting)
        except BlockingIOError:
            blocked += 1
            got += server.take(chance.randrange(1, 30_000))
        else:
            server.sock.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    got += server.take(1 << 16)
            assert len(got) >= sent, "counted as sent, and the peer cannot read it"
            server.sock.settimeout(PATIENCE)
    assert blocked
    assert got == plain


def test_a_record_holds_no_more_than_it_may(connect: Connect) -> None:
    """RFC 8446, 5.1: 2**14 bytes; small buffers go into one, for each record costs."""
    sock, server = connect()
    buffers = [b"x" * 9, b"y" * RECORD, b"", b"z" * 9]
    assert sock.sendmsg(buffers) == RECORD + 18
    sealed, sizes = server.sock.recv(1 << 16, socket.MSG_PEEK), []
    while sealed:
        size = int.from_bytes(sealed[3:5], "big")
        sizes.append(size - 17)  # RFC 8446, 5.2: the type, and the tag of AES-GCM
        sealed = sealed[5 + size :]
    assert sizes == [RECORD, 18]
    assert server.take(1 << 16) == b"".join(buffers)
    assert sock.sendmsg([b""]) == 0


def test_both_ways_at_once(connect: Connect, count: Callable[[int, int], int]) -> None:
    """One thread reads while another writes, as ``link`` has it."""
    sock, server = connect()
    total = count(32, 128) << 20
    plain = random.Random(0).randbytes(total)

    def echo() -> None:
        left = total
        while left:
            came = server.take(1 << 16)
            left -= len(came)
            server.sock.sendall(server.seal(came))

    def write() -> None:
        waiting = deque(memoryview(plain)[at : at + 99_999] for at in range(0, total, 99_999))
        poller = select.poll()
        poller.register(sock, select.POLLOUT)
        while waiting:
            assert poller.poll(PATIENCE * 1000)
            with suppress(BlockingIOError):
                offer(sock, waiting)

    def read() -> bytes:
        buffer, got = memoryview(bytearray(BUFFERS[-1])), bytearray()
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        while len(got) < total:
            assert poller.poll(PATIENCE * 1000)
            with suppress(BlockingIOError):
                got += buffer[: sock.recv_into(buffer)]
        return bytes(got)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        workers = [Worker(run) for run in (echo, write, read)]
        *_, got = (worker.result() for worker in workers)
    finally:
        sys.setswitchinterval(before)
    assert got == plain


# ---- closing ---------------------------------------------------------------------------------


def test_goodbye(connect: Connect) -> None:
    """RFC 8446, 6.1: who closes says so; but not ``close`` alone, which a forked child does."""
    sock, server = connect()
    assert sock.sendmsg([b"x"]) == 1
    sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(ssl.SSLZeroReturnError):
        server.take(1 << 16)
    assert server.sock.recv(1) == b""
    sock.close()
    sock, server = connect()
    drain(sock)
    sock.close()
    assert server.sock.recv(1) == b""


def test_goodbye_does_not_wait(connect: Connect) -> None:
    sock, _ = connect()
    with suppress(BlockingIOError):
        while True:
            sock.sendmsg([b"x" * RECORD])
    sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OSError, match=r"TLS failed|Broken pipe"):
        sock.sendmsg([b"x" * RECORD])


# ---- above it --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, *VERSIONS])
def test_a_channel(files: Files, version: ssl.TLSVersion | None) -> None:
    """Many calls side by side over one connection, and a stream, with TLS and over plain TCP."""
    context: ssl.SSLContext | None = None
    tls: TLS | Literal[False] = False
    if version is not None:
        context = server_context(files.server, clients=files.authority.certificate)
        context.minimum_version = context.maximum_version = version
        tls = TLS(files.authority.certificate, files.client.certificate, files.client.key)
    body = random.Random(0).randbytes(256 << 10)
    with (
        Peer(answering(echo)) as peer,
        Front(peer.path, context) as front,
        Channel(parse_address(front.address, tls=tls)) as channel,
    ):
        assert channel.unary("/a.B/C") == b""
        workers = [Worker(channel.unary, "/a.B/C", body[number:]) for number in range(8)]
        assert [worker.result() for worker in workers] == [body[number:] for number in range(8)]
        assert list(channel.stream("/a.B/C", body)) == [body]
    assert len(peer.seen) == 2

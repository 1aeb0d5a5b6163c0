"""TLS as a client meets it: who is trusted, and what a failure is called.

The other end is Python's ``ssl``, or bytes, on a port of the loopback.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from containerd_lite.errors import (
    ContainerdError,
    DeadlineExceeded,
    ProtocolError,
    Unauthenticated,
    Unavailable,
)
from containerd_lite.transport.address import parse_address
from containerd_lite.transport.channel import Channel
from containerd_lite.transport.failures import TLSFault
from containerd_lite.transport.tls import TLS, TLSSocket
from containerd_lite.wire import metadata
from tests.harness.tls import Files, Front, Pair, server_context
from tests.wire.peer import PATIENCE, Peer, Worker, answering, descriptors, echo

pytestmark = pytest.mark.interpreter

#: Of what link reads into.
BUFFER = 256 << 10
#: Plain bytes in one record (RFC 8446, 5.1).
RECORD = 16384


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


def settings(files: Files, pair: Pair | None = None) -> TLS:
    """A client's, by default of one without a certificate."""
    ca = files.authority.certificate
    return TLS(ca, pair.certificate, pair.key) if pair else TLS(ca)


# ---- the handshake -------------------------------------------------------------------------

Script = Callable[[socket.socket], None]


class Listener:
    """A port of the loopback that hands its only connection to a script."""

    def __init__(self, script: Script, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self._listener.settimeout(PATIENCE)
        self._script = script
        self.port = self._listener.getsockname()[1]
        self._worker = Worker(self._run)

    def _run(self) -> None:
        with self._listener.accept()[0] as sock:
            sock.settimeout(PATIENCE)
            self._script(sock)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *exception: object) -> None:
        self._worker.join()
        self._listener.close()
        if exception[0] is None:
            self._worker.result()

    def dial(self, tls: TLS, host: str = "127.0.0.1", timeout: float = PATIENCE) -> TLSSocket:
        sock = parse_address(f"tcp://{host}:{self.port}", tls=tls).dial(timeout)
        assert isinstance(sock, TLSSocket)
        return sock

    def refused(
        self, tls: TLS, host: str = "127.0.0.1", timeout: float = PATIENCE
    ) -> ContainerdError:
        """How a dial fails; it leaves nothing open."""
        before = descriptors()
        with pytest.raises(ContainerdError) as caught:
            self.dial(tls, host, timeout)
        self._worker.join()
        assert descriptors() <= before
        assert caught.value.address == f"tcp://{host}:{self.port}"
        assert caught.value.remedy
        return caught.value


def until_closed(sock: socket.socket) -> None:
    with suppress(OSError):
        while sock.recv(65536):
            pass


def echoing(context: ssl.SSLContext) -> Script:
    """A server that echoes until it is closed; a handshake that fails is none of its business."""

    def script(raw: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(raw, server_side=True) as sock:
            while came := sock.recv(65536):
                sock.sendall(came)

    return script


def saying(answer: bytes, *, hears: bool = True) -> Script:
    """A server that speaks no TLS: some bytes for the client's first ones."""

    def script(sock: socket.socket) -> None:
        if hears:
            sock.recv(65536)
        sock.sendall(answer)
        until_closed(sock)

    return script


def wait_for(sock: TLSSocket, event: int = select.POLLIN) -> None:
    poller = select.poll()
    poller.register(sock, event)
    assert poller.poll(PATIENCE * 1000), "poll sees nothing"


def receive(sock: TLSSocket, size: int) -> bytes:
    """As many bytes, waited for by ``poll`` alone; fewer at the end."""
    buffer, got = memoryview(bytearray(BUFFER)), bytearray()
    while len(got) < size:
        wait_for(sock)
        with suppress(BlockingIOError):
            count = sock.recv_into(buffer)
            if not count:
                break
            got += buffer[:count]
    return bytes(got)


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@VERSIONS
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_handshake(files: Files, version: ssl.TLSVersion, host: str) -> None:
    context = server_context(files.server, clients=files.authority.certificate)
    context.minimum_version = context.maximum_version = version
    where = "::1" if host == "[::1]" else "127.0.0.1"
    with Listener(echoing(context), where) as listener:
        sock = listener.dial(settings(files, files.client), host)
        with pytest.raises(BlockingIOError):
            sock.recv_into(memoryview(bytearray(BUFFER)))
        assert sock.sendmsg([b"he", memoryview(b""), bytearray(b"llo")]) == 5
        assert receive(sock, 5) == b"hello"
        sock.shutdown(socket.SHUT_RDWR)
        sock.close()


def test_one_file_may_hold_certificate_and_key(files: Files, tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.write_bytes(files.client.certificate.read_bytes() + files.client.key.read_bytes())
    context = server_context(files.server, clients=files.authority.certificate)
    with Listener(echoing(context)) as listener:
        sock = listener.dial(TLS(str(files.authority.certificate), cert=str(both)))
        sock.sendmsg([b"x"])
        assert receive(sock, 1) == b"x"
        sock.close()


def test_a_name_may_be_given(files: Files) -> None:
    context = server_context(files.authority.issue("named", names=["DNS:daemon.example"]))
    ca = files.authority.certificate
    with Listener(echoing(context)) as listener:
        listener.dial(TLS(ca, server_name="daemon.example")).close()
    with Listener(echoing(server_context(files.server))) as listener:
        error = listener.refused(TLS(ca, server_name="daemon.example"), "localhost")
        assert type(error) is Unauthenticated
        assert "server_name" in error.remedy


def test_the_systems_authorities(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """``SSL_CERT_FILE`` is where OpenSSL looks for them."""
    context = server_context(files.server)
    monkeypatch.setenv("SSL_CERT_FILE", str(files.other.certificate))
    with Listener(echoing(context)) as listener:
        assert type(listener.refused(TLS())) is Unauthenticated
    monkeypatch.setenv("SSL_CERT_FILE", str(files.authority.certificate))
    with Listener(echoing(context)) as listener:
        listener.dial(TLS()).close()


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("of another authority", "TLS(ca=...)"),
        ("of its own", "TLS(ca=...)"),
        ("for another host", "server_name"),
        ("for another address", "server_name"),
        ("expired", "Renew"),
        ("a client's", "TLS(ca=...)"),
    ],
)
def test_a_certificate_that_is_not_to_be_trusted(files: Files, kind: str, remedy: str) -> None:
    issue = files.authority.issue
    pair = {
        "of another authority": lambda: files.other.issue("server"),
        "of its own": lambda: Pair(
            files.other.certificate, files.other.certificate.with_suffix(".key")
        ),
        "for another host": lambda: issue("elsewhere", names=["DNS:elsewhere", "IP:127.0.0.1"]),
        "for another address": lambda: issue("afar", names=["DNS:localhost", "IP:127.0.0.9"]),
        "expired": lambda: issue("expired", days=-1),
        "a client's": lambda: files.client,
    }[kind]()
    host = "127.0.0.1" if kind == "for another address" else "localhost"
    with Listener(echoing(server_context(pair))) as listener:
        error = listener.refused(settings(files), host)
        assert type(error) is Unauthenticated
        assert "cannot be trusted" in error.message
        assert remedy in error.remedy


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
def test_a_peer_without_http2(files: Files, alpn: tuple[str, ...]) -> None:
    """RFC 9113, 3.2: HTTP/2 over TLS is agreed on by ALPN."""
    with Listener(echoing(server_context(files.server, alpn=alpn))) as listener:
        error = listener.refused(settings(files))
        assert type(error) is ProtocolError
        assert "HTTP/2" in error.message


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProtocolError),
        (b"\0\0\0\4\0\0\0\0\0", ProtocolError),  # SETTINGS: HTTP/2 without TLS
        (b"\x16\x03\x03\x00\x04\x02\x00\x00\x00", ProtocolError),  # a ServerHello cut short
        (b"\x15\x03\x03\x00\x02\x01\x00", Unavailable),  # close_notify
    ],
)
def test_a_peer_that_answers_something_else(files: Files, answer: bytes, kind: type) -> None:
    with Listener(saying(answer)) as listener:
        assert type(listener.refused(settings(files))) is kind


@pytest.mark.parametrize("code", [42, 43, 44, 45, 46, 48, 49, 51, 116])
@pytest.mark.parametrize("has_certificate", [False, True])
def test_alerts_about_the_client(files: Files, code: int, has_certificate: bool) -> None:
    """RFC 8446, 6.2: bad_certificate to decrypt_error, and certificate_required."""
    with Listener(saying(bytes((21, 3, 3, 0, 2, 2, code)))) as listener:
        error = listener.refused(settings(files, files.client if has_certificate else None))
        assert type(error) is Unauthenticated
        assert ("refused" if has_certificate else "requires") in error.message
        assert has_certificate or "TLS(cert=..., key=...)" in error.remedy


@pytest.mark.parametrize("code", [40, 70, 71, 80, 120])
def test_other_alerts(files: Files, code: int) -> None:
    """RFC 8446, 6.2: handshake_failure before there is a cipher, protocol_version and others."""
    with Listener(saying(bytes((21, 3, 3, 0, 2, 2, code)))) as listener:
        assert type(listener.refused(settings(files))) is ProtocolError


def test_a_peer_that_closes(files: Files) -> None:
    for hears in (True, False):  # unread bytes make the end a reset
        with Listener(lambda sock, hears=hears: sock.recv(65536) and None if hears else None) as at:  # type: ignore[misc]
            assert type(at.refused(settings(files))) is Unavailable


@pytest.mark.parametrize("answer", [b"", b"\x16\x03", b"\x16\x03\x03\x40\x00\x02"])
def test_a_handshake_that_does_not_end(files: Files, answer: bytes) -> None:
    with Listener(saying(answer)) as listener:
        error = listener.refused(settings(files), timeout=0.05)
        assert type(error) is DeadlineExceeded
        assert "TLS" in error.message


class Hello:
    """A ClientHello in one record (RFC 8446, 4.1.2)."""

    def __init__(self, record: bytes) -> None:
        self._rest = record[5 + 4 + 2 + 32 :]
        self._take(1)
        suites = self._take(2)
        self.suites = {suites[at : at + 2].hex() for at in range(0, len(suites), 2)}
        self.compression = self._take(1)
        self._rest = self._take(2)
        self.extensions = {}
        while self._rest:
            kind, self._rest = int.from_bytes(self._rest[:2], "big"), self._rest[2:]
            self.extensions[kind] = self._take(2)

    def _take(self, size: int) -> bytes:
        """What comes next, its length before it in so many bytes."""
        end = size + int.from_bytes(self._rest[:size], "big")
        taken, self._rest = self._rest[size:end], self._rest[end:]
        return taken


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_what_the_client_offers(files: Files, host: str) -> None:
    """RFC 9113, 9.2: TLS 1.2 or newer, ALPN h2, SNI, no compression, and of TLS 1.2 only AEAD
    suites with ephemeral keys (appendix A); RFC 6066, 3: SNI is a name.
    """
    hellos = []

    def script(sock: socket.socket) -> None:
        head = sock.recv(5, socket.MSG_WAITALL)
        body = sock.recv(int.from_bytes(head[3:], "big"), socket.MSG_WAITALL)
        hellos.append(Hello(head + body))

    with Listener(script) as listener:
        listener.refused(settings(files), host)
    (hello,) = hellos
    assert hello.extensions[43] == b"\4\3\4\3\3"  # supported_versions
    assert hello.extensions[16] == b"\0\3\2h2"
    assert hello.extensions.get(0, b"")[5:] == (b"localhost" if host == "localhost" else b"")
    assert hello.compression == b"\0"
    of_1_3, pseudo = {"1301", "1302", "1303"}, {"00ff"}
    gcm, chacha = {"c02b", "c02c", "c02f", "c030"}, {"cca8", "cca9"}
    assert {"1301", "c02b", "c02f"} <= hello.suites <= of_1_3 | pseudo | gcm | chacha


def test_the_peer_is_told_why(files: Files) -> None:
    """RFC 8446, 6.2: unknown_ca."""
    context = server_context(files.other.issue("server"))

    def script(raw: socket.socket) -> None:
        with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca"):
            context.wrap_socket(raw, server_side=True)

    with Listener(script) as listener:
        listener.refused(settings(files))


# ---- a client's certificate ------------------------------------------------------------------


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_a_client_that_is_not_let_in_by_tls_1_2(files: Files, who: str) -> None:
    context = server_context(files.server, clients=files.authority.certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Listener(echoing(context)) as listener:
        error = listener.refused(settings(files, files.stranger if who == "stranger" else None))
        assert type(error) is Unauthenticated
        assert ("refused" if who == "stranger" else "requires") in error.message


@pytest.mark.parametrize("who", ["nobody", "stranger"])
@pytest.mark.parametrize("writes", [False, True])
def test_a_client_that_is_not_let_in_by_tls_1_3(files: Files, who: str, writes: bool) -> None:
    """RFC 8446, 4.4.2.4: the client's handshake is over before the server looks at it."""
    context = server_context(files.server, clients=files.authority.certificate)
    with Listener(echoing(context)) as listener:
        sock = listener.dial(settings(files, files.stranger if who == "stranger" else None))
        wait_for(sock)
        if writes:  # until it fails, for the server has gone; the reason can be read all the same
            with suppress(OSError):
                while sock.sendmsg([b"x"]):
                    pass
        for _ in range(2):
            with pytest.raises(TLSFault, match="certificate") as caught:
                receive(sock, 1)
            assert caught.value.status.code == metadata.UNAUTHENTICATED
            assert ("refused" if who == "stranger" else "TLS(cert=..., key=...)") in str(
                caught.value
            )
        sock.close()


@VERSIONS
def test_a_channel_that_is_not_let_in(files: Files, version: ssl.TLSVersion) -> None:
    context = server_context(files.server, clients=files.authority.certificate)
    context.maximum_version = version
    with Peer(answering(echo)) as peer, Front(peer.path, context) as front:
        for tls in (settings(files), settings(files, files.stranger)):
            with Channel(parse_address(front.address, tls=tls)) as channel:
                for wait_for_ready in (False, True):
                    with pytest.raises(Unauthenticated, match="client certificate"):
                        channel.unary(
                            "/a.B/C", b"x", wait_for_ready=wait_for_ready, timeout=PATIENCE
                        )
    assert not peer.seen

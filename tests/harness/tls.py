"""Certificates made on the spot, and a TLS listener in front of a Unix socket.

`localhost_pem` makes a key and a self-signed certificate for localhost once, and keeps them.
`Authority` makes others in a folder of the test. All are good for tests only.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import socket
import ssl
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import Unavailable, cache, debian
from .process import run

_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:127.0.0.2"
_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-batch"]
_YEARS = 36500
_PATIENCE = 5.0
_MAX_BUFFER = 1 << 20
"""Bytes that the listener buffers for a slow receiver."""


@functools.cache
def localhost_pem() -> Path:
    """Return the file with the key and certificate for localhost, which stays in the cache."""
    path = cache.folder() / "localhost.pem"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=cache.folder()) as scratch:
            key, certificate = Path(scratch, "key"), Path(scratch, "certificate")
            request = f"req -x509 -newkey rsa:2048 -noenc -batch -days {_YEARS} -addext {_NAMES}"
            outputs = ("-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate))
            openssl(*request.split(), *outputs)
            both = Path(scratch, "both")
            both.write_bytes(key.read_bytes() + certificate.read_bytes())
            with contextlib.suppress(FileExistsError):  # another process has made it
                path.hardlink_to(both)
    return path


def openssl(*args: str) -> None:
    """Run openssl; raise `Unavailable` if it fails."""
    program = debian.program("openssl", "openssl", "bookworm", prefer_path=True)
    done = run([*program.argv, *args], timeout=60)
    if done.returncode:
        raise Unavailable(f"openssl {args[0]} failed: {done.stderr.decode('utf-8', 'replace')}")


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates. `certificate` is the file that verifies them."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        """Make the authority's own files in `folder`, which will also have those that it signs."""
        self._folder, self._name = folder, name
        self.certificate = folder / f"{name}.pem"
        self.pair = Pair(self.certificate, folder / f"{name}.key")
        openssl(
            *("req", "-x509", *_KEY, "-days", str(_YEARS), "-subj", f"/CN={name}"),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
            *("-addext", "keyUsage=critical,keyCertSign"),
            *("-keyout", str(self.pair.key), "-out", str(self.certificate)),
        )

    def issue(
        self,
        name: str,
        *,
        names: Sequence[str] = ("DNS:localhost", "IP:127.0.0.1", "IP:::1"),
        use: str = "serverAuth",
        days: int = _YEARS,
    ) -> Pair:
        """Make a certificate that is valid for `days` from now; with -1 it has expired.

        `name` is the name of its files, `names` are its subject alternative names, and `use` is an
        extended key usage (RFC 5280, 4.2.1.12).
        """
        extensions = ("basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={use}")
        return self.sign(name, *extensions, f"subjectAltName={','.join(names)}", days=days)

    def sign(self, name: str, *extensions: str, days: int = _YEARS) -> Pair:
        """Make a certificate with these extensions, as openssl's configuration names them."""
        stem = self._folder / f"{self._name}-{name}"
        pair = Pair(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        request = stem.with_suffix(".request")
        added = [word for extension in extensions for word in ("-addext", extension)]
        openssl(
            *("req", "-new", *_KEY, "-subj", f"/CN={name}", "-keyout", str(pair.key)),
            *(*added, "-out", str(request)),
        )
        openssl(
            *("x509", "-req", "-in", str(request), "-copy_extensions", "copyall"),
            *("-CA", str(self.certificate), "-CAkey", str(self.pair.key)),
            *("-days", str(days), "-out", str(pair.certificate)),
        )
        return pair


class Files:
    """The certificates of a daemon and its clients.

    `stranger` is a client certificate that another authority has signed.
    """

    def __init__(self, folder: Path) -> None:
        """Make all certificates in `folder`."""
        self.authority, self.other = Authority(folder), Authority(folder, "other")
        self.server = self.authority.issue("server")
        self.client = self.authority.issue("client", use="clientAuth")
        self.stranger = self.other.issue("client", use="clientAuth")


def server_context(
    pair: Pair, *, clients: Path | None = None, alpn: Sequence[str] = ("h2",)
) -> ssl.SSLContext:
    """Return a server's context. `clients` is the authority that must sign client certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


class Front:
    """A TLS listener on a free port of the loopback that relays everything to a Unix socket.

    It offers containerd's API over TCP: the daemon's own TCP listener offers only the CRI.
    """

    def __init__(self, target: Path, context: ssl.SSLContext | None) -> None:
        """Choose the Unix socket, and the TLS context, or None for plain TCP. `with` listens."""
        self._target, self._context = target, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake, self._wake_writer = os.pipe()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def address(self) -> str:
        """The address `tcp://127.0.0.1:PORT`."""
        return f"tcp://127.0.0.1:{self.port}"

    def __enter__(self) -> Front:
        """Listen."""
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection."""
        os.close(self._wake_writer)  # every thread polls the other end
        for thread in self._threads:
            thread.join(2 * _PATIENCE)
            if thread.is_alive():
                raise RuntimeError("the TLS listener hangs")
        os.close(self._wake)
        self._listener.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._wait({self._listener: select.POLLIN}):
            sock, _ = self._listener.accept()
            self._start(self._serve, sock)

    def _serve(self, raw: socket.socket) -> None:
        # Either end may close its connection at any time. That is not an error of this listener.
        with raw, contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as target:
            raw.settimeout(_PATIENCE)
            with self._context.wrap_socket(raw, server_side=True) if self._context else raw as sock:
                target.connect(str(self._target))
                self._relay(sock, target)

    def _relay(self, sock: socket.socket, target: socket.socket) -> None:
        """Relay data in both directions until one end closes."""
        sock.setblocking(False)
        target.setblocking(False)
        buffers = {sock: bytearray(), target: bytearray()}  # the data to send to each end
        others = {sock: target, target: sock}
        while True:
            events = dict.fromkeys(buffers, 0)
            for end, buffer in buffers.items():
                events[end] |= select.POLLOUT if buffer else 0
                events[others[end]] |= select.POLLIN if len(buffer) < _MAX_BUFFER else 0
            if self._wait(events):
                return
            for end, buffer in buffers.items():
                with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
                    while len(buffer) < _MAX_BUFFER:
                        data = others[end].recv(1 << 16)
                        if not data:
                            return
                        buffer += data
                with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError):
                    while buffer:
                        del buffer[: end.send(buffer[: 1 << 14])]

    def _wait(self, events: dict[socket.socket, int]) -> bool:
        """Wait for an event of any socket; return whether the listener must end."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        for sock, mask in events.items():
            poller.register(sock, mask)
        return any(descriptor == self._wake for descriptor, _ in poller.poll())

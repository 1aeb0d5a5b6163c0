"""TLS under HTTP/2: the settings, the handshake, and a socket that ``pump`` and ``link`` can drive.

What lives here: ``TLS``, ``secure``, ``TLSSocket``.  What may not: addresses, connecting, what is
sent, what a failure means (``failures``).

A certificate and the name in it are always verified.  The rules of HTTP/2 are those of RFC 9113,
9.2: TLS 1.2 at least, no compression, no renegotiation, ALPN ``h2``.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress

from ..deadline import Deadline
from ..errors import ContainerdError, InvalidArgument, ProtocolError
from ..records import record
from ..wire.call import Buffer
from .failures import TLSFault, of_tls

File = str | os.PathLike[str]

_ALPN = "h2"
#: Of TLS 1.2; what else a library offers is on the list of RFC 9113, appendix A.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
#: Plain bytes in one record (RFC 8446, 5.1), and a sealed record with its header (RFC 5246, 6.2.3).
_MOST_PLAIN, _MOST_SEALED, _HEADER = 1 << 14, (1 << 14) + 2048 + 5, 5
_RECEIVE_BUFFER = 128 << 10
#: A socket's time-out has a limit; waits are cut.
_LONGEST_WAIT = 3600.0


@record(frozen=True)
class TLS:
    """How to speak TLS with a daemon; every file is in PEM, and is read at each dial.

    ``ca`` has the certificates of the authorities to trust, by default the system's.  ``cert`` and
    ``key`` are the client's, which a daemon with ``tcp_tls_ca`` asks for; ``key`` may be left out
    where ``cert`` holds both.  ``server_name`` is the name to look for in the daemon's certificate,
    by default the address's host.
    """

    ca: File | None = None
    cert: File | None = None
    key: File | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.cert is None:
            raise InvalidArgument("tls has a key without a certificate", remedy="Give TLS(cert=…)")

    def context(self) -> ssl.SSLContext:
        """What ``ssl`` makes connections with.  Raises ``InvalidArgument``, naming a bad file."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # this verifies certificate and name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_ciphers(_CIPHERS)
        context.set_alpn_protocols([_ALPN])
        if self.ca is None:
            context.load_default_certs()
        else:
            _load_authorities(context, self.ca)
        if self.cert is not None:
            _load_certificate(context, self.cert, self.key or self.cert)
        return context


def _load_authorities(context: ssl.SSLContext, ca: File) -> None:
    _check_readable(ca)
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise _bad_file(f"{os.fspath(ca)} holds no certificates") from error


def _load_certificate(context: ssl.SSLContext, cert: File, key: File) -> None:
    _check_readable(cert)
    _check_readable(key)

    def refuse() -> str:  # else OpenSSL would ask for it on the terminal
        raise _bad_file(f"the key in {os.fspath(key)} has a password")

    try:
        context.load_cert_chain(cert, key, refuse)
    except ssl.SSLError as error:
        said = f"the key in {os.fspath(key)} is not that of the certificate in {os.fspath(cert)}"
        if error.reason != "KEY_VALUES_MISMATCH":
            said = f"no certificate is in {os.fspath(cert)}, or no key in {os.fspath(key)}"
        raise _bad_file(said) from error


def _check_readable(path: File) -> None:
    """``ssl`` does not say which file it could not open."""
    try:
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise _bad_file(f"cannot read {os.fspath(path)}: {why}") from error


def _bad_file(said: str) -> InvalidArgument:
    return InvalidArgument(f"tls: {said}", remedy="ca=, cert= and key= are plain files in PEM")


class TLSSocket:
    """TLS over a connected socket; it has what ``pump`` and ``link`` use of a non-blocking one.

    One thread may read while another writes; any may shut down.  TLS itself runs in memory: the
    lock around it is held over no system call, and a write that fails does not stand in the way of
    reading why the peer went.
    """

    def __init__(self, sock: socket.socket, tls: TLS, server_name: str) -> None:
        """Shake hands before anything else.  Raises ``InvalidArgument``."""
        context = tls.context()
        self._sock = sock
        self._settings = tls
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._tls = context.wrap_bio(
                self._incoming, self._outgoing, server_hostname=server_name
            )
        except (ValueError, TypeError) as error:
            said = f"tls: {server_name!r} is no server's name"
            raise InvalidArgument(said, remedy="Give a name or an address that is one") from error
        self._lock = threading.Lock()  # around the three above
        self._sending = threading.Lock()  # held by who uses the two below
        self._unsent = memoryview(b"")  # sealed already, and not in the kernel yet
        self._owed = 0  # plain bytes of it, which the caller takes for unsent
        self._sealed = memoryview(bytearray(_RECEIVE_BUFFER))
        self._is_full = False  # the last reader's buffer was, and there may be more inside
        self._is_over = False
        self._fault: TLSFault | None = None

    # ---- the handshake -----------------------------------------------------------------------

    def shake_hands(self, deadline: Deadline) -> None:
        """Raises ``ssl.SSLError``, ``TimeoutError``, ``BlockingIOError`` or another ``OSError``.

        It takes one record from the kernel at a time.  What follows the handshake stays there,
        where ``poll`` can see it.
        """
        header, body = b"", 0
        while not self._advance(deadline):
            self._set_patience(deadline)
            piece = self._sock.recv(body or _HEADER - len(header))
            if not piece:
                raise ConnectionResetError(errno.ECONNRESET, "the peer closed it")
            self._incoming.write(piece)
            if body:
                body -= len(piece)
                continue
            header += piece
            if len(header) == _HEADER:
                header, body = b"", int.from_bytes(header[3:], "big")
        self._sock.setblocking(False)

    def _advance(self, deadline: Deadline) -> bool:
        """Go on as far as the bytes that came allow; whether the handshake is over."""
        is_over = False
        try:
            self._tls.do_handshake()
            is_over = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._sock.setblocking(False)
            with suppress(OSError):
                self._push()  # an alert tells the peer why
            raise
        self._set_patience(deadline)
        self._push()
        return is_over

    def _set_patience(self, deadline: Deadline) -> None:
        remaining = deadline.remaining()
        self._sock.settimeout(None if remaining is None else min(remaining, _LONGEST_WAIT))

    @property
    def protocol(self) -> str | None:
        """What the peer chose by ALPN."""
        return self._tls.selected_alpn_protocol()

    def explain(self, error: OSError) -> ContainerdError:
        """What an error of TLS, or of the socket in the handshake, means."""
        return of_tls(
            error,
            has_certificate=self._settings.cert is not None,
            has_cipher=self._tls.cipher() is not None,
        )

    # ---- a socket's --------------------------------------------------------------------------

    def recv_into(self, buffer: memoryview) -> int:
        """Read what has come; 0 at the end.

        With a buffer of twice a record's size (36 KiB) or more nothing stays behind where ``poll``
        does not see it.  With a smaller one, read until ``BlockingIOError``.
        """
        filled = self._unseal(buffer, 0) if self._is_full else 0
        room = len(buffer)
        if room >= 2 * _MOST_SEALED:  # a part of a record may be inside already
            room -= _MOST_SEALED
        if not filled and not self._is_over:
            count = self._sock.recv_into(self._sealed[:room])
            self._is_over = not count
            filled = self._unseal(buffer, count)
        if filled:
            return filled
        if self._fault is not None:
            raise self._fault
        if not self._is_over:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return 0

    def _unseal(self, buffer: memoryview, came: int) -> int:
        """Take in ``came`` sealed bytes; decrypt what is inside as far as there is room."""
        filled = 0
        with self._lock:
            self._incoming.write(self._sealed[:came])
            try:
                while filled < len(buffer) and not self._is_over:
                    count: int = self._tls.read(len(buffer) - filled, buffer[filled:])  # type: ignore[assignment]
                    self._is_over = not count
                    filled += count
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self._is_over = True
            except ssl.SSLError as error:
                self._fault = TLSFault(self.explain(error))
                self._is_over = True
        self._is_full = filled == len(buffer)
        if self._is_over:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RD)  # poll shall see it
        return filled

    def sendmsg(self, buffers: Sequence[Buffer]) -> int:
        """Send what the kernel takes; what it does not take must be offered again, as it is.

        Nothing counts as sent before all of its record is in the kernel: the peer cannot read it
        before that.
        """
        if not self._sending.acquire(blocking=False):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        sent = 0
        try:
            self._push()
            sent, self._owed = self._owed, 0
            for plain in _records(buffers, sent):
                self._owed = self._seal(plain)
                self._push()
                sent, self._owed = sent + self._owed, 0
        except OSError:
            if not sent:
                raise
        finally:
            self._sending.release()
        return sent

    def _seal(self, plain: Buffer) -> int:
        with self._lock:
            try:
                return self._tls.write(plain)
            except ssl.SSLWantReadError as error:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
            except ssl.SSLError as error:
                raise self._fault or TLSFault(self.explain(error)) from error

    def _push(self) -> None:
        """Give the kernel what is sealed, or raise what its socket raises."""
        while True:
            if not self._unsent:
                with self._lock:
                    self._unsent = memoryview(self._outgoing.read())
                if not self._unsent:
                    return
            self._unsent = self._unsent[self._sock.send(self._unsent) :]

    def fileno(self) -> int:
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        self._sock.setblocking(flag)

    def shutdown(self, how: int) -> None:
        """Say goodbye, if nobody is writing and the kernel takes it, and shut the socket down."""
        if how != socket.SHUT_RD and self._sending.acquire(blocking=False):
            try:
                with suppress(OSError), self._lock:
                    self._tls.unwrap()
                with suppress(OSError):
                    self._push()
            finally:
                self._sending.release()
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close the descriptor, without a word and without a lock: a forked child may do it."""
        self._sock.close()


def _records(buffers: Sequence[Buffer], skip: int) -> Iterator[Buffer]:
    """The bytes of the buffers behind the first ``skip``, cut into what one record holds."""
    plain = bytearray()
    for buffer in buffers:
        view = memoryview(buffer)[skip:]
        skip = max(0, skip - len(buffer))
        while view:
            room = _MOST_PLAIN - len(plain)
            plain += view[:room]
            view = view[room:]
            if len(plain) == _MOST_PLAIN:
                yield plain
                plain = bytearray()
    if plain:
        yield plain


def secure(sock: socket.socket, tls: TLS, host: str, deadline: Deadline) -> TLSSocket:
    """Shake hands over a connected socket; ``host`` is to be in the peer's certificate.

    Raises ``Unauthenticated`` where one end does not trust the other, ``ProtocolError`` where the
    peer does not speak TLS or HTTP/2, ``DeadlineExceeded``, ``Unavailable`` or ``InvalidArgument``.
    The socket then stays open, and is the caller's.
    """
    secured = TLSSocket(sock, tls, tls.server_name or host)
    try:
        secured.shake_hands(deadline)
    except OSError as error:
        raise secured.explain(error) from error
    if secured.protocol != _ALPN:
        raise ProtocolError(
            f"the peer speaks TLS but not HTTP/2: by ALPN it chose {secured.protocol}",
            remedy="Is this the gRPC listener of containerd?",
        )
    return secured

"""TLS for HTTP/2: the settings, the handshake, and a non-blocking socket.

The client always verifies the daemon's certificate and the name in the certificate. The client
follows HTTP/2's rules for TLS (RFC 9113, 9.2): TLS 1.2 or newer, no compression, no renegotiation,
ALPN ``h2``.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress

from ..arguments import check_types, is_path
from ..deadline import Deadline
from ..errors import ContainerdError, InvalidArgument, ProtocolError
from ..limits import refused
from ..records import record
from ..system import open_regular
from ..wire.call import Buffer
from .failures import TLSFault, of_tls

File = str | os.PathLike[str]

_ALPN = "h2"
#: The ciphers for TLS 1.2. RFC 9113, appendix A, does not prohibit these ciphers.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
#: Sizes in bytes: the largest plaintext of a record (RFC 8446, 5.1), the largest encrypted record
#: with its header (RFC 5246, 6.2.3), and the header of a record.
_MAX_PLAINTEXT, _MAX_RECORD, _HEADER_SIZE = 1 << 14, (1 << 14) + 2048 + 5, 5
_RECEIVE_BUFFER = 128 << 10
#: Maximum socket timeout in seconds. A longer timeout is reduced to this, because Python limits
#: socket timeouts.
_LONGEST_WAIT = 3600.0


@record(frozen=True)
class TLS:
    """The TLS settings for a daemon.

    All files must be in PEM format. The client reads the files each time that it connects.

    Args:
        ca: The file with the certificates of the authorities to trust. Default: the authorities
            that the system trusts.
        cert: The file with the client's certificate. A daemon with ``tcp_tls_ca`` requires a
            client certificate.
        key: The file with the client's key. Default: the file ``cert``, which must then contain
            the certificate and the key.
        server_name: The name that the daemon's certificate must contain. Default: the host of the
            address.

    Raises:
        InvalidArgument: ``key`` is given without ``cert``.
    """

    ca: File | None = None
    cert: File | None = None
    key: File | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        check_types({"cert": self.cert, "key": self.key, "server_name": self.server_name})
        if self.ca is not None and not is_path(self.ca):
            raise refused("ca", self.ca, "a path")
        if self.key is not None and self.cert is None:
            raise InvalidArgument(
                "tls has a key without a certificate", remedy="Pass TLS(cert=...)"
            )

    def context(self) -> ssl.SSLContext:
        """Return the context with which ``ssl`` makes connections.

        Raises:
            InvalidArgument: A file is missing or unusable. The error's message names the file.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the daemon's certificate
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
        raise _bad_file(f"{os.fspath(ca)} contains no certificates") from error


def _load_certificate(context: ssl.SSLContext, cert: File, key: File) -> None:
    _check_readable(cert)
    _check_readable(key)

    def refuse() -> str:  # without this function, OpenSSL asks for the password on the terminal
        raise _bad_file(f"the key in {os.fspath(key)} has a password")

    try:
        context.load_cert_chain(cert, key, refuse)
    except ssl.SSLError as error:
        message = f"the key in {os.fspath(key)} does not match the certificate in {os.fspath(cert)}"
        if error.reason != "KEY_VALUES_MISMATCH":
            message = (
                f"{os.fspath(cert)} contains no certificate, or {os.fspath(key)} contains no key"
            )
        raise _bad_file(message) from error


def _check_readable(path: File) -> None:
    """Open the file to check it, because ``ssl`` does not report which file it cannot open."""
    try:
        open_regular(path).close()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _bad_file(f"cannot read {os.fspath(path)}: {reason}") from error


def _bad_file(message: str) -> InvalidArgument:
    return InvalidArgument(
        f"tls: {message}", remedy="Pass unencrypted files in PEM format as ca=, cert= and key="
    )


class TLSSocket:
    """A TLS connection over a connected socket, with the methods of a non-blocking socket.

    One thread can read while another thread writes. Any thread can shut the socket down. TLS itself
    runs in memory, so no thread holds ``_lock`` during a system call. After a failed write, the
    caller can still read why the peer closed the connection.
    """

    def __init__(self, sock: socket.socket, tls: TLS, server_name: str) -> None:
        """Prepare the connection. The caller must call ``shake_hands`` before any other method.

        Raises:
            InvalidArgument: A file of the settings, or the server name, is unusable.
        """
        context = tls.context()
        self._sock = sock
        self._settings = tls
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._tls = context.wrap_bio(
                self._incoming, self._outgoing, server_hostname=server_name
            )
        except (ValueError, TypeError) as error:
            message = f"tls: {server_name!r} cannot be the name of a server"
            raise InvalidArgument(message, remedy="Pass a host name or an IP address") from error
        self._lock = threading.Lock()  # guards _incoming, _outgoing and _tls
        self._send_lock = threading.Lock()  # guards _unsent and _unsent_plaintext
        self._unsent = memoryview(b"")  # encrypted bytes that the kernel does not have yet
        self._unsent_plaintext = 0  # the number of plaintext bytes in the records in _unsent
        self._received = memoryview(bytearray(_RECEIVE_BUFFER))  # a buffer for encrypted bytes
        self._may_have_more = False  # whether _tls can have plaintext that was not read yet
        self._has_ended = False
        self._fault: TLSFault | None = None

    # ---- the handshake -----------------------------------------------------------------------

    def shake_hands(self, deadline: Deadline) -> None:
        """Do the handshake, then make the socket non-blocking.

        This method reads one record from the kernel at a time. So the bytes after the handshake
        stay in the kernel, and ``poll`` reports them.

        Raises:
            ssl.SSLError: The handshake failed.
            TimeoutError: The deadline has passed.
            BlockingIOError: The deadline has passed.
            OSError: The socket failed.
        """
        header, body = b"", 0
        while not self._continue_handshake(deadline):
            self._set_timeout(deadline)
            piece = self._sock.recv(body or _HEADER_SIZE - len(header))
            if not piece:
                raise ConnectionResetError(errno.ECONNRESET, "the peer closed the connection")
            self._incoming.write(piece)
            if body:
                body -= len(piece)
                continue
            header += piece
            if len(header) == _HEADER_SIZE:
                header, body = b"", int.from_bytes(header[3:], "big")
        self._sock.setblocking(False)

    def _continue_handshake(self, deadline: Deadline) -> bool:
        """Continue the handshake with the received bytes. Return whether the handshake is done."""
        is_done = False
        try:
            self._tls.do_handshake()
            is_done = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._sock.setblocking(False)
            with suppress(OSError):
                self._flush()  # sends the peer an alert with the reason
            raise
        self._set_timeout(deadline)
        self._flush()
        return is_done

    def _set_timeout(self, deadline: Deadline) -> None:
        remaining = deadline.remaining()
        self._sock.settimeout(None if remaining is None else min(remaining, _LONGEST_WAIT))

    @property
    def protocol(self) -> str | None:
        """The protocol that the peer chose by ALPN, or ``None``."""
        return self._tls.selected_alpn_protocol()

    def explain(self, error: OSError) -> ContainerdError:
        """Return the exception for an error of ``ssl``, or a socket error during the handshake."""
        return of_tls(
            error,
            has_certificate=self._settings.cert is not None,
            has_cipher=self._tls.cipher() is not None,
        )

    # ---- the methods of a socket -------------------------------------------------------------

    def recv_into(self, buffer: memoryview) -> int:
        """Read the available plaintext, and return its size in bytes.

        If the peer has closed the connection, return 0. If the buffer is smaller than two records
        (36 KiB), the caller must read again until this method raises ``BlockingIOError``.
        Otherwise, plaintext can stay in this object, and ``poll`` does not report this plaintext.

        Raises:
            BlockingIOError: No plaintext is available.
            TLSFault: The peer rejected the client's certificate, or violated the TLS protocol.
            OSError: The socket failed.
        """
        filled = self._decrypt(buffer, 0) if self._may_have_more else 0
        room = len(buffer)
        if room >= 2 * _MAX_RECORD:
            room -= _MAX_RECORD  # _tls can already contain a part of a record
        if not filled and not self._has_ended:
            count = self._sock.recv_into(self._received[:room])
            self._has_ended = not count
            filled = self._decrypt(buffer, count)
        if filled:
            return filled
        if self._fault is not None:
            raise self._fault
        if not self._has_ended:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return 0

    def _decrypt(self, buffer: memoryview, received: int) -> int:
        """Decrypt the first ``received`` bytes of ``_received`` into the buffer.

        Return the number of plaintext bytes.
        """
        filled = 0
        with self._lock:
            self._incoming.write(self._received[:received])
            try:
                while filled < len(buffer) and not self._has_ended:
                    count: int = self._tls.read(len(buffer) - filled, buffer[filled:])  # type: ignore[assignment]
                    self._has_ended = not count
                    filled += count
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self._has_ended = True
            except ssl.SSLError as error:
                self._fault = TLSFault(self.explain(error))
                self._has_ended = True
        self._may_have_more = filled == len(buffer)
        if self._has_ended:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RD)  # so that poll reports the end of the data
        return filled

    def sendmsg(self, buffers: Sequence[Buffer]) -> int:
        """Send as many bytes as the kernel accepts, and return the number of sent plaintext bytes.

        The caller must pass the unsent bytes again, unchanged. The bytes of a record count as sent
        when the kernel has the whole record, because the peer cannot decrypt a part of a record.

        Raises:
            BlockingIOError: The kernel accepts no bytes, or another thread is sending.
            TLSFault: The peer rejected the client's certificate, or violated the TLS protocol.
            OSError: The socket failed.
        """
        if not self._send_lock.acquire(blocking=False):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        sent = 0
        try:
            self._flush()
            sent, self._unsent_plaintext = self._unsent_plaintext, 0
            for plain in _records(buffers, sent):
                self._unsent_plaintext = self._encrypt(plain)
                self._flush()
                sent, self._unsent_plaintext = sent + self._unsent_plaintext, 0
        except OSError:
            if not sent:
                raise
        finally:
            self._send_lock.release()
        return sent

    def _encrypt(self, plain: Buffer) -> int:
        with self._lock:
            try:
                return self._tls.write(plain)
            except ssl.SSLWantReadError as error:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
            except ssl.SSLError as error:
                raise self._fault or TLSFault(self.explain(error)) from error

    def _flush(self) -> None:
        """Send all encrypted bytes to the kernel.

        Raises:
            OSError: The kernel does not accept all bytes at once, or the socket failed.
        """
        while True:
            if not self._unsent:
                with self._lock:
                    self._unsent = memoryview(self._outgoing.read())
                if not self._unsent:
                    return
            self._unsent = self._unsent[self._sock.send(self._unsent) :]

    def fileno(self) -> int:
        """Return the file descriptor of the socket."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """Make the socket blocking or non-blocking."""
        self._sock.setblocking(flag)

    def shutdown(self, how: int) -> None:
        """Send ``close_notify`` if this is possible without waiting, and shut the socket down."""
        if how != socket.SHUT_RD and self._send_lock.acquire(blocking=False):
            try:
                with suppress(OSError), self._lock:
                    self._tls.unwrap()
                with suppress(OSError):
                    self._flush()
            finally:
                self._send_lock.release()
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close the file descriptor.

        This method sends nothing and acquires no lock, so that a forked child can call it.
        """
        self._sock.close()


def _records(buffers: Sequence[Buffer], skip: int) -> Iterator[Buffer]:
    """Yield the bytes of the buffers in pieces that fit into one record.

    The first ``skip`` bytes are left out.
    """
    plain = bytearray()
    for buffer in buffers:
        view = memoryview(buffer)[skip:]
        skip = max(0, skip - len(buffer))
        while view:
            room = _MAX_PLAINTEXT - len(plain)
            plain += view[:room]
            view = view[room:]
            if len(plain) == _MAX_PLAINTEXT:
                yield plain
                plain = bytearray()
    if plain:
        yield plain


def secure(sock: socket.socket, tls: TLS, host: str, deadline: Deadline) -> TLSSocket:
    """Do a TLS handshake over a connected socket.

    The peer's certificate must contain ``tls.server_name``, or ``host`` if ``tls.server_name`` is
    ``None``. If this function raises, the socket stays open, and the caller must close it.

    Raises:
        Unauthenticated: One end does not trust the certificate of the other end.
        ProtocolError: The peer does not speak TLS or HTTP/2.
        DeadlineExceeded: The handshake did not finish in time.
        Unavailable: The connection ended during the handshake.
        InvalidArgument: A file of the settings, or the server name, is unusable.
    """
    tls_socket = TLSSocket(sock, tls, tls.server_name or host)
    try:
        tls_socket.shake_hands(deadline)
    except OSError as error:
        raise tls_socket.explain(error) from error
    if tls_socket.protocol != _ALPN:
        raise ProtocolError(
            f"the peer speaks TLS but not HTTP/2: it chose {tls_socket.protocol} by ALPN",
            remedy="Check that this is the gRPC listener of containerd",
        )
    return tls_socket

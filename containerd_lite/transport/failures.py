"""What a dial that failed means, and what to do about it; likewise a failure of TLS later on.

What lives here: exceptions for the errors of sockets and of ``ssl``, and their remedies.  What may
not: sockets.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from ..errors import (
    ConnectionRefused,
    ContainerdError,
    DeadlineExceeded,
    ProtocolError,
    SocketNotFound,
    SocketPermissionDenied,
    Unauthenticated,
    Unavailable,
)
from ..wire import metadata

if TYPE_CHECKING:
    import ssl

#: Alerts (RFC 8446, 6.2) with which a server turns the client's certificate down.
_ABOUT_CERTIFICATE = {
    "ACCESS_DENIED",
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REQUIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "DECRYPT_ERROR",
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
}
#: X509_V_ERR_… of OpenSSL: not valid yet, or no more; not for this name, or this IP address.
_OUT_OF_DATE, _OTHER_NAME = (9, 10), (62, 64)


def of_unix(error: OSError) -> ContainerdError:
    """The exception for a Unix socket that cannot be connected to."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return SocketNotFound(
            "there is no socket",
            remedy="Is containerd running, and is this its grpc.address? "
            "$CONTAINERD_ADDRESS or the address argument names another one",
        )
    if isinstance(error, ConnectionRefusedError):
        return ConnectionRefused(
            "nothing listens on the socket",
            remedy="Start containerd; the file may be left over from one that ended",
        )
    if isinstance(error, PermissionError):
        return SocketPermissionDenied(
            f"user {os.geteuid()} may not open the socket",
            remedy="Run as root, or as a member of the group that the daemon's grpc.gid names",
        )
    if isinstance(error, TimeoutError | BlockingIOError):
        return DeadlineExceeded(
            "the daemon did not accept the connection in time",
            remedy="Its queue is full or it is stopped; connect_timeout sets the bound",
        )
    return Unavailable(f"cannot connect: {error.strerror or error}")


def of_tcp(error: OSError) -> ContainerdError:
    """The exception for a TCP port that cannot be connected to."""
    if isinstance(error, ConnectionRefusedError):
        return ConnectionRefused(
            "nothing listens on the port",
            remedy="Is the daemon running, and is this its grpc.tcp_address?",
        )
    if isinstance(error, TimeoutError | BlockingIOError):
        return DeadlineExceeded(
            "the connection was not accepted in time",
            remedy="The machine may be down, or behind a firewall; connect_timeout sets the bound",
        )
    what = "find the host" if isinstance(error, socket.gaierror) else "connect"
    return Unavailable(f"cannot {what}: {error.strerror or error}")


def of_tls(error: OSError, *, has_certificate: bool, has_cipher: bool) -> ContainerdError:
    """The exception for an error of ``ssl``, or of the socket in the middle of the handshake.

    ``has_certificate`` says that this end has one to show, ``has_cipher`` that the two ends have
    agreed on a cipher.
    """
    import ssl

    if isinstance(error, TimeoutError | BlockingIOError):
        return DeadlineExceeded(
            "the peer did not finish the TLS handshake in time",
            remedy="Does a daemon listen there, with TLS? connect_timeout sets the bound",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return _of_verification(error)
    if isinstance(error, ssl.SSLZeroReturnError) or not isinstance(error, ssl.SSLError):
        return Unavailable(
            f"the connection ended in the TLS handshake: {error.strerror or error}",
            remedy="The daemon may be ending, or not speak TLS; tls=False is for that",
        )
    reason = error.reason or "NO_REASON_GIVEN"  # that ssl has a name for
    alert = reason.partition("_ALERT_")[2]
    words = (alert or reason).lower().replace("_", " ")
    # Of TLS 1.2: once a cipher is agreed on, nothing but the certificate is left to fail.
    is_late = alert == "HANDSHAKE_FAILURE" and has_cipher
    if alert not in _ABOUT_CERTIFICATE and not is_late:
        return ProtocolError(
            f"TLS failed: {words}",
            remedy="Does the daemon's listener speak TLS 1.2 or newer, and HTTP/2 over it? "
            "tls=False is for one without TLS",
        )
    if not has_certificate:
        return Unauthenticated(
            f"the daemon wants a client certificate: {words}",
            remedy="Give TLS(cert=…, key=…), signed by an authority in its tcp_tls_ca",
        )
    return Unauthenticated(
        f"the daemon refused the client certificate: {words}",
        remedy="It must be valid now, made for clients, and signed by an authority in the "
        "daemon's tcp_tls_ca",
    )


def _of_verification(error: ssl.SSLCertVerificationError) -> Unauthenticated:
    remedy = "TLS(ca=…) names the authorities to trust"
    if error.verify_code in _OTHER_NAME:
        remedy = "Address it by a name in its certificate, or give TLS(server_name=…)"
    elif error.verify_code in _OUT_OF_DATE:
        remedy = "Renew it; or is a clock wrong?"
    said = error.verify_message.rstrip(".")
    return Unauthenticated(f"the daemon's certificate cannot be trusted: {said}", remedy=remedy)


class TLSFault(OSError):
    """The peer turned us down, or broke TLS, after the handshake.

    ``status`` is what this means for the calls on the connection; its message has the remedy.
    """

    def __init__(self, said: ContainerdError) -> None:
        super().__init__(errno.EPROTO, str(said))
        refused = isinstance(said, Unauthenticated)
        code = metadata.UNAUTHENTICATED if refused else metadata.INTERNAL
        self.status = metadata.Status(code, str(said), b"", "connection")

"""Makes exceptions, with remedies, from the errors of sockets and of ``ssl``."""

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

#: TLS alerts (RFC 8446, 6.2) with which a server rejects the client's certificate.
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
#: OpenSSL's X509_V_ERR_… codes. X509_V_ERR codes 9 and 10 mean that a certificate is not yet valid,
#: or has expired. X509_V_ERR codes 62 and 64 mean that a certificate is for another host name or IP
#: address.
_OUT_OF_DATE, _OTHER_NAME = (9, 10), (62, 64)


def of_unix(error: OSError) -> ContainerdError:
    """Return the exception for a failed connect to a Unix socket."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return SocketNotFound(
            "there is no socket",
            remedy="Check that containerd is running and that this is its grpc.address; "
            "set another address with $CONTAINERD_ADDRESS or address=",
        )
    if isinstance(error, ConnectionRefusedError):
        return ConnectionRefused(
            "no process listens on the socket",
            remedy="Start containerd; a daemon that has ended can leave its socket file behind",
        )
    if isinstance(error, PermissionError):
        return SocketPermissionDenied(
            f"user {os.geteuid()} has no permission to open the socket",
            remedy="Run as root, or as a member of the group that the daemon's grpc.gid sets",
        )
    if isinstance(error, TimeoutError | BlockingIOError):
        return DeadlineExceeded(
            "the daemon did not accept the connection in time",
            remedy="Check whether the daemon is paused or its queue of connections is full; "
            "connect_timeout= sets the time limit",
        )
    return Unavailable(f"cannot connect: {error.strerror or error}")


def of_tcp(error: OSError) -> ContainerdError:
    """Return the exception for a failed connect to a TCP port."""
    if isinstance(error, ConnectionRefusedError):
        return ConnectionRefused(
            "no process listens on the port",
            remedy="Check that the daemon is running and that this is its grpc.tcp_address",
        )
    if isinstance(error, TimeoutError | BlockingIOError):
        return DeadlineExceeded(
            "the daemon did not accept the connection in time",
            remedy="Check whether the machine is down or behind a firewall; "
            "connect_timeout= sets the time limit",
        )
    action = "find the host" if isinstance(error, socket.gaierror) else "connect"
    return Unavailable(f"cannot {action}: {error.strerror or error}")


def of_tls(error: OSError, *, has_certificate: bool, has_cipher: bool) -> ContainerdError:
    """Return the exception for an error of ``ssl``, or a socket error during the TLS handshake.

    Args:
        error: The error.
        has_certificate: Whether the client has a certificate.
        has_cipher: Whether the client and the daemon have agreed on a cipher.
    """
    import ssl

    if isinstance(error, TimeoutError | BlockingIOError):
        return DeadlineExceeded(
            "the peer did not finish the TLS handshake in time",
            remedy="Check that a daemon with TLS listens on the port; "
            "connect_timeout= sets the time limit",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return _verification_error(error)
    if isinstance(error, ssl.SSLZeroReturnError) or not isinstance(error, ssl.SSLError):
        return Unavailable(
            f"the connection ended during the TLS handshake: {error.strerror or error}",
            remedy="Check that the daemon is running; pass tls=False if the daemon has no TLS",
        )
    reason = error.reason or "NO_REASON_GIVEN"  # ssl does not name every reason
    alert = reason.partition("_ALERT_")[2]
    words = (alert or reason).lower().replace("_", " ")
    # In TLS 1.2, when both ends have agreed on a cipher, the handshake can only fail because of the
    # client's certificate.
    is_after_cipher = alert == "HANDSHAKE_FAILURE" and has_cipher
    if alert not in _ABOUT_CERTIFICATE and not is_after_cipher:
        return ProtocolError(
            f"TLS failed: {words}",
            remedy="Check that the daemon's listener speaks HTTP/2 over TLS 1.2 or newer; "
            "pass tls=False for a listener without TLS",
        )
    if not has_certificate:
        return Unauthenticated(
            f"the daemon requires a client certificate: {words}",
            remedy="Pass TLS(cert=..., key=...) with a certificate that is signed by an authority "
            "in the daemon's tcp_tls_ca",
        )
    return Unauthenticated(
        f"the daemon refused the client certificate: {words}",
        remedy="Pass a certificate that is valid now, is made for clients, and is signed by an "
        "authority in the daemon's tcp_tls_ca",
    )


def _verification_error(error: ssl.SSLCertVerificationError) -> Unauthenticated:
    remedy = "Set the authorities to trust with TLS(ca=...)"
    if error.verify_code in _OTHER_NAME:
        remedy = "Use an address whose host is in the certificate, or pass TLS(server_name=...)"
    elif error.verify_code in _OUT_OF_DATE:
        remedy = "Renew the certificate, and check the clocks of both machines"
    reason = error.verify_message.rstrip(".")
    return Unauthenticated(f"the daemon's certificate cannot be trusted: {reason}", remedy=remedy)


class TLSFault(OSError):
    """An error of TLS after the handshake.

    The peer rejected the client's certificate, or violated the TLS protocol. ``status`` is the
    status for the calls on the connection. The message of ``status`` includes the remedy.
    """

    def __init__(self, error: ContainerdError) -> None:
        super().__init__(errno.EPROTO, str(error))
        is_refused = isinstance(error, Unauthenticated)
        code = metadata.UNAUTHENTICATED if is_refused else metadata.INTERNAL
        self.status = metadata.Status(code, str(error), b"", "connection")

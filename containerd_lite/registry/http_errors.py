"""Translates transport faults, HTTP statuses and error bodies into this package's errors.

``Retryable`` marks a failure after which a retry may help. The caller decides whether to retry.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.client import BadStatusLine, HTTPException
from time import time

from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from ..errors import (
    ContainerdError,
    InvalidArgument,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from ..oci.document import Document
from ..printable import printable
from .destinations import Url
from .pace import TooSlow

#: Largest body of an error response or a token response in bytes: 1 MiB, as in containers/image.
MAX_ERROR = 1 << 20
#: An error message quotes at most this many characters of a registry's text.
_MAX_SHOWN = 200
#: An error message quotes at most this many of a registry's error codes.
_MAX_CODES = 8
_PROXY_REMEDY = "Check the proxy, and its user name and password"

#: The exceptions that urllib3 1.26 and 2 can raise while they connect, send or read.
TRANSPORT_FAULTS = (HTTPError, HTTPException, OSError)

#: Statuses after which a retry may help: 429 (distribution-spec), 503 and 504 (RFC 9110), and
#: others that gateways send.
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class Retryable(Exception):
    """A failure after which a retry may help. Without a retry, the caller raises ``error``."""

    def __init__(self, error: ContainerdError) -> None:
        super().__init__(error)
        self.error = error

    @property
    def wait(self) -> float | None:
        """The seconds that the registry asks the client to wait, or ``None``."""
        return requested_wait(self.error)


def requested_wait(error: ContainerdError) -> float | None:
    """Return the seconds that the registry asks the client to wait, or ``None``."""
    return error.retry_after if isinstance(error, RegistryUnavailable) else None


@contextmanager
def naming(operation: str) -> Iterator[None]:
    """Set the ``operation`` of errors that the block raises, unless it is set already."""
    try:
        yield
    except ContainerdError as error:
        error.operation = error.operation or operation
        raise


def transport_failure(fault: BaseException, url: Url, handled: BaseException | None) -> Exception:
    """Return the error for a fault of a request to ``url``: RegistryUnavailable, or ``Retryable``.

    ``handled`` is the exception that was already being handled before the request. This
    exception did not cause the fault.

    An immediate retry is useful only after a broken connection. A retry does not help if the
    connection is refused, the host name is unknown or the certificate is wrong.
    """
    inner = _innermost(fault, handled)
    if isinstance(inner, TooSlow) or isinstance(fault, TooSlow):
        return _unavailable(url, str(inner), "Check the network, or allow a lower least_rate")
    timed_out = isinstance(fault, (ConnectTimeoutError, ReadTimeoutError, TimeoutError))
    # In urllib3 1.26, NewConnectionError is a subclass of ConnectTimeoutError.
    if timed_out and not isinstance(fault, NewConnectionError):
        return _unavailable(url, "did not answer in time", "Check the network, or try later")
    if isinstance(fault, ProxyError):
        return _unavailable(url, "cannot be reached through the proxy", _PROXY_REMEDY)
    if isinstance(fault, NewConnectionError):
        return _unavailable(
            url, f"cannot be reached ({_reason(inner)})", "Check the host, the port and the network"
        )
    # SSLEOFError means a broken connection, even during the TLS handshake.
    tls_eof = isinstance(inner, ssl.SSLEOFError)
    if not tls_eof and any(isinstance(error, (SSLError, ssl.SSLError)) for error in (fault, inner)):
        return _unavailable(
            url,
            f"cannot be reached with TLS ({_reason(inner)})",
            "Check the host's certificate; for a registry without TLS, pass plain_http=True",
        )
    remedy = "Try again later"
    if isinstance(inner, BadStatusLine) and url.scheme == "http":
        remedy = "If the registry uses TLS, pass plain_http=False"
    error = _unavailable(url, f"broke the connection ({_reason(inner)})", remedy)
    broken = isinstance(fault, (ProtocolError, ConnectionError, HTTPException))
    return Retryable(error) if broken or tls_eof else error


def visible_cause(fault: BaseException, handled: BaseException | None) -> BaseException | None:
    """Return the cause to attach to an error: the operating system's error, or ``None``.

    Other exceptions, such as those of ``http.client``, may quote bytes that the peer sent. These
    bytes may contain a secret that the peer sent back.
    """
    inner = _innermost(fault, handled)
    is_system_error = isinstance(inner, OSError) and (
        inner.errno or isinstance(inner, TimeoutError)
    )
    return inner if is_system_error else None


def _unavailable(url: Url, what: str, remedy: str) -> RegistryUnavailable:
    return RegistryUnavailable(f"{url.origin} {what}", remedy=remedy)


def _innermost(fault: BaseException, handled: BaseException | None) -> BaseException:
    """Return the innermost cause of a fault. urllib3 stores causes in an exception's ``args``."""
    for _ in range(4):
        causes = [part for part in fault.args if isinstance(part, BaseException)]
        context = None if fault.__suppress_context__ else fault.__context__
        following = causes[0] if causes else fault.__cause__ or context
        if following is None or following is handled:
            break
        fault = following
    return fault


def _reason(fault: BaseException) -> str:
    """Return one line about a fault, without any text from the peer or from a URL."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"certificate: {fault.verify_message}"
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return type(fault).__name__


def retry_after(text: str | None) -> float | None:
    """Return the seconds to wait according to a ``Retry-After`` header, or ``None``.

    The header contains a number of seconds or a date (RFC 9110, section 10.2.3).
    """
    if not text:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 9:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (TypeError, ValueError, OverflowError):
        return None


def error_codes(body: bytes) -> tuple[tuple[str, ...], str]:
    """Return the codes and the first message of an error body (distribution-spec, Error Codes).

    The codes and the message are empty if the body has a different form, such as a proxy's HTML.
    """
    try:
        errors = Document.parse(body, "the error").each("errors", lambda entry: entry)
        found = [(entry.text("code"), entry.text("message")) for entry in errors[:_MAX_CODES]]
    except InvalidArgument:
        return (), ""
    return tuple(clean(code) for code, _ in found if code), clean(found[0][1]) if found else ""


def clean(text: str) -> str:
    """Return a peer's text, shortened and safe to print on a terminal."""
    return printable(text[:_MAX_SHOWN])


def status_failure(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    what: str,
    url: Url,
    had_credentials: bool,
) -> Exception:
    """Return the error for an HTTP status. If a retry may help, wrap the error in ``Retryable``.

    ``what`` names the requested content. ``had_credentials`` says whether the user has given
    credentials.
    """
    codes, message = error_codes(body)
    status_text = f"HTTP {status}" + "".join(f", {code}" for code in codes)
    status_text += f": {message}" if message else ""
    where = url.origin
    if status in (401, 403):
        remedy = (
            "Check the user name and password"
            if had_credentials
            else "Give credentials for this host"
        )
        return RegistryUnauthorized(
            f"{where} refuses access to {what} ({status_text})",
            status=status,
            codes=codes,
            remedy=f"{remedy}: pass credentials=Credentials(user, password), or run "
            "containerd-lite login",
        )
    if status == 407:
        return _unavailable(
            url, f"cannot be reached: the proxy refuses the request ({status_text})", _PROXY_REMEDY
        )
    if status == 404:
        return RegistryNotFound(
            f"{where} has no {what} ({status_text})",
            status=status,
            codes=codes,
            remedy="Check the name and the tag",
        )
    if status in TRANSIENT:
        error = RegistryUnavailable(
            f"{where} cannot serve {what} now ({status_text})",
            status=status,
            codes=codes,
            remedy="Try again later",
        )
        error.retry_after = retry_after(headers.get("Retry-After"))
        return Retryable(error)
    if status == 400 and url.scheme == "http" and not codes:
        # Servers with TLS answer so to a request without TLS.
        return RegistryError(
            f"{where} answered {status_text} for {what}",
            status=status,
            remedy="If the registry uses TLS, pass plain_http=False",
        )
    return RegistryError(f"{where} answered {status_text} for {what}", status=status, codes=codes)

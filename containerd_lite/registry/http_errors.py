"""What goes wrong with a registry, turned into this package's errors once.

What lives here: transport faults → errors, HTTP statuses → errors, the distribution-spec's
error bodies.  What may not: deciding whether to try again; ``Again`` only says that one may.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.client import HTTPException
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
from .destinations import Url
from .pace import TooSlow

#: containers/image allows 1 MiB for errors and tokens.
MAX_ERROR = 1 << 20
_SHOWN = 200
_MAX_CODES = 8
_PROXY_REMEDY = "Check the proxy, and its user name and password"

#: What connecting, sending and reading can raise, in urllib3 1.26 and 2.
TRANSPORT_FAULTS = (HTTPError, HTTPException, OSError)

#: Statuses that may pass: distribution-spec (429), RFC 9110 (503, 504), and gateways' habits.
PASSING = frozenset({408, 429, 500, 502, 503, 504})


class Again(Exception):
    """A failure that may pass: ``error`` is what to raise in the end."""

    def __init__(self, error: ContainerdError) -> None:
        super().__init__(error)
        self.error = error

    @property
    def after(self) -> float | None:
        """The wait in seconds that the registry asks for, if it does."""
        return wait_asked(self.error)


def wait_asked(error: ContainerdError) -> float | None:
    """The wait in seconds that the registry asks for with this error, if it does."""
    return error.retry_after if isinstance(error, RegistryUnavailable) else None


@contextmanager
def naming(operation: str) -> Iterator[None]:
    """Puts ``operation`` into errors that come by and name none yet."""
    try:
        yield
    except ContainerdError as error:
        error.operation = error.operation or operation
        raise


def transport_failure(fault: BaseException, url: Url, around: BaseException | None) -> Exception:
    """The error for a fault on the way to ``url``: a RegistryUnavailable, or ``Again`` with one.

    ``around`` is what was being handled before, which is no cause of the fault.  Only a
    connection that broke is worth another try at once; a refused one, an unknown name and a
    wrong certificate will be the same next time.
    """
    inner = _innermost(fault, around)
    if isinstance(inner, TooSlow) or isinstance(fault, TooSlow):
        return _unavailable(url, str(inner), "Check the network, or allow a lower least_rate")
    late = isinstance(fault, (ConnectTimeoutError, ReadTimeoutError, TimeoutError))
    if late and not isinstance(fault, NewConnectionError):  # in 1.26 one is the other
        return _unavailable(url, "did not answer in time", "Check the network, or try later")
    if isinstance(fault, ProxyError):
        return _unavailable(url, "cannot be reached through the proxy", _PROXY_REMEDY)
    if isinstance(fault, NewConnectionError):
        return _unavailable(
            url, f"cannot be reached ({_reason(inner)})", "Check the host, the port and the network"
        )
    cut = isinstance(inner, ssl.SSLEOFError)  # as TLS has it, in its greeting too
    if not cut and any(isinstance(one, (SSLError, ssl.SSLError)) for one in (fault, inner)):
        return _unavailable(
            url,
            f"cannot be trusted or does not speak TLS ({_reason(inner)})",
            "Check its certificate; plain_http=True is for registries without TLS",
        )
    error = _unavailable(url, f"broke the connection ({_reason(inner)})", "Try again later")
    broken = isinstance(fault, (ProtocolError, ConnectionError, HTTPException))
    return Again(error) if broken or cut else error


def told(fault: BaseException, around: BaseException | None) -> BaseException | None:
    """The cause to keep with an error: the system's own, which quotes nothing of the peer's.

    What ``http.client`` raises may quote what came, and a peer can send back a secret.
    """
    inner = _innermost(fault, around)
    own = isinstance(inner, OSError) and (inner.errno or isinstance(inner, TimeoutError))
    return inner if own else None


def _unavailable(url: Url, what: str, remedy: str) -> RegistryUnavailable:
    return RegistryUnavailable(f"{url.origin} {what}", remedy=remedy)


def _innermost(fault: BaseException, around: BaseException | None) -> BaseException:
    """The first cause that urllib3 wrapped, which it keeps among the arguments."""
    for _ in range(4):
        wrapped = [part for part in fault.args if isinstance(part, BaseException)]
        context = None if fault.__suppress_context__ else fault.__context__
        following = wrapped[0] if wrapped else fault.__cause__ or context
        if following is None or following is around:
            break
        fault = following
    return fault


def _reason(fault: BaseException) -> str:
    """One line on a fault, without anything that the peer or a URL could have put there."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"certificate: {fault.verify_message}"
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return type(fault).__name__


def retry_after(text: str | None) -> float | None:
    """The seconds of a ``Retry-After``, either form of it (RFC 9110, section 10.2.3)."""
    if not text:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 9:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (TypeError, ValueError, OverflowError):
        return None


def error_codes(body: bytes, secrets: Iterable[str] = ()) -> tuple[tuple[str, ...], str]:
    """The codes of an error body (distribution-spec, Error Codes) and the first message.

    A body of another form gives none: proxies answer in HTML.  One that repeats any of
    ``secrets``, which went along with the request, gives none either.
    """
    try:
        errors = Document.parse(body, "the error").each("errors", lambda entry: entry)
        found = [(entry.text("code"), entry.text("message")) for entry in errors[:_MAX_CODES]]
    except InvalidArgument:
        return (), ""
    if any(repeats(text, secrets) for pair in found for text in pair):
        return (), ""
    return tuple(clean(code) for code, _ in found if code), clean(found[0][1]) if found else ""


def repeats(text: str, secrets: Iterable[str]) -> bool:
    """Whether a peer's words hold any of ``secrets``."""
    return any(secret and secret in text for secret in secrets)


def clean(text: str) -> str:
    """Peer's words, made fit for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])


def status_failure(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    what: str,
    url: Url,
    known: bool,
    secrets: Iterable[str] = (),
) -> Exception:
    """The error for an HTTP status, or ``Again`` with it where it may pass.

    ``what`` is what was asked for; ``known`` tells whether credentials went along, and
    ``secrets`` are words that must not come back.
    """
    codes, message = error_codes(body, secrets)
    said = f"HTTP {status}" + "".join(f", {code}" for code in codes)
    said += f": {message}" if message else ""
    where = url.origin
    if status in (401, 403):
        remedy = "Check the user name and password" if known else "Give credentials for this host"
        return RegistryUnauthorized(
            f"{where} refuses access to {what} ({said})",
            status=status,
            codes=codes,
            remedy=f"{remedy}: credentials=Credentials(user, password), or docker login",
        )
    if status == 407:
        return _unavailable(url, f"cannot be reached: the proxy refuses ({said})", _PROXY_REMEDY)
    if status == 404:
        return RegistryNotFound(
            f"{where} has no {what} ({said})",
            status=status,
            codes=codes,
            remedy="Check the name and the tag",
        )
    if status in PASSING:
        error = RegistryUnavailable(
            f"{where} cannot serve {what} now ({said})",
            status=status,
            codes=codes,
            remedy="Try again later",
        )
        error.retry_after = retry_after(headers.get("Retry-After"))
        return Again(error)
    return RegistryError(f"{where} answered {said} for {what}", status=status, codes=codes)

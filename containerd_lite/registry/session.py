"""Sends requests to one host of a registry, with authentication, redirects and retries.

The callers read the responses. ``failover`` chooses the host.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

from ..deadline import Deadline, backoff
from ..errors import ContainerdError, InvalidArgument, RegistryError, RegistryUnavailable
from ..lazy import lazy_pattern
from ..progress import ProgressEvent
from ..records import field, record, replace
from ..undo import Undo
from .addresses import AddressLevel
from .auth import Authenticator
from .destinations import Url, check_redirect
from .hosts import Host
from .http import Body, Response, Transport
from .http_errors import MAX_ERROR, Retryable, clean, requested_wait, status_failure
from .pace import TooSlow, TransferRate, min_progress
from .redaction import Redactor

MAX_REDIRECTS = 5
MAX_TRIES = 5
#: Longest wait before a retry that a registry may ask for, in seconds. If the registry asks for a
#: longer wait, the request fails at once.
MAX_WAIT = 300.0
#: Seconds of the first wait and of the longest wait between two tries, if the registry does not ask
#: for a wait.
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
_MAX_WARNINGS = 100
#: How many ``Authorization`` headers a session remembers, to remove them from errors.
_MAX_SENT = 64
#: A transfer stops after this many consecutive failures without progress, as in containerd's
#: reader.
MAX_FAILURES = 3
#: Statuses with which a registry refuses a request without processing it: too many requests (429)
#: or overload (503).
_REFUSALS = frozenset({429, 503})

_READ_METHODS = frozenset({"GET", "HEAD"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Redirects that preserve the method and the body (RFC 9110, section 15.4).
_METHOD_PRESERVING = frozenset({307, 308})
#: A warning with code 299. Only warnings with this code are for users (distribution-spec,
#: Warnings).
_WARNING = lazy_pattern(r'299 \S+ "((?:[^"\\]|\\.)*)"')

_LOGGER = logging.getLogger(__package__)

Report = Callable[[ProgressEvent], object]
_Result = TypeVar("_Result")


@record(frozen=True)
class ApiRequest:
    """One request to a host.

    Attributes:
        method: The HTTP method.
        path: The path below the API's root.
        what: The name of the requested content in errors.
        scopes: The scopes that a token must have (``repository:app:pull``).
        headers: Headers in addition to the default headers.
        query: The query parameters.
        body: The request body.
        url: A complete URL, which replaces ``path`` and ``query``.
        expect: The statuses of a successful response.
        tries: The largest number of tries.
        anonymous: Whether to send no credentials, even if the URL is on the host itself.
        rate: The rate of the transfer of which this request is a part.
    """

    method: str
    path: str
    what: str
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body | None = None
    url: Url | None = None
    expect: tuple[int, ...] = (200,)
    tries: int = MAX_TRIES
    anonymous: bool = False
    rate: TransferRate | None = None


def pull_scope(repository: str) -> str:
    """Return the scope that a token needs for a pull from ``repository``."""
    return f"repository:{repository}:pull"


def push_scope(repository: str) -> str:
    """Return the scope that a token needs for a push to ``repository``."""
    return f"repository:{repository}:pull,push"


class Session:
    """Sends requests to one host of a registry. Thread-safe.

    Args:
        host: The host.
        transport: Sends single requests.
        auth: Answers the host's authentication challenges.
        sleep: A function that waits for a number of seconds.
        report: A function that is called with an event before each retry.
        warnings: A list to which the session adds the host's warnings.
        tries: The largest number of tries for each request.
    """

    def __init__(
        self,
        host: Host,
        transport: Transport,
        auth: Authenticator,
        *,
        sleep: Callable[[float], object],
        report: Report,
        warnings: list[str],
        tries: int = MAX_TRIES,
    ) -> None:
        self.host = host
        self._transport = transport
        self._auth = auth
        self._sleep = sleep
        self._report = report
        self._warnings = warnings
        self._tries = tries
        #: The last ``Authorization`` headers that the session has sent.
        self._sent: deque[str] = deque(maxlen=_MAX_SENT)
        self._redactor = Redactor()

    def request_challenge(self, scopes: tuple[str, ...], deadline: Deadline) -> None:
        """Make the host send its authentication challenge before a request with a large body.

        This method sends no request to the host if the client already has a header for ``scopes``.
        """
        with self._redacting():
            header = self._auth.header(scopes, deadline)
        if not header:
            self.send(
                ApiRequest("GET", "", "its API", scopes),
                deadline,
                lambda response: response.snippet(0),
            )

    def send(
        self, request: ApiRequest, deadline: Deadline, read_response: Callable[[Response], _Result]
    ) -> _Result:
        """Send a request, with retries, and return the result of ``read_response``.

        Raises RegistryError or a subclass if the last try fails. Raises the errors of
        ``read_response``, except for ``Retryable``, which causes a retry. No error contains a
        secret that the session has sent, even if the registry repeats the secret.
        """
        with self._redacting():
            return self._send(request, deadline, read_response)

    @contextmanager
    def _redacting(self) -> Iterator[None]:
        """Remove secrets from an error that the block raises."""
        try:
            yield
        except (ContainerdError, Retryable) as error:
            self._redact(error)
            raise

    def _redact(self, error: BaseException) -> None:
        self._redactor.add(self._secrets())
        self._redactor.error(error)

    def _send(
        self, request: ApiRequest, deadline: Deadline, read_response: Callable[[Response], _Result]
    ) -> _Result:
        """Send a request, with retries."""
        waits = backoff(_FIRST_WAIT, _LONGEST_WAIT)
        tries = 0
        while True:
            tries += 1
            try:
                return _apply(self._send_once(request, deadline), read_response)
            except Retryable as retryable:
                wait = next(waits) if retryable.wait is None else retryable.wait
                if tries >= min(request.tries, self._tries) or not _may_wait(wait, deadline):
                    raise retryable.error from retryable.__cause__
                self._redact(retryable.error)
                reason = retryable.error.message
            _LOGGER.debug("%s: retry in %.1f s: %s", request.what, wait, reason)
            self._report(ProgressEvent("retrying", request.what, reason=reason, wait=wait))
            self._sleep(wait)
            if request.rate is not None:
                request.rate.waited += wait

    def _send_once(self, request: ApiRequest, deadline: Deadline) -> Response:
        """Try a request once, answer the host's challenges, and return the final response."""
        header = "" if request.anonymous else self._auth.header(request.scopes, deadline)
        response = self._follow(request, header, deadline)
        while response.status == 401 and self._is_from_host(response) and not request.anonymous:
            values = response.header_list("WWW-Authenticate")
            body = response.snippet(MAX_ERROR)
            second = self._auth.answer(request.scopes, values, header, deadline)
            if not second or second == header:
                raise self._failure(request, response, body)
            # This loop ends, because the authenticator answers at most two challenges of a request.
            header, response = second, self._follow(request, second, deadline)
        if response.status not in request.expect:
            body = response.snippet(MAX_ERROR)
            body = body or self._refusal(request, response, header, deadline)
            raise self._failure(request, response, body)
        if self._is_from_host(response):
            self._add_warnings(response)
        return response

    def _refusal(
        self, request: ApiRequest, response: Response, authorization: str, deadline: Deadline
    ) -> bytes:
        """Return the reason why the host refuses access in answer to a HEAD request.

        A response to HEAD has no body, so this method sends the request once more, as GET. The
        result is ``b""`` if the host does not refuse this request in the same way. After status 401
        there is no further request, because a host can lock an account after wrong passwords.
        """
        if request.method != "HEAD" or response.status != 403 or request.anonymous:
            return b""
        with suppress(RegistryError, Retryable):
            answer = self._follow(replace(request, method="GET"), authorization, deadline)
            if answer.status == response.status and self._is_from_host(answer):
                return answer.snippet(MAX_ERROR)
            answer.close()
        return b""

    def _is_from_host(self, response: Response) -> bool:
        """Return whether the response is from the host itself, not from another origin."""
        return response.url.origin == self.host.base.origin

    def _add_warnings(self, response: Response) -> None:
        """Store the response's warnings for users, if they are new and contain no secret."""
        for value in response.header_list("Warning"):
            match = _WARNING.fullmatch(value.strip())
            text = clean(re.sub(r"\\(.)", r"\1", match[1])) if match else ""
            if not text or text in self._warnings:
                continue
            self._redactor.add(self._secrets())
            if not self._redactor.is_clean(value):
                continue
            if len(self._warnings) < _MAX_WARNINGS:
                self._warnings.append(text)

    def _failure(self, request: ApiRequest, response: Response, body: bytes) -> Exception:
        """Return the error for a response with an unexpected status."""
        if response.status in (401, 403) and (
            request.anonymous or not self._is_from_host(response)
        ):
            return RegistryError(
                f"the registry refers to {response.url.origin}, which refuses {request.what} "
                f"(HTTP {response.status}); the client sends no credentials to this URL",
                status=response.status,
            )
        return status_failure(
            response.status,
            response.headers,
            body,
            what=request.what,
            url=response.url,
            had_credentials=response.status in (401, 403) and self._auth.credentials is not None,
        )

    def _secrets(self) -> list[str]:
        """Return the secrets that this host has received, and that errors must not quote."""
        sent = [header.partition(" ")[2] for header in tuple(self._sent)]
        headers = [value for _, value in self.host.headers]
        return [*self._auth.secrets(), *sent, *headers, *self._transport.secrets(self.host.base)]

    def _follow(self, request: ApiRequest, authorization: str, deadline: Deadline) -> Response:
        """Send a request and follow redirects. Only the host's own origin gets secret headers."""
        secret_headers = dict(self.host.headers)
        if authorization:
            secret_headers["Authorization"] = authorization
            if authorization not in self._sent:
                self._sent.append(authorization)
        previous, url = self.host.base, request.url
        if url is None:
            url = self.host.url(request.path, request.query)
        elif not request.anonymous:
            url = self.host.with_namespace(url)
        for _ in range(MAX_REDIRECTS + 1):
            max_level = self._check_target(previous, url, deadline)
            if max_level is not None or request.anonymous:
                # Later requests carry no secrets, even if a redirect leads back to the host.
                secret_headers = {}
            response = self._transport.send(
                request.method,
                url,
                {**request.headers, **secret_headers},
                deadline,
                max_level,
                body=request.body,
                what=request.what if request.url else request.path or request.what,
                rate=request.rate,
            )
            followed = _REDIRECTS if request.method in _READ_METHODS else _METHOD_PRESERVING
            if response.status not in followed:
                return response
            previous, url = url, _redirect_target(request, response)
        origin = self.host.base.origin
        raise RegistryError(f"{origin} redirects {request.what} more than {MAX_REDIRECTS} times")

    def _check_target(self, previous: Url, target: Url, deadline: Deadline) -> AddressLevel | None:
        """Return the highest level that the target's address is allowed to have.

        The result is ``None`` if the target is the host itself.

        ``previous`` is the URL that redirected to ``target``. Raises RegistryError if the client
        must not send a request to the target.
        """
        base = self.host.base
        if target.origin != base.origin:
            check_redirect(previous, target)
        return self._transport.max_level(base, target, "the redirect", deadline)


def _may_wait(seconds: float, deadline: Deadline) -> bool:
    """Return whether to wait before a retry: not too long, and not beyond the deadline."""
    remaining = deadline.remaining()
    return seconds <= MAX_WAIT and (remaining is None or seconds < remaining)


def _apply(response: Response, read_response: Callable[[Response], _Result]) -> _Result:
    """Return the result of ``read_response``. If this function raises, close the response."""
    with Undo(response.close):
        return read_response(response)


def _redirect_target(request: ApiRequest, response: Response) -> Url:
    """Return the URL to which a response redirects. Raises RegistryError if the URL is missing."""
    target = location_of(response, request.what)
    response.snippet(MAX_ERROR)
    if target is None:
        raise RegistryError(
            f"{response.url.origin} redirects {request.what} without a Location header"
        )
    return target


def location_of(response: Response, what: str) -> Url | None:
    """Return the absolute URL of a response's ``Location``, or ``None`` without this header.

    The query stays verbatim. Raises RegistryError for an invalid URL; ``what`` names the content
    in the error.
    """
    text = response.headers.get("Location")
    if not text:
        return None
    try:
        return response.url.join(text)
    except InvalidArgument as error:
        response.close()
        raise RegistryError(
            f"{response.url.origin} sent an invalid Location for {what}: {error}"
        ) from None


class TransferRetries:
    """Decides whether a transfer continues after a failure, and waits before the next try.

    The transfer stops after three consecutive failures without enough progress: see
    ``min_progress``. Responses with status 429 or 503 are counted separately, because they do not
    break a connection. The transfer also stops if its average rate over all connections is too low.

    Args:
        sleep: A function that waits for a number of seconds.
        report: A function that is called with an event before each retry.
        name: The name of the content in events and debug output.
        new_deadline: A function that returns the deadline of a try that begins now.
        max_refusals: The number of consecutive responses with status 429 or 503 after which the
            transfer stops.
        rate: The rate of the transfer. The requests of the transfer must carry the same object.
    """

    def __init__(
        self,
        sleep: Callable[[float], object],
        report: Report,
        name: str,
        new_deadline: Callable[[], Deadline],
        *,
        max_refusals: int = MAX_FAILURES,
        rate: TransferRate | None = None,
    ) -> None:
        self.rate = rate or TransferRate()
        self._sleep = sleep
        self._report = report
        self._name = name
        self._new_deadline = new_deadline
        self._max_refusals = max_refusals
        self._waits = backoff(_FIRST_WAIT, _LONGEST_WAIT)
        self._failures = self._refusals = 0
        #: The offset from which progress is measured.
        self._last_offset: int | None = None

    def wait_or_raise(self, error: ContainerdError, offset: int, total: int) -> None:
        """Wait before the next try, which continues at ``offset`` of ``total`` bytes.

        Raises ``error`` if the transfer stops.
        """
        if self._last_offset is None:
            self._last_offset = offset
        elif offset - self._last_offset >= min_progress(total):
            self._check_rate(error, offset)
            self._failures = self._refusals = 0
            self._waits = backoff(_FIRST_WAIT, _LONGEST_WAIT)
            self._last_offset = offset
        if isinstance(error, RegistryUnavailable) and error.status in _REFUSALS:
            self._refusals += 1
        else:
            self._failures += 1
        if self._failures >= MAX_FAILURES or self._refusals >= self._max_refusals:
            raise error
        wait = max(next(self._waits), requested_wait(error) or 0.0)
        if not _may_wait(wait, self._new_deadline()):
            raise error
        _LOGGER.debug(
            "%s: retry from byte %d in %.1f s: %s", self._name, offset, wait, error.message
        )
        self._report(
            ProgressEvent("retrying", self._name, offset, total, reason=error.message, wait=wait)
        )
        self._sleep(wait)
        self.rate.waited += wait

    def _check_rate(self, error: ContainerdError, offset: int) -> None:
        """Raise RegistryUnavailable, caused by ``error``, if the transfer's rate is too low."""
        try:
            self.rate.check(offset)
        except TooSlow as fault:
            raise RegistryUnavailable(
                f"{error.message}; over all its connections, the transfer of {self._name} {fault}",
                remedy="Check the network, or allow a lower least_rate=",
            ) from error

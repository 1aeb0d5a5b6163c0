"""Requests to one host, as often as it takes: authorization, redirects, tries.

What lives here: what stands around every request, whatever it asks for.  What may not: what
answers mean, choosing among hosts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from ..deadline import Deadline, backoff
from ..errors import ContainerdError, InvalidArgument, RegistryError, RegistryUnavailable
from ..lazy import lazy_pattern
from ..progress import ProgressEvent
from ..records import field, record
from ..undo import Undo
from .auth import Authenticator
from .destinations import Privacy, Url, check_redirect
from .hosts import Host
from .http import Body, Response, Transport
from .http_errors import MAX_ERROR, Again, clean, repeats, status_failure, wait_asked

MAX_REDIRECTS = 5
MAX_TRIES = 5
#: Bounds of the waits between tries where the registry names none (seconds).
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
_MAX_WARNINGS = 100
#: Cuts in a row, without a byte between them, after which one gives up (as containerd's reader).
MOST_CUTS = 3
#: What a registry answers that has not looked at the request: too many of them, or too much to do.
_REFUSALS = frozenset({429, 503})

_READING = frozenset({"GET", "HEAD"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Those that keep the method and the body (RFC 9110, section 15.4).
_KEEPING = frozenset({307, 308})
#: distribution-spec, Warnings: only these are meant for users.
_WARNING = lazy_pattern(r'299 \S+ "((?:[^"\\]|\\.)*)"')

_LOGGER = logging.getLogger(__package__)

Report = Callable[[ProgressEvent], object]
_Result = TypeVar("_Result")


@record(frozen=True)
class Ask:
    """One request: what to do, and what to call it in errors.

    ``path`` is below the API's root; a ``url`` stands in its place where the host named one.
    ``scopes`` are what a token must allow (``repository:app:pull``), ``expect`` the statuses
    that are an answer.  An ``anonymous`` one never carries credentials, wherever it goes.
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


class Session:
    """One host of a registry and all that it was told of it; thread-safe."""

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
        """``warnings`` is added to; ``report`` is told of tries that are repeated."""
        self.host = host
        self._transport = transport
        self._auth = auth
        self._sleep = sleep
        self._report = report
        self._warnings = warnings
        self._tries = tries

    def close(self) -> None:
        self._transport.close()

    def greet(self, scopes: tuple[str, ...], deadline: Deadline) -> None:
        """Finds out what to say before a body goes out, where nothing is known yet."""
        if not self._auth.header(scopes, deadline):
            self.send(Ask("GET", "", "its API", scopes), deadline, lambda answer: answer.snippet(0))

    def send(self, ask: Ask, deadline: Deadline, use: Callable[[Response], _Result]) -> _Result:
        """What ``use`` makes of the answer, after as many tries as are allowed and needed.

        Raises RegistryError and its kinds, and what ``use`` raises; an ``Again`` of it is a
        reason to try again.
        """
        waits = backoff(_FIRST_WAIT, _LONGEST_WAIT)
        tries = 0
        while True:
            tries += 1
            try:
                return _used(self._authorised(ask, deadline), use)
            except Again as again:
                wait = next(waits) if again.after is None else again.after
                remaining = deadline.remaining()
                if tries >= min(ask.tries, self._tries) or (
                    remaining is not None and wait >= remaining
                ):
                    raise again.error from again.__cause__
                reason = again.error.message
            _LOGGER.debug("%s: again in %.1f s: %s", ask.what, wait, reason)
            self._report(ProgressEvent("retrying", ask.what, reason=reason, wait=wait))
            self._sleep(wait)

    def _authorised(self, ask: Ask, deadline: Deadline) -> Response:
        """The answer to one try, after answering a challenge if there is one."""
        header = "" if ask.anonymous else self._auth.header(ask.scopes, deadline)
        answer = self._follow(ask, header, deadline)
        while answer.status == 401 and self._is_own(answer) and not ask.anonymous:
            values = answer.header_list("WWW-Authenticate")
            body = answer.snippet(MAX_ERROR)
            second = self._auth.answer(ask.scopes, values, header, deadline)
            if not second or second == header:
                raise self._failure(ask, answer, body)
            # It ends: of one request the authenticator answers two challenges at most.
            header, answer = second, self._follow(ask, second, deadline)
        if answer.status not in ask.expect:
            raise self._failure(ask, answer, answer.snippet(MAX_ERROR))
        if self._is_own(answer):
            self._note_warnings(answer)
        return answer

    def _is_own(self, answer: Response) -> bool:
        return answer.url.origin == self.host.base.origin

    def _note_warnings(self, answer: Response) -> None:
        for value in answer.header_list("Warning"):
            match = _WARNING.fullmatch(value.strip())
            text = clean(re.sub(r"\\(.)", r"\1", match[1])) if match else ""
            if not text or text in self._warnings or repeats(value, self._secrets()):
                continue
            if len(self._warnings) < _MAX_WARNINGS:
                self._warnings.append(text)

    def _failure(self, ask: Ask, answer: Response, body: bytes) -> Exception:
        if answer.status in (401, 403) and (ask.anonymous or not self._is_own(answer)):
            return RegistryError(
                f"{answer.url.origin}, where the registry points to, refuses {ask.what} "
                f"(HTTP {answer.status}); credentials are not sent there",
                status=answer.status,
            )
        return status_failure(
            answer.status,
            answer.headers,
            body,
            what=ask.what,
            url=answer.url,
            known=answer.status in (401, 403) and self._auth.credentials is not None,
            secrets=self._secrets(),
        )

    def _secrets(self) -> list[str]:
        """All that this host was told and may not be quoted with."""
        return [*self._auth.secrets(), *(value for _, value in self.host.headers)]

    def _follow(self, ask: Ask, authorization: str, deadline: Deadline) -> Response:
        """Sends and follows redirects; what is secret never leaves the host's origin."""
        secret = dict(self.host.headers)
        if authorization:
            secret["Authorization"] = authorization
        seen_from, url = self.host.base, ask.url or self.host.url(ask.path, ask.query)
        for _ in range(MAX_REDIRECTS + 1):
            limit = self._leave(seen_from, url)
            if limit is not None or ask.anonymous:
                secret = {}  # and it stays behind, even if the way leads back
            answer = self._transport.send(
                ask.method,
                url,
                {**ask.headers, **secret},
                deadline,
                limit,
                body=ask.body,
                what=ask.what if ask.url else ask.path or ask.what,
            )
            followed = _REDIRECTS if ask.method in _READING else _KEEPING
            if answer.status not in followed:
                return answer
            seen_from, url = url, _target(ask, answer)
        origin = self.host.base.origin
        raise RegistryError(f"{origin} redirects {ask.what} more than {MAX_REDIRECTS} times")

    def _leave(self, seen_from: Url, target: Url) -> Privacy | None:
        """How private an address ``target`` may have; ``None`` if it is the host itself.

        Raises RegistryError for one that must not be asked.
        """
        base = self.host.base
        if target.origin != base.origin:
            check_redirect(seen_from, target)
        return self._transport.limit(base, target, "the redirect")


def _used(answer: Response, use: Callable[[Response], _Result]) -> _Result:
    with Undo(answer.close):
        return use(answer)


def _target(ask: Ask, answer: Response) -> Url:
    """Where a redirect leads.  Raises RegistryError."""
    target = location(answer, ask.what)
    answer.snippet(MAX_ERROR)
    if target is None:
        raise RegistryError(f"{answer.url.origin} redirects {ask.what} without saying where")
    return target


def location(answer: Response, what: str) -> Url | None:
    """The ``Location`` of an answer, relative or absolute, its query verbatim; or ``None``.

    Raises RegistryError for one that cannot be.
    """
    text = answer.headers.get("Location")
    if not text:
        return None
    try:
        return answer.url.join(text)
    except InvalidArgument as error:
        answer.close()
        raise RegistryError(f"{answer.url.origin} points {what} elsewhere: {error}") from None


class Cuts:
    """Decides whether to go on after a cut: not after three in a row without a byte between.

    Who answers that it is busy has cut nothing, and may do so more often, where that is said.
    """

    def __init__(
        self,
        sleep: Callable[[float], object],
        report: Report,
        name: str,
        until: Callable[[], Deadline],
        *,
        refusals: int = MOST_CUTS,
    ) -> None:
        """``until`` gives the deadline for the next try to begin."""
        self._sleep = sleep
        self._report = report
        self._name = name
        self._until = until
        self._most_refusals = refusals
        self._waits = backoff(_FIRST_WAIT, _LONGEST_WAIT)
        self._row = self._refusals = 0
        self._last = -1

    def survive(self, error: ContainerdError, offset: int, total: int) -> None:
        """Waits before the next try from ``offset`` bytes; raises ``error`` where there is none."""
        if offset != self._last:
            self._row = self._refusals = 0
        self._last = offset
        if isinstance(error, RegistryUnavailable) and error.status in _REFUSALS:
            self._refusals += 1
        else:
            self._row += 1
        if self._row >= MOST_CUTS or self._refusals >= self._most_refusals:
            raise error
        wait = max(next(self._waits), wait_asked(error) or 0.0)
        remaining = self._until().remaining()
        if remaining is not None and wait >= remaining:
            raise error
        _LOGGER.debug(
            "%s: again from byte %d in %.1f s: %s", self._name, offset, wait, error.message
        )
        self._report(
            ProgressEvent("retrying", self._name, offset, total, reason=error.message, wait=wait)
        )
        self._sleep(wait)

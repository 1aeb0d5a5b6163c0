"""References: what users call an image, and the full name that everything else uses.

What lives here: the grammar and the normalisation of distribution's ``reference`` package
(reference.go, regexp.go, normalize.go).  What may not: resolving.
"""

from __future__ import annotations

from typing import NoReturn

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..records import record, replace
from . import digest as digests
from .document import quoted

DEFAULT_HOST = "docker.io"
DEFAULT_TAG = "latest"
#: reference.go, RepositoryNameTotalLengthMax: of the repository, without the host.
MAX_REPOSITORY = 255
#: The name, 128 of tag and the longest digest; a host name is at most 253 (RFC 1035).
MAX_REFERENCE = 1024

_LEGACY_HOST = "index.docker.io"
_OFFICIAL = "library/"

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = lazy_pattern(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = lazy_pattern(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = lazy_pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IDENTIFIER = lazy_pattern(r"[a-f0-9]{64}")


@record(frozen=True)
class Reference:
    """A full reference; ``str()`` gives ``docker.io/library/busybox:latest``.

    ``host`` may carry a port; ``tag`` and ``digest`` are ``""`` where absent; one of
    them is always there.
    """

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Reads a familiar or full reference, as ``docker pull`` and ``ctr`` users write them.

        ``busybox`` becomes ``docker.io/library/busybox:latest``; the default tag is left out
        where there is a digest.  Raises InvalidArgument, saying which part is wrong.
        """
        if not text or len(text) > MAX_REFERENCE:
            _refuse(text, f"has {len(text)} characters; 1 to {MAX_REFERENCE} are allowed")
        if _IDENTIFIER.fullmatch(text):
            _refuse(text, "is an identifier, not a name")
        host, rest = _split_host(text)
        rest, at, digest = rest.partition("@")
        repository, colon, tag = rest.partition(":")
        _check_host(text, host)
        _check_repository(text, repository)
        if colon and not _TAG.fullmatch(tag):
            _refuse(text, f"has a tag that cannot be, {quoted(tag)}")
        if at and not digests.is_digest(digest):
            _refuse(text, f"has a digest that cannot be, {quoted(digest)}")
        return cls(host, repository, tag if tag or digest else DEFAULT_TAG, digest)

    @property
    def name(self) -> str:
        """The host and the repository."""
        return f"{self.host}/{self.repository}"

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest, else the tag."""
        return self.digest or self.tag

    @property
    def familiar(self) -> str:
        """The short form that users write and docker archives hold."""
        name = self.name
        if self.host == DEFAULT_HOST:
            name = self.repository
            short = name.removeprefix(_OFFICIAL)
            name = name if "/" in short else short
        return str(self).replace(self.name, name, 1)

    def with_digest(self, digest: str) -> Reference:
        """This reference, pinned to ``digest``.  Raises InvalidArgument."""
        return replace(self, digest=digests.validate(digest))

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def _split_host(text: str) -> tuple[str, str]:
    """The host and the rest: normalize.go's rule of what the first component is."""
    first, slash, rest = text.partition("/")
    if not slash:
        return DEFAULT_HOST, _OFFICIAL + text
    named = first == "localhost" or "." in first or ":" in first or first.lower() != first
    host, rest = (first, rest) if named else (DEFAULT_HOST, text)
    if host in (DEFAULT_HOST, _LEGACY_HOST):
        return DEFAULT_HOST, rest if "/" in rest else _OFFICIAL + rest
    return host, rest


def is_host(text: str) -> bool:
    """Whether ``text`` is what a reference may name as its host, with or without a port."""
    return _HOST.fullmatch(text) is not None


def _check_host(text: str, host: str) -> None:
    if not is_host(host):
        _refuse(text, f"has a host that cannot be, {quoted(host)}")


def _check_repository(text: str, repository: str) -> None:
    if repository.lower() != repository:
        _refuse(text, "has capitals in its repository name")
    if not all(map(_COMPONENT.fullmatch, repository.split("/"))):
        _refuse(text, f"has a repository name that cannot be, {quoted(repository)}")
    if len(repository) > MAX_REPOSITORY:
        _refuse(text, f"has a repository name of more than {MAX_REPOSITORY} characters")


def _refuse(text: str, why: str) -> NoReturn:
    raise InvalidArgument(
        f"the reference {quoted(text)} {why}",
        remedy="A reference is written like busybox:1.36 or registry.example:5000/team/app:tag",
    )

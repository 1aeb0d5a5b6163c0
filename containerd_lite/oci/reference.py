"""References: the names of images, in familiar and in full form.

The grammar and the normalisation are the same as in distribution's ``reference`` package
(reference.go, regexp.go, normalize.go).
"""

from __future__ import annotations

from typing import NoReturn

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..printable import quoted
from ..records import record, replace
from . import digest as digests

DEFAULT_HOST = "docker.io"
DEFAULT_TAG = "latest"
#: The maximum length of a repository in characters, without the host (reference.go,
#: RepositoryNameTotalLengthMax).
MAX_REPOSITORY = 255
#: The maximum length of a reference in characters. This is enough for a host name of 253
#: characters (RFC 1035), the longest repository, a tag of 128 characters and the longest digest.
MAX_REFERENCE = 1024

#: The maximum length of a tag in characters.
MAX_TAG = 128

_LEGACY_HOST = "index.docker.io"
_OFFICIAL = "library/"

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = lazy_pattern(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = lazy_pattern(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = lazy_pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IDENTIFIER = lazy_pattern(r"[a-f0-9]{64}")


@record(frozen=True)
class Reference:
    """A full reference, such as ``docker.io/library/busybox:latest``.

    A reference has a tag, a digest or both. ``str()`` returns the reference as text.

    Attributes:
        host: The host of the registry, with or without a port.
        repository: The repository, such as ``library/busybox``.
        tag: The tag; ``""`` if the reference has only a digest.
        digest: The digest; ``""`` if the reference has only a tag.
    """

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse a reference in familiar or full form, as ``docker pull`` and ``ctr`` accept it.

        ``busybox`` becomes ``docker.io/library/busybox:latest``. A reference with a digest does not
        get the default tag.

        Args:
            text: The reference.

        Raises:
            InvalidArgument: ``text`` is not a reference; the message names the invalid part.
        """
        if not isinstance(text, str):
            _refuse(text, "is not a string")
        if not text or len(text) > MAX_REFERENCE:
            _refuse(text, f"has {len(text)} characters; 1 to {MAX_REFERENCE} are allowed")
        if _IDENTIFIER.fullmatch(text):
            _refuse(text, "is an ID of 64 hex digits, not a name")
        host, rest = _split_host(text)
        rest, at, digest = rest.partition("@")
        repository, colon, tag = rest.partition(":")
        _check_host(text, host)
        _check_repository(text, repository)
        if colon and not _TAG.fullmatch(tag):
            _refuse(text, f"has an invalid tag {quoted(tag)}")
        if at and not digests.is_digest(digest):
            _refuse(text, f"has an invalid digest {quoted(digest)}")
        return cls(host, repository, tag if tag or digest else DEFAULT_TAG, digest)

    @property
    def name(self) -> str:
        """The host and the repository, without tag and digest."""
        return f"{self.host}/{self.repository}"

    @property
    def target(self) -> str:
        """The digest if the reference has one, else the tag. Registry requests use this value."""
        return self.digest or self.tag

    @property
    def familiar(self) -> str:
        """The short form that users write and that Docker archives contain."""
        name = self.name
        if self.host == DEFAULT_HOST:
            name = self.repository
            short = name.removeprefix(_OFFICIAL)
            name = name if "/" in short else short
        return str(self).replace(self.name, name, 1)

    def with_digest(self, digest: str) -> Reference:
        """Return a copy of this reference whose digest is ``digest``.

        Raises:
            InvalidArgument: ``digest`` is not a digest.
        """
        return replace(self, digest=digests.validate(digest))

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def _split_host(text: str) -> tuple[str, str]:
    """Split a reference into its host and the remaining text, by the rules of normalize.go."""
    first, slash, rest = text.partition("/")
    if not slash:
        return DEFAULT_HOST, _OFFICIAL + text
    has_host = first == "localhost" or "." in first or ":" in first or first.lower() != first
    host, rest = (first, rest) if has_host else (DEFAULT_HOST, text)
    if host in (DEFAULT_HOST, _LEGACY_HOST):
        return DEFAULT_HOST, rest if "/" in rest else _OFFICIAL + rest
    return host, rest


def is_host(text: str) -> bool:
    """Return whether ``text`` can be the host of a reference, with or without a port."""
    # The pattern takes a hundred bytes of memory for each dot.
    return len(text) <= MAX_REFERENCE and _HOST.fullmatch(text) is not None


def _check_host(text: str, host: str) -> None:
    if not is_host(host):
        _refuse(text, f"has an invalid host {quoted(host)}")


def _check_repository(text: str, repository: str) -> None:
    if repository.lower() != repository:
        _refuse(text, "has upper-case letters in its repository name")
    if not all(map(_COMPONENT.fullmatch, repository.split("/"))):
        _refuse(text, f"has an invalid repository name {quoted(repository)}")
    if len(repository) > MAX_REPOSITORY:
        _refuse(text, f"has a repository name of more than {MAX_REPOSITORY} characters")


def _refuse(text: str, why: str) -> NoReturn:
    raise InvalidArgument(
        f"the reference {quoted(text)} {why}",
        remedy="Give a reference such as busybox:1.36 or registry.example:5000/team/app:tag",
    )

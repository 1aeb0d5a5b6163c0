"""A parser of ``WWW-Authenticate`` headers (RFC 9110, section 11)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..lazy import lazy_pattern
from ..records import field, record

#: Number of characters of all headers of a response that are parsed. The rest is ignored.
_MAX_HEADER = 16 << 10

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = lazy_pattern(rf"({_TOKEN})(?=[ \t,]|$)")
_PARAMETER = lazy_pattern(rf'({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")(?=[ \t,]|$)')
_SEPARATORS = lazy_pattern(r"[ \t,]*")
_JUNK = lazy_pattern(r"[^,]+")


@record(frozen=True)
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header.

    The scheme and the names of the parameters are in lower case.
    """

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict, hash=False)


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges of all ``WWW-Authenticate`` headers (RFC 9110, section 11.6.1).

    Text that the parser does not recognize is skipped up to the next comma. If a challenge has a
    parameter twice, the first value counts.
    """
    challenges: list[Challenge] = []
    room = _MAX_HEADER
    for value in values:
        text, position = value[:room], 0
        room -= len(text)
        in_challenge = False
        while (position := _match_end(_SEPARATORS, text, position)) < len(text):
            if in_challenge and (match := _PARAMETER.match(text, position)):
                plain, quoted = match[2], match[3]
                content = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                challenges[-1].parameters.setdefault(match[1].lower(), content)
            elif match := _SCHEME.match(text, position):
                challenges.append(Challenge(match[1].lower()))
                in_challenge = True
            else:
                match = _JUNK.match(text, position)
            position = match.end() if match else len(text)
    return tuple(challenges)


def _match_end(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Return the end of a match at ``position``, or ``position`` if the pattern does not match."""
    match = pattern.match(text, position)
    return match.end() if match else position

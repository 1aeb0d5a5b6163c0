"""What a registry says when it asks who we are.

What lives here: the record of one challenge, and the reading of ``WWW-Authenticate`` headers
(RFC 9110, section 11).  What may not: answering them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..lazy import lazy_pattern
from ..records import field, record

_MAX_HEADER = 16 << 10

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = lazy_pattern(rf"({_TOKEN})(?=[ \t,]|$)")
_PARAMETER = lazy_pattern(rf'({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")(?=[ \t,]|$)')
_GAP = lazy_pattern(r"[ \t,]*")
_JUNK = lazy_pattern(r"[^,]+")


@record(frozen=True)
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header; names are in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict, hash=False)


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Reads all challenges of all ``WWW-Authenticate`` headers (RFC 9110, section 11.6.1).

    What cannot be read is passed over up to the next comma; of a parameter that comes twice
    the first counts.
    """
    found: list[Challenge] = []
    for value in values:
        text, place = value[:_MAX_HEADER], 0
        inside = False
        while (place := _end(_GAP, text, place)) < len(text):
            if inside and (match := _PARAMETER.match(text, place)):
                plain, quoted = match[2], match[3]
                meant = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                found[-1].parameters.setdefault(match[1].lower(), meant)
            elif match := _SCHEME.match(text, place):
                found.append(Challenge(match[1].lower()))
                inside = True
            else:
                match = _JUNK.match(text, place)
            place = match.end() if match else len(text)
    return tuple(found)


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    return match.end() if match else place

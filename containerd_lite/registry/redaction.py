"""Removes secrets from the errors of a session.

A registry that has received a secret can repeat it in any part of its response. Errors quote many
of these parts. So all errors are cleaned in one place, when they leave the session.
"""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Iterable, Iterator

from ..errors import ContainerdError
from ..lazy import lazy_pattern
from .http_errors import Retryable

#: The text that replaces a secret.
REMOVED = "[secret removed]"
#: A part of a secret is removed, too, if it has at least this many characters. Errors quote long
#: texts only in part.
_MIN_PART = 12
#: How many characters a sample of a secret has: at most ``(_MIN_PART + 1) // 2``.
_SAMPLE = 6
#: If a redactor has more secrets, it drops those that are not current.
_MAX_SECRETS = 256
#: An error of another library with a longer text is not searched, but detached.
_MAX_TEXT = 16 << 10
#: Shorter secrets are not removed, because they occur in ordinary words and numbers.
_MIN_SECRET = 4
#: How many layers of escapes are decoded. For example, ``quoted`` escapes the escapes of a JSON
#: text.
_LAYERS = 3
#: Escapes of URLs, of JSON and of Python's literals.
_ESCAPE = lazy_pattern(
    r"%([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})|\\x([0-9A-Fa-f]{2})|\\([\"'/\\])"
)
#: Characters that two encodings of the same secret write differently.
_SAME = str.maketrans("+-_", "  /")


class _Decoded:
    """A text without escapes, in which each character knows its place in the original text.

    Each character stands for one byte of UTF-8. Letters are in lower case.
    """

    def __init__(self, text: str) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        bytes_of = [
            char if char.isascii() else char.encode("utf-8", "surrogatepass").decode("latin-1")
            for char in text
        ]
        for place, chars in enumerate(bytes_of):
            self._starts += [place] * len(chars)
            self._ends += [place + 1] * len(chars)
        self.text = "".join(bytes_of)
        for _ in range(_LAYERS):
            if "%" not in self.text and "\\" not in self.text:
                break
            self._decode()
        self.text = self.text.lower().translate(_SAME)

    def _decode(self) -> None:
        """Decode one layer of escapes."""
        pieces: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        last = 0
        for match in _ESCAPE.finditer(self.text):
            begin, end = match.span()
            byte = match[1] or match[4]
            code = match[2] or match[3]
            if code and int(code, 16) <= 0x10FFFF:
                char = chr(int(code, 16)).encode("utf-8", "surrogatepass").decode("latin-1")
            else:
                char = chr(int(byte, 16)) if byte else match[5] or ""
            pieces += (self.text[last:begin], char)
            starts += self._starts[last:begin] + [self._starts[begin]] * len(char)
            ends += self._ends[last:begin] + [self._ends[end - 1]] * len(char)
            last = end
        self.text = "".join((*pieces, self.text[last:]))
        self._starts = starts + self._starts[last:]
        self._ends = ends + self._ends[last:]

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """Return the place of the characters from ``begin`` to ``end`` in the original text."""
        return self._starts[begin], self._ends[end - 1]


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret in the forms that ``_Decoded`` gives texts, and in base64."""
    raw = secret.encode("utf-8", "surrogatepass")
    yield _Decoded(secret).text.rstrip("=")
    yield raw.decode("latin-1").lower().translate(_SAME)
    # ``http.client`` decodes the bytes of headers as Latin-1.
    yield _Decoded(raw.decode("latin-1")).text
    # In base64, a secret after a user name has one of three forms, which depend on the number of
    # bytes before the secret. The first and the last character can depend on the bytes beside it.
    for before, skipped in ((0, 0), (1, 2), (2, 3)):
        encoded = b64encode(bytes(before) + raw).decode("ascii")
        if encoded.endswith("="):
            encoded = encoded.rstrip("=")[:-1]
        yield encoded[skipped:].lower().translate(_SAME)


class Redactor:
    """Removes secrets from texts and errors, however the texts encode them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: frozenset[str] = frozenset()
        self._forms: frozenset[str] = frozenset()
        #: The forms that have fewer than ``_MIN_PART`` characters.
        self._short: frozenset[str] = frozenset()
        #: Samples of the other forms. Each part of ``_MIN_PART`` characters contains a sample.
        self._samples: frozenset[str] = frozenset()

    def add(self, secrets: Iterable[str]) -> None:
        """Add secrets: passwords, tokens and encoded credentials."""
        given = {secret for secret in secrets if len(secret) >= _MIN_SECRET}
        with self._lock:
            if given <= self._known:
                return
            keeps = len(self._known) <= _MAX_SECRETS
            known = self._known | given if keeps else frozenset(given)
            forms = set(self._forms) if keeps else set()
            for secret in known - self._known if keeps else known:
                forms.update(_forms(secret))
            self._forms = frozenset(form for form in forms if len(form) >= _MIN_SECRET)
            self._short = frozenset(form for form in self._forms if len(form) < _MIN_PART)
            self._samples = frozenset(
                form[start : start + _SAMPLE]
                for form in self._forms - self._short
                for start in range(0, len(form) - _SAMPLE + 1, _SAMPLE)
            )
            self._known = known

    def is_clean(self, text: str) -> bool:
        """Return whether a text contains no secret."""
        return next(self._places(_Decoded(text)), None) is None

    def text(self, text: str) -> str:
        """Return ``text`` without secrets."""
        decoded = _Decoded(text)
        places = sorted(decoded.span(*place) for place in self._places(decoded))
        pieces: list[str] = []
        last = 0
        for begin, end in places:
            if begin >= last:
                pieces += (text[last:begin], REMOVED)
            last = max(last, end)
        return "".join((*pieces, text[last:]))

    def _places(self, decoded: _Decoded) -> Iterator[tuple[int, int]]:
        """Yield the places of the secrets, and of long parts of secrets, in a decoded text."""
        text = decoded.text
        samples = self._samples
        if not any(text[at : at + _SAMPLE] in samples for at in range(len(text) - _SAMPLE + 1)):
            forms = self._short
        else:
            forms = self._forms
        for secret in forms:
            length = min(len(secret), _MIN_PART)
            begin = 0
            while begin <= len(text) - length:
                end = begin + length
                if text[begin:end] not in secret:
                    begin += 1
                    continue
                while end < len(text) and text[begin : end + 1] in secret:
                    end += 1
                yield begin, end
                begin = end

    def error(self, error: BaseException) -> None:
        """Remove secrets from an error, in place, and from the errors that led to it.

        A causing error of another library is detached if it contains a secret.
        """
        if not self._forms:
            return
        seen: set[int] = set()
        remaining = [error]
        while remaining:
            current = remaining.pop()
            if id(current) in seen:
                continue
            seen.add(id(current))
            if isinstance(current, ContainerdError):
                current.args = self._values(current.args, remaining)
                for name, value in vars(current).items():
                    setattr(current, name, self._value(value, remaining))
            elif isinstance(current, Retryable):
                remaining.append(current.error)
            for name in ("__cause__", "__context__"):
                cause = getattr(current, name)
                if cause is None:
                    continue
                if self._may_stay(cause):
                    remaining.append(cause)
                else:
                    is_hidden = current.__suppress_context__
                    setattr(current, name, None)
                    current.__suppress_context__ = is_hidden

    def _may_stay(self, cause: BaseException) -> bool:
        """Return whether an error contains no secret, or can be cleaned in place."""
        if isinstance(cause, (ContainerdError, Retryable)):
            return True
        values = (*cause.args, *vars(cause).values())
        if any(isinstance(value, (str, bytes)) and len(value) > _MAX_TEXT for value in values):
            return False
        return all(map(self.is_clean, (str(cause), repr(cause), *map(repr, values))))

    def _values(
        self, values: tuple[object, ...], remaining: list[BaseException]
    ) -> tuple[object, ...]:
        return tuple(self._value(value, remaining) for value in values)

    def _value(self, value: object, remaining: list[BaseException]) -> object:
        """Return a value of an error's attribute without secrets. Add errors to ``remaining``."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return value if self.is_clean(value.decode("latin-1")) else b""
        if isinstance(value, tuple):
            return self._values(value, remaining)
        if isinstance(value, BaseException):
            remaining.append(value)
        return value

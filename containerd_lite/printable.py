"""Makes texts of peers, and values of callers, safe to print."""

from __future__ import annotations

#: The maximum number of characters of an error's message.
MAX_MESSAGE = 4 << 10
#: The maximum number of characters of a value in an error message.
_MAX_QUOTED = 80


def printable(text: str, limit: int | None = None) -> str:
    r"""Return ``text`` without characters that control a terminal or hide a part of the text.

    Line breaks, tabs and special spaces become spaces. Other characters that are not printable
    become escapes such as ``\x1b``. These are control characters, marks that change the direction
    of text, and lone surrogates.

    Args:
        text: The text.
        limit: The maximum number of characters. A longer text loses its middle, because the reason
            of an error is often at the end. Default: no limit.
    """
    if limit is not None:
        text = _shortened(text, limit)
    if text.isprintable():
        return text
    text = "".join(char if char.isprintable() else _visible(char) for char in text)
    return text if limit is None else _shortened(text, limit)


def quoted(value: object, limit: int = _MAX_QUOTED) -> str:
    """Return ``value`` as a printable literal for error messages. A long literal is cut off."""
    if isinstance(value, str | bytes):
        value = value[: limit + 1]  # the literal of each character has at least one
    try:
        text = ascii(value)
    except RecursionError:
        return "a deeply nested value"
    except ValueError:  # Python refuses to write integers of more than 4,300 digits
        return "this value"
    return text if len(text) <= limit else f"{text[:limit]}..."


def duration(seconds: float | None) -> str:
    """Return a number of seconds for a message, such as ``0.25 s``; ``None`` is any time."""
    if seconds is None:
        return "any time"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def _visible(char: str) -> str:
    return " " if char.isspace() else char.encode("unicode_escape").decode("ascii")


def _shortened(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters: the beginning and the end of ``text``."""
    if len(text) <= limit:
        return text
    end = limit // 4
    return f"{text[: limit - end - 5]} ... {text[len(text) - end :]}"

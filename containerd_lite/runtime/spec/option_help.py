"""Explains options: makes the signature and the docstring of a method that has options.

The names and types of the options come from the classes in ``options.py``, and the explanations
from the comments in this file.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, cleandoc, getsource, signature

from . import options

#: The length of lines of docstrings of methods, without their indentation in the source text.
_WIDTH = 92


def signature_with_options(function: Callable[..., object]) -> Signature:
    """Return the signature of a method, with a parameter for each option."""
    known = signature(function)
    own = [each for each in known.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
    added = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _annotations(function).items()
    ]
    return known.replace(parameters=[*own, *added])


def _annotations(function: Callable[..., object]) -> Mapping[str, str]:
    """Return the types of the options of a method, by the name of the option."""
    name = function.__annotations__["options"].removeprefix("Unpack[").removesuffix("]")
    classes = reversed(getattr(options, name).__mro__)
    return {
        option: annotation
        for each in classes
        for option, annotation in getattr(each, "__annotations__", {}).items()
    }


def doc_with_options(function: Callable[..., object]) -> str | None:
    """Return the docstring with an entry for each option, after the entry of ``**options``.

    Without the source text of ``options.py``, the docstring has no such entries.
    """
    if function.__doc__ is None:  # python -OO
        return None
    doc, explained = cleandoc(function.__doc__), option_comments()
    wrap = textwrap.TextWrapper(_WIDTH, " " * 4, " " * 8, break_on_hyphens=False)
    entries = [
        wrap.fill(f"{name}: {explained[name]}")
        for name in _annotations(function)
        if name in explained
    ]
    whole_entry = r"^    \*\*options: .*(?:\n {8}.*)*"
    return re.sub(whole_entry, lambda found: "\n".join([found[0], *entries]), doc, flags=re.M)


def option_comments() -> dict[str, str]:
    """Return the comments that stand above the options in ``options.py``, by option.

    The result is empty if the source text is not there, but only compiled code.
    """
    try:
        lines = map(str.strip, getsource(options).splitlines())
    except OSError:
        return {}
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in lines:
        if line.startswith("#: "):
            comment.append(line.removeprefix("#: "))
        else:
            if comment:
                found[line.partition(":")[0]] = " ".join(comment)
            comment = []
    return found

"""Policies: which rules apply to the images of which repositories."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from ..errors import InvalidArgument, SignatureError
from ..lazy import lazy_pattern
from ..oci.reference import Reference
from ..printable import quoted
from .policy_file import read_rules
from .rules import Rule, is_repository

#: The host in a pattern with wildcards.
_HOST = lazy_pattern(r"localhost|[^/]*[.:*][^/]*")


class Policy:
    """The rules for images, by repository. Policies can be pickled.

    An image must meet the rule whose pattern matches its repository. If several patterns match, the
    pattern with the most characters besides wildcards applies. An image that no pattern matches is
    refused.

    Args:
        rules: A rule, or several rules that must all be met, by the pattern of the repositories. A
            pattern is a repository with its host, such as ``"ghcr.io/team/app"``. ``*`` stands for
            any characters except ``/``, ``**`` for any characters. The pattern ``"**"`` matches all
            repositories.

    Raises:
        InvalidArgument: A pattern is invalid, or a pattern has no rule.
    """

    def __init__(self, rules: Mapping[str, Rule | Sequence[Rule]]) -> None:
        self.rules: Mapping[str, tuple[Rule, ...]] = {
            _full_pattern(pattern): (found,) if isinstance(found, Rule) else tuple(found)
            for pattern, found in rules.items()
        }
        for pattern, found in self.rules.items():
            if not found or not all(isinstance(rule, Rule) for rule in found):
                raise InvalidArgument(f"the pattern {quoted(pattern)} has no rule")
        self._patterns = {pattern: _compile(pattern) for pattern in self.rules}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a policy from a TOML file, as ``docs/trust.md`` describes it.

        Raises:
            NotFound: The file, or a file that it names, does not exist.
            InvalidArgument: The file is not a policy. The message names the table and the key.
        """
        return cls(read_rules(path))

    def rules_for(self, reference: Reference) -> tuple[str, tuple[Rule, ...]]:
        """Return the pattern and the rules that apply to an image.

        Raises:
            SignatureError: No pattern matches the image's repository.
        """
        matching = [
            p for p, compiled in self._patterns.items() if compiled.fullmatch(reference.name)
        ]
        if not matching:
            raise SignatureError(
                f"no rule of the policy matches {reference.name}",
                remedy="Add a rule for this repository to the policy",
            )
        pattern = max(matching, key=lambda each: (len(each.replace("*", "")), len(each), each))
        return pattern, self.rules[pattern]

    def __reduce__(self) -> tuple[object, ...]:
        return Policy, (dict(self.rules),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and other.rules == self.rules

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Policy for {', '.join(sorted(self.rules)) or 'no repository'}>"


def _full_pattern(pattern: str) -> str:
    """Return a pattern with its host. Raises InvalidArgument if it is not a repository."""
    if "*" not in pattern:
        reference = Reference.parse(pattern)
        if not is_repository(pattern):
            raise InvalidArgument(
                f"the pattern {quoted(pattern)} has a tag or a digest",
                remedy="Write the repository only, because a rule applies to all its images",
            )
        return reference.name
    host, slash, _ = pattern.partition("/")
    if pattern != "**" and not (slash and _HOST.fullmatch(host)):
        raise InvalidArgument(
            f"the pattern {quoted(pattern)} does not begin with the host of a registry",
            remedy="Write docker.io/library/*, or ** for all repositories",
        )
    return pattern


def _compile(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*+)", pattern)
    wild = {"*": "[^/]*", "**": ".*"}
    for part in parts[1::2]:
        if part not in wild:
            raise InvalidArgument(f"the pattern {quoted(pattern)} has {part}; write * or **")
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts))

"""Reads policies from TOML files, in the form that ``docs/trust.md`` describes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..errors import InvalidArgument
from ..oci.document import Document
from ..printable import quoted
from .files import read_file
from .rules import Identity, RequiredAttestation, Rule, TextOrPattern

if TYPE_CHECKING:
    from .trust_root import TrustRoot

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

#: The maximum size of a policy file in bytes.
_MAX_FILE = 1 << 20
#: The keys of a rule.
RULE_KEYS = (
    "pattern", "keys", "identities", "trust_root", "threshold", "log", "timestamp", "annotations",
    "attestations", "max_age", "signed", "name", "form", "accept", "reject",
)  # fmt: skip
_IDENTITY_KEYS = ("issuer", "subject", "claims")


def read_rules(path: str | os.PathLike[str]) -> dict[str, list[Rule]]:
    """Return the rules in a TOML file, by the patterns of their repositories.

    Paths of keys and trust roots are relative to the folder of the file.

    Raises:
        NotFound: The file, or a file that it names, does not exist.
        InvalidArgument: The file is not a policy. The message names the file.
    """
    body = read_file(path, "the policy", _MAX_FILE)
    what = os.fspath(path)
    try:
        fields: dict[str, object] = tomllib.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError
        raise InvalidArgument(f"{what} is not valid TOML ({error})") from None
    return _PolicyFile(Path(path).absolute().parent, what).read(fields)


class _PolicyFile:
    """One policy file.

    Args:
        folder: The folder of the file.
        what: The path of the file, for error messages.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self._folder = folder
        self._what = what
        self._roots: dict[str, TrustRoot] = {}

    def read(self, fields: Mapping[str, object]) -> dict[str, list[Rule]]:
        """Return the rules in the file."""
        document = self._table(dict(fields), self._what, ("version", "rule"))
        if document.integer("version") != 1:
            raise InvalidArgument(f"{self._what} does not have the version 1")
        rules: dict[str, list[Rule]] = {}
        for pattern, rule in document.each("rule", self._read_rule):
            rules.setdefault(pattern, []).append(rule)
        if not rules:
            raise InvalidArgument(f"{self._what} has no rule", remedy="Add a table [[rule]]")
        return rules

    def _read_rule(self, document: Document) -> tuple[str, Rule]:
        self._check_keys(document, RULE_KEYS)
        try:
            rule = Rule(
                keys=[self._folder / key for key in document.texts("keys")],
                identities=document.each("identities", self._read_identity),
                trust_root=self._trust_root(document) if document.has("trust_root") else None,
                threshold=document.integer("threshold", 1),
                log=document.flag("log") if document.has("log") else None,
                timestamp=document.flag("timestamp"),
                annotations=document.table("annotations"),
                attestations=document.each("attestations", self._read_attestation),
                max_age=document.integer("max_age") if document.has("max_age") else None,
                # Rule checks the values of ``signed``, ``name`` and ``form``.
                signed=document.text("signed", "index"),  # type: ignore[arg-type]
                name=document.text("name", "any"),  # type: ignore[arg-type]
                form=document.text("form", "any"),  # type: ignore[arg-type]
                accept=document.flag("accept"),
                reject=document.flag("reject"),
            )
        except InvalidArgument as error:
            raise InvalidArgument(
                error.message
                if self._what in error.message
                else f"{document.what}: {error.message}",
                remedy=error.remedy,
            ) from None
        return document.text("pattern", None), rule

    def _read_identity(self, document: Document) -> Identity:
        self._check_keys(document, _IDENTITY_KEYS)
        claims = document.document("claims")
        return Identity(
            issuer=self._text_or_pattern(document, "issuer"),
            subject=self._text_or_pattern(document, "subject"),
            claims={
                name: self._text_or_pattern(claims, name)
                for name in (claims.fields if claims else ())
                if claims is not None
            },
        )

    def _read_attestation(self, document: Document) -> RequiredAttestation:
        self._check_keys(document, ("predicate_type",))
        return RequiredAttestation(document.text("predicate_type", None))

    def _text_or_pattern(self, document: Document, name: str) -> TextOrPattern:
        """Return a string, or the regular expression in ``{ pattern = "…" }``."""
        value = document.fields.get(name)
        if isinstance(value, dict) and value.keys() == {"pattern"}:
            try:
                return re.compile(Document.of(value, document.what).text("pattern", None))
            # A program can turn the warnings of ``re`` into errors.
            except (re.error, OverflowError, RecursionError, Warning) as error:
                self._refuse(document, name, f"is not a regular expression ({error})")
        return document.text(name, None)

    def _trust_root(self, document: Document) -> TrustRoot:
        path = document.text("trust_root", None)
        if path not in self._roots:
            from .trust_root import TrustRoot  # takes 3 ms, which policies by key need not take

            self._roots[path] = TrustRoot.load(self._folder / path)
        return self._roots[path]

    def _table(self, value: object, what: str, keys: tuple[str, ...]) -> Document:
        document = Document.of(value, what)
        self._check_keys(document, keys)
        return document

    @staticmethod
    def _check_keys(document: Document, keys: tuple[str, ...]) -> None:
        """Refuse unknown keys: a misspelt requirement would not be checked."""
        unknown = document.fields.keys() - set(keys)
        if unknown:
            raise InvalidArgument(
                f"{document.what} has the unknown key {quoted(min(unknown))}",
                remedy=f"Write one of {', '.join(keys)}",
            )

    @staticmethod
    def _refuse(document: Document, name: str, why: str) -> NoReturn:
        raise InvalidArgument(f"{document.what}: {name} {why}")

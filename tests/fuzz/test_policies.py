"""Policies with changes at random: typed errors, or rules that say what the file says."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from containerd_lite.errors import ContainerdError
from containerd_lite.oci.reference import Reference
from containerd_lite.trust import Identity, Policy, PublicKey, Rule, TrustRoot
from tests.fuzz import mutating
from tests.fuzz.signed import Signers

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

Count = Callable[[int, int], int]

REFERENCE = Reference.parse("registry.example/team/app:1")
FILE = """\
version = 1

[[rule]]
pattern = "registry.example/team/**"
keys = ["a.pub", "b.pub", "c.pub"]
threshold = 2
signed = "index"
name = "repository"
annotations = { build = "p256", stage = "release" }

[[rule.attestations]]
predicate_type = "https://slsa.dev/provenance/v1"

[[rule]]
pattern = "registry.example/team/app"
keys = ["a.pub"]
trust_root = "trusted_root.json"
log = true
timestamp = true
max_age = 7776000
form = "tag"

[[rule.identities]]
issuer = "https://issuer.example"
subject = { pattern = "https://github\\\\.com/team/.*" }
claims = { source_repository = "https://github.com/team/app", build_signer = { pattern = ".*" } }

[[rule]]
pattern = "docker.io/library/*"
accept = true

[[rule]]
pattern = "docker.io/library/untrusted"
reject = true
"""
#: Texts that are odd as patterns, paths or values.
ODD = (
    *("a{9}{9}", f"a{{{'9' * 20}}}", "(" * 3000, "(?:" * 3000 + ")" * 3000, "(?i)x", "[[a]", "("),
    *("**", "\\u0000", "..", "/dev/zero", "x" * 5000, ""),
)
#: The values of what a rule does not say, as ``docs/trust.md`` has them.
DEFAULTS: Mapping[str, object] = {
    "threshold": 1,
    "log": None,
    "timestamp": False,
    "max_age": None,
    "signed": "index",
    "name": "any",
    "form": "any",
    "accept": False,
    "reject": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy")
    signers = Signers()
    for name, key in zip("abc", signers.keys.values(), strict=False):
        (path / f"{name}.pub").write_text(key.pem)
    (path / "trusted_root.json").write_bytes(signers.world.trusted_root_json())
    return path


def changed(dice: Random) -> str:
    """The file with another word, line, number or character somewhere."""
    text = FILE
    for _ in range(dice.choice((1, 1, 2, 4))):
        words = re.split(r'("[^"\n]*"|\b)', text)
        at, to = dice.randrange(len(words)), dice.randrange(len(words))
        what = dice.choice(("words", "word", "move", "lines", "number"))
        if what == "words":
            words[at], words[to] = words[to], words[at]
        elif what == "move":
            words[at] = words[to]
        elif what == "number":
            words[at] = dice.choice(("0", "2", "true", "-1", "1e9", "9" * 15, "9" * 30, "nan"))
        elif what == "word":
            at = dice.choice([n for n, word in enumerate(words) if word[:1] == '"'] or [0])
            words[at] = f'"{dice.choice(ODD)}"'
        else:
            words = [mutating.mutate_text(text, dice)]
        text = "".join(words)
    return text


def test_a_changed_policy(folder: Path, count: Count) -> None:
    loaded, path = 0, folder / "policy.toml"
    for number in range(count(500, 5_000)):
        text = changed(Random(f"policy {number}"))
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            policy = Policy.load(path)
        except ContainerdError:
            continue
        loaded += 1
        left = {pattern: list(rules) for pattern, rules in policy.rules.items()}
        for table in tomllib.loads(text)["rule"]:
            (pattern,) = Policy({table["pattern"]: Rule(accept=True)}).rules
            check(left[pattern].pop(0), table, folder)
        assert not any(left.values())
    assert loaded


def check(rule: Rule, table: Mapping[str, Any], folder: Path) -> None:
    """Compare a rule with its table: nothing that the table demands is lost."""
    for name, default in DEFAULTS.items():
        assert getattr(rule, name) == table.get(name, default)
    keys = tuple(PublicKey.from_pem((folder / name).read_bytes()) for name in table.get("keys", ()))
    assert rule.keys == keys
    assert dict(rule.annotations) == table.get("annotations", {})
    stated = [each["predicate_type"] for each in table.get("attestations", ())]
    assert [each.predicate_type for each in rule.attestations] == stated
    assert [_identity(each) for each in rule.identities] == list(table.get("identities", ()))
    if "trust_root" in table:
        assert rule.trust_root == TrustRoot.load(folder / table["trust_root"])
    else:
        assert rule.trust_root is None
    assert table.keys() <= {
        *("pattern", "keys", "annotations", "attestations", "identities", "trust_root"),
        *DEFAULTS,
    }


def _identity(identity: Identity) -> dict[str, object]:
    """An identity as a table has it."""

    def said(value: str | re.Pattern[str]) -> object:
        return value if isinstance(value, str) else {"pattern": value.pattern}

    claims = {name: said(value) for name, value in identity.claims.items()}
    found = {"issuer": said(identity.issuer), "subject": said(identity.subject), "claims": claims}
    return {name: value for name, value in found.items() if value}

"""docs/trust.md shows policies that load, and has each key of the policy file."""

from __future__ import annotations

import re
from pathlib import Path

from containerd_lite.trust import Policy
from containerd_lite.trust.policy_file import RULE_KEYS
from tests.harness.authority import World
from tests.harness.keypairs import KeyPair

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "trust.md").read_text()


def test_the_policy_on_the_page_loads(tmp_path: Path) -> None:
    text = next(t for t in re.findall(r"```toml\n(.*?)```", PAGE, re.S) if "[[rule]]" in t)
    for name in re.findall(r'"(\w+\.pub)"', text):
        (tmp_path / name).write_text(KeyPair.generate().public.to_pem())
    (tmp_path / "trusted_root.json").write_bytes(World().trusted_root_json())
    path = tmp_path / "policy.toml"
    path.write_text(text)
    rules = Policy.load(path).rules
    assert rules["ghcr.io/team/**"][0].threshold == 2
    assert rules["docker.io/library/*"][0].accept
    (identity,) = rules["quay.io/partner/app"][0].identities
    assert not isinstance(identity.subject, str)
    assert identity.subject.fullmatch(
        "https://github.com/partner/app/.github/workflows/release.yml@refs/tags/v1"
    )


def test_the_page_has_each_key() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE.partition("| Key | Meaning")[2], re.M)
    found = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert found == set(RULE_KEYS)

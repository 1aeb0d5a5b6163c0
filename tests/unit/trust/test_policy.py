"""Policies: which rule applies to which image, and which rules and files are refused."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from containerd_lite.errors import InvalidArgument, NotFound, SignatureError
from containerd_lite.oci.reference import Reference
from containerd_lite.trust import (
    Identity,
    Policy,
    PublicKey,
    Remap,
    RequiredAttestation,
    Rule,
    StatedName,
)

from ...harness.keypairs import KeyPair

KEY = KeyPair.generate()
OTHER = KeyPair.generate()
ACCEPT = Rule(accept=True)


def signed(**options: object) -> Rule:
    return Rule(keys=[KEY.public], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("ghcr.io/team/app", "ghcr.io/team/app"),
        ("ghcr.io/team/app@sha256:" + "0" * 64, "ghcr.io/team/app"),
        ("ghcr.io/team/other:1", "ghcr.io/team/*"),
        ("ghcr.io/team/deep/other", "ghcr.io/**"),
        ("busybox", "docker.io/library/busybox"),
        ("alpine", "docker.io/library/*"),
        ("a.example.com/x", "*.example.com/**"),
        ("a.b.example.com/x", "*.example.com/**"),
        ("quay.io/x/y", "**"),
    ],
)
def test_the_longest_pattern_that_matches_applies(name: str, pattern: str) -> None:
    patterns = [
        "**",
        "ghcr.io/**",
        "ghcr.io/team/*",
        "ghcr.io/team/app",
        "docker.io/library/*",
        "busybox",
        "*.example.com/**",
    ]
    policy = Policy({each: signed() for each in patterns})
    assert policy.rules_for(Reference.parse(name)) == (pattern, (signed(),))


@pytest.mark.parametrize(
    "name", ["ghcr.io/team", "ghcr.io/team/app/x", "ghcr.io/team-evil/app", "evil/ghcr.io/team/app"]
)
def test_an_image_without_a_rule_is_refused(name: str) -> None:
    policy = Policy({"ghcr.io/team/*": ACCEPT})
    with pytest.raises(SignatureError, match="no rule of the policy matches"):
        policy.rules_for(Reference.parse(name))


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "ghcr.io/team/app:1",
        "ghcr.io/a@sha256:" + "0" * 64,
        "team/*",
        "*",
        "ghcr.io/***",
        "A/b*",
    ],
)
def test_patterns_that_cannot_work_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgument):
        Policy({pattern: ACCEPT})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold": 0, "keys": [KEY.public]},
        {"threshold": 2, "keys": [KEY.public]},
        {"keys": "cosign.pub"},
        {"keys": [KEY.public], "accept": True},
        {"accept": True, "reject": True},
        {"reject": True, "attestations": [RequiredAttestation("x")]},
        {"keys": [KEY.public], "log": True},
        {"keys": [KEY.public], "form": "referrer"},
        {"keys": [KEY.public], "timestamp": True},
        {"keys": [KEY.public], "max_age": 3600},
        {"identities": [Identity("a", "b")]},
        {"keys": [KEY.public], "name": "Exact"},
    ],
)
def test_rules_that_contradict_themselves_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        Rule(**options)  # type: ignore[arg-type]


def test_a_rule_reads_its_keys_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cosign.pub"
    path.write_text(KEY.public.to_pem())
    assert Rule(keys=[path]).keys == (KEY.public,)
    with pytest.raises(NotFound, match=r"gone\.pub"):
        Rule(keys=[tmp_path / "gone.pub"])
    path.write_bytes(KEY.private_pem)
    with pytest.raises(InvalidArgument, match="private key"):
        Rule(keys=[path])


def test_an_identity_needs_both_parts() -> None:
    with pytest.raises(InvalidArgument):
        Identity("", "someone@example.com")


def test_a_stated_name_is_a_reference() -> None:
    assert StatedName("a.example/b").name == "a.example/b"
    with pytest.raises(InvalidArgument):
        StatedName("A")


def test_policies_pickle_and_compare() -> None:
    names = (Remap("a.example/b", "c.example/d", exact=True), StatedName("a.example/b:1"))
    policy = Policy({"**": [*(signed(name=name, form="tag") for name in names), ACCEPT]})
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert policy != Policy({"**": ACCEPT})
    assert repr(policy) == "<Policy for **>"


# ---- files -----------------------------------------------------------------------------------


def load(folder: Path, text: str) -> Policy:
    path = folder / "policy.toml"
    path.write_text(text)
    return Policy.load(path)


def test_a_file_says_what_objects_say(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_text(KEY.public.to_pem())
    (tmp_path / "b.pub").write_text(OTHER.public.to_pem())
    policy = load(
        tmp_path,
        """
        version = 1
        [[rule]]
        pattern = "ghcr.io/team/**"
        keys = ["a.pub", "b.pub"]
        threshold = 2
        name = "repository"
        signed = "both"
        annotations = {stage = "release"}
        [[rule.attestations]]
        predicate_type = "https://slsa.dev/provenance/v1"
        [[rule]]
        pattern = "**"
        accept = true
        """,
    )
    rule = Rule(
        keys=[KEY.public, OTHER.public],
        threshold=2,
        name="repository",
        signed="both",
        annotations={"stage": "release"},
        attestations=(RequiredAttestation("https://slsa.dev/provenance/v1"),),
    )
    assert policy == Policy({"ghcr.io/team/**": rule, "**": ACCEPT})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = 2", "version 1"),
        ("version = 1", "no rule"),
        ("version = 1\n[[rule]]\naccept = true", "pattern"),
        ('version = 1\n[[rule]]\npattern = "**"\nacept = true', "acept"),
        ('version = 1\n[[rule]]\npattern = "**"\naccept = 1', "accept"),
        ('version = 1\n[[rule]]\npattern = "**"\nkeys = "a.pub"', "keys"),
        ('version = 1\n[[rule]]\npattern = "**"\nkeys = ["gone.pub"]', "gone.pub"),
        ('version = 1\n[[rule]]\npattern = "**"\naccept = true\n' * 2, "version"),
        ("version = 1\nrule = 3", "rule"),
        ("version = ", "TOML"),
        ('version = 1\n[[rule]]\npattern = "**"\ntrust_root = "gone.json"', "gone.json"),
        (
            'version = 1\n[[rule]]\npattern = "**"\n[[rule.identities]]\n'
            'issuer = "a"\nsubject = {pattern = "("}',
            "regular expression",
        ),
    ],
)
def test_files_with_mistakes_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises((InvalidArgument, NotFound), match=re.escape(message)):
        load(tmp_path, text)


def test_all_rules_of_a_pattern_hold(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_text(KEY.public.to_pem())
    rules = '[[rule]]\npattern = "**"\naccept = true\n[[rule]]\npattern = "**"\nkeys = ["a.pub"]'
    policy = load(tmp_path, f"version = 1\n{rules}")
    assert policy == Policy({"**": [ACCEPT, signed()]})


@pytest.mark.parametrize("name", ["name", "signed", "form", "trust_root"])
def test_an_empty_text_is_not_an_absent_one(tmp_path: Path, name: str) -> None:
    """A template whose variable is empty must not make a rule that demands less."""
    (tmp_path / "a.pub").write_text(KEY.public.to_pem())
    rule = f'[[rule]]\npattern = "**"\nkeys = ["a.pub"]\n{name} = ""'
    with pytest.raises(InvalidArgument, match=r"policy\.toml: rule\[0\]"):
        load(tmp_path, f"version = 1\n{rule}")


@pytest.mark.parametrize(
    "pattern", ["a{%s}" % ("9" * 20), "(" * 5000, "(?:" * 5000 + ")" * 5000, "[[a]"]
)
def test_a_regular_expression_beyond_limits(tmp_path: Path, pattern: str) -> None:
    identity = f'[[rule.identities]]\nissuer = "a"\nsubject = {{pattern = "{pattern}"}}'
    with pytest.raises(InvalidArgument, match="subject is not a regular expression"):
        load(tmp_path, f'version = 1\n[[rule]]\npattern = "**"\n{identity}')


@pytest.mark.parametrize("kind", ["missing", "folder", "large", "device"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    path = {"device": Path("/dev/zero"), "folder": tmp_path}.get(kind, tmp_path / "policy.toml")
    if kind == "large":
        path.write_bytes(b"#" * (2 << 20))
    with pytest.raises((InvalidArgument, NotFound), match=re.escape(str(path))):
        Policy.load(path)


def test_a_path_of_a_wrong_type_is_named() -> None:
    for load in (Policy.load, PublicKey.from_file):
        with pytest.raises(InvalidArgument, match="path cannot be 5"):
            load(5)  # type: ignore[arg-type]


# ---- keys ------------------------------------------------------------------------------------


def test_keys_are_read_from_pem_and_jwk() -> None:
    for pair in map(KeyPair.generate, ("ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa", "ed25519")):
        key = pair.public
        assert PublicKey.from_pem(key.to_pem()) == key == PublicKey.from_jwk(pair.jwk())
        assert key.verifies(pair.sign(b"message"), b"message")
        assert not key.verifies(pair.sign(b"message"), b"other")
        assert not key.verifies(b"", b"message")
        assert pickle.loads(pickle.dumps(key)) == key

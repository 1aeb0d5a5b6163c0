"""The commands for signatures and keys, with cosign 2, cosign 3 and skopeo as judges."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Unavailable, debian, images, signing, skopeo
from tests.harness.cosign import PROGRAMS, Cosign
from tests.harness.registry import Registry
from tests.harness.signing import Key
from tests.harness.sigstore import Sigstore

pytest.importorskip("nacl", reason="cosign's files need PyNaCl")

pytestmark = [pytest.mark.registry, pytest.mark.turns(3)]

SECRET = "a secret that nothing may show"
SLSA = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"

Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]


@pytest.fixture(scope="module", autouse=True)
def _judges() -> None:
    for name in (*PROGRAMS.values(), "skopeo-sid"):
        try:
            debian.program(name)
        except Unavailable as reason:
            pytest.skip(f"{name}: {reason}")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command in a folder of its own, with the password in the environment."""
    monkeypatch.setenv("COSIGN_PASSWORD", SECRET)

    def run(*argv: str, code: int = 0) -> Done:
        command = [sys.executable, "-W", "error", "-m", "containerd_lite", *argv]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        assert SECRET not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def key(cli: Cli, tmp_path: Path) -> Key:
    """A key that ``key generate`` made."""
    assert cli("key", "generate").stdout == "cosign.key\ncosign.pub\n"
    return Key(tmp_path / "cosign.key", tmp_path / "cosign.pub", SECRET)


@pytest.fixture
def other(cli: Cli, tmp_path: Path) -> Key:
    """A key that ``key import`` made of a PEM file."""
    signing.make_pem(tmp_path, "p384")
    cli("key", "import", "p384.pem", "--output-prefix", "other")
    return Key(tmp_path / "other.key", tmp_path / "other.pub", SECRET)


def push(registry: Registry, image: images.Image, name: str) -> str:
    repository = "".join(c if c.isalnum() else "-" for c in name).strip("-").lower()
    return images.push(image, registry.host, f"commands/{repository}", "1")


@pytest.fixture
def image(request: pytest.FixtureRequest) -> images.Image:
    return images.scratch({"name": request.node.name.encode()})


@pytest.fixture
def ref(registry: Registry, image: images.Image, request: pytest.FixtureRequest) -> str:
    """An image of the test's own, with its tag."""
    return push(registry, image, request.node.name)


def pinned(ref: str, image: images.Image) -> str:
    return f"{ref.rpartition(':')[0]}@{image.digest}"


def rows(done: Done) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def kinds(cli: Cli, ref: str) -> list[tuple[object, ...]]:
    """What ``tree`` lists: the platform, and the kind and the types of what refers to it."""
    return [
        (each["platform"], each["kind"], each["types"], each["predicate_types"])
        for each in rows(cli("tree", ref, "--format", "json"))
    ]


# ---- what we make, they take ------------------------------------------------------------------


def test_our_keys_sign_in_their_hands(cli: Cli, ref: str, image: images.Image, key: Key) -> None:
    place = pinned(ref, image)
    Cosign("2").sign(place, key)
    Cosign("3").sign(place, key)
    skopeo.sign(ref, key)
    for judge in (Cosign("2"), Cosign("3")):
        assert judge.verify(place, key).check()
    table = cli("verify", ref, "--key", "cosign.pub").stdout.splitlines()
    assert len(table) == 2
    assert table[1].startswith("signature  sha256:")


@pytest.mark.parametrize("form", ["tag", "referrer", "both"])
def test_they_verify_what_sign_signs(
    cli: Cli, ref: str, image: images.Image, key: Key, other: Key, form: str
) -> None:
    argv = ["--form", form, "-a", "stage=test", "--annotation", "build=7", "--format", "json"]
    attached = rows(cli("sign", ref, "--key", "cosign.key", *argv))
    assert [each["digest"] for each in attached] == [image.digest] * (2 if form == "both" else 1)
    assert all(str(each["reference"]).startswith(ref.rpartition(":")[0]) for each in attached)
    place = pinned(ref, image)
    for generation, judged in (("2", form != "referrer"), ("3", True)):
        judge = Cosign(generation)
        for asked, wanted in (
            ({}, judged),
            ({"stage": "test", "build": "7"}, judged),
            ({"stage": "live"}, False),
        ):
            assert judge.verify(place, key, annotations=asked).ok == wanted
        assert not judge.verify(place, other).ok
    assert skopeo.verify(ref, skopeo.signed_by(key)).ok == (form != "referrer")
    cli("verify", ref, "--key", "other.pub", code=7)
    verdict = json.loads(
        cli("verify", ref, "--key", "other.pub", "--key", "cosign.pub", "--format", "json").stdout
    )
    (signature,) = verdict["signatures"]
    assert signature["annotations"] == {"stage": "test", "build": "7"}


@pytest.mark.parametrize("form", ["tag", "referrer", "both"])
def test_they_verify_what_attest_attests(
    cli: Cli, ref: str, image: images.Image, key: Key, tmp_path: Path, form: str
) -> None:
    predicate = {"buildDefinition": {"buildType": "test"}, "runDetails": {}}
    (tmp_path / "predicate.json").write_text(json.dumps(predicate))
    argv = ["--predicate", "predicate.json", "--type", "slsaprovenance1", "--form", form]
    cli("attest", ref, *argv, "--key", "cosign.key")
    place = pinned(ref, image)
    for generation, wanted in (("2", form != "referrer"), ("3", True)):
        judge = Cosign(generation)
        assert judge.verify_attestation(place, key, "slsaprovenance1").ok == wanted
        assert not judge.verify_attestation(place, key, "spdxjson").ok
    cli("verify", ref, "--key", "cosign.pub", code=7)  # an attestation is no signature
    cli("sign", ref, "--key", "cosign.key")
    (tmp_path / "policy.toml").write_text(
        'version = 1\n[[rule]]\npattern = "**"\nkeys = ["cosign.pub"]\n'
        f'[[rule.attestations]]\npredicate_type = "{SLSA}"\n'
    )
    done = cli("verify", ref, "--policy", "policy.toml", "--format", "json")
    (attestation,) = json.loads(done.stdout)["attestations"]
    assert attestation["predicate"] == predicate
    assert attestation["predicate_type"] == SLSA
    assert SLSA in cli("verify", ref, "--policy", "policy.toml").stdout


# ---- what they make, we take ------------------------------------------------------------------


@pytest.mark.parametrize("maker", ["cosign 2", "cosign 3", "skopeo"])
def test_their_keys_and_signatures(
    cli: Cli, ref: str, image: images.Image, maker: str, key: Key, tmp_path: Path
) -> None:
    if maker == "skopeo":
        made = skopeo.generate_key(tmp_path, "made", SECRET)
        skopeo.sign(ref, made)
    else:
        judge = Cosign(maker[-1])
        made = judge.generate_key(tmp_path, "made", SECRET)
        judge.sign(pinned(ref, image), made)
    cli("verify", ref, "--key", "made.pub")
    cli("verify", ref, "--key", "cosign.pub", code=7)
    assert cli("key", "public", made.private.name).stdout == made.public.read_text()
    assert "HEAD http" in cli("sign", ref, "--key", made.private.name, "--debug").stderr
    assert Cosign("3").verify(pinned(ref, image), made).check()
    cli("key", "import", made.private.name, "--old-password-file", "none", code=3)
    (tmp_path / "old").write_text(SECRET)
    cli("key", "import", made.private.name, "--old-password-file", "old")
    assert (tmp_path / "import-cosign.pub").read_bytes() == made.public.read_bytes()


def test_a_person_is_verified(cli: Cli, ref: str, image: images.Image, sigstore: Sigstore) -> None:
    signer = sigstore.issuer.email()
    Cosign("3", sigstore.services(rekor=2, timestamps=True)).sign(pinned(ref, image), signer)
    options = ["--issuer", signer.issuer, "--trust-root", str(sigstore.trusted_root)]
    done = cli("verify", ref, "--identity", signer.subject, *options, "--format", "json")
    (signature,) = json.loads(done.stdout)["signatures"]
    assert signature["identity"]["subject"] == signer.subject
    assert signature["identity"]["issuer"] == signer.issuer
    assert "T" in signature["times"][0]
    pattern = signer.subject.replace(".", "[.]")
    table = cli("verify", ref, "--identity-regexp", pattern, *options).stdout
    assert f"{signer.subject}  {signer.issuer}" in table
    for wrong in (["--identity", "x@y.example"], ["--identity-regexp", pattern[:-1]]):
        assert "its subject is" in cli("verify", ref, *wrong, *options, code=7).stderr


# ---- platforms, tree, pull --------------------------------------------------------------------


@pytest.mark.parametrize("manifests", ["index", "platforms", "both"])
def test_which_manifests_are_signed(
    cli: Cli, registry: Registry, key: Key, manifests: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.name.encode()
    platforms = {
        each: images.scratch({"at": each.encode() + name})
        for each in ("linux/amd64", "linux/arm64")
    }
    ref = push(registry, images.index_of(platforms), request.node.name)
    done = cli("sign", ref, "--key", "cosign.key", "--form", "tag", "--manifests", manifests)
    assert len(done.stdout.splitlines()) == {"index": 2, "platforms": 3, "both": 4}[manifests]
    for wanted in ("index", "platforms", "both"):
        code = 0 if manifests in (wanted, "both") else 7
        cli("verify", ref, "--key", "cosign.pub", "--manifests", wanted, code=code)
    arm = ["--manifests", "platforms", "--platform", "linux/arm64"]
    cli("verify", ref, "--key", "cosign.pub", *arm, code=7 if manifests == "index" else 0)
    assert skopeo.verify(ref, skopeo.signed_by(key), every=True).ok == (manifests != "index")
    names = {"index": [""], "platforms": [*platforms], "both": ["", *platforms]}[manifests]
    assert kinds(cli, ref) == [(name, "sig", [SIMPLE], []) for name in names]


def test_tree_has_what_all_programs_attached(
    cli: Cli, ref: str, image: images.Image, key: Key
) -> None:
    place = pinned(ref, image)
    assert "nothing refers to" in cli("tree", ref).stderr
    Cosign("2").sign(place, key)
    Cosign("2").attest(place, key, {"name": "sbom"}, "spdxjson")
    assert kinds(cli, ref) == [("", "sig", [SIMPLE], []), ("", "att", [DSSE], [SPDX])]
    Cosign("3").sign(place, key)
    Cosign("3").attest(place, key, {"name": "sbom"}, "spdxjson")
    cli("sign", ref, "--key", "cosign.key", "--form", "referrer")
    found = kinds(cli, ref)
    assert {each[2][0] for each in found if each[1] == "referrer"} == {BUNDLE}  # type: ignore[index]
    predicates = sorted(str(each[3]) for each in found if each[1] == "referrer")
    signature = "['https://sigstore.dev/cosign/sign/v1']"
    assert predicates == [signature, signature, f"['{SPDX}']"]
    Cosign("2").sign(place, key, referrer=True)
    assert [each for each in kinds(cli, ref) if "artifact.sig" in str(each[2])]


def test_pull_obeys_a_policy(cli: Cli, ref: str, key: Key, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(
        f'version = 1\n[[rule]]\npattern = "{ref.rpartition(":")[0]}"\nkeys = ["cosign.pub"]\n'
    )
    pull = ["pull", "-q", ref, "--to", "layout", "--policy", "policy.toml"]
    assert "has no signature" in cli(*pull, code=7).stderr
    assert not list((tmp_path / "layout").glob("blobs/*/*"))
    cli("sign", ref, "--key", "cosign.key")
    assert cli(*pull).stdout.startswith(f"{ref}@sha256:")
    (tmp_path / "policy.toml").write_text(
        'version = 1\n[[rule]]\npattern = "docker.io/**"\naccept = true\n'
    )
    assert "no rule of the policy matches" in cli(*pull, code=7).stderr


@pytest.mark.parametrize(("rekor", "version"), [("rekor_url", "2"), ("rekor_v1_url", "1")])
def test_services_prove_signatures(
    cli: Cli, ref: str, image: images.Image, sigstore: Sigstore, rekor: str, version: str
) -> None:
    signer = sigstore.issuer.email()
    services = ["--rekor", getattr(sigstore, rekor), "--rekor-version", version]
    services += ["--timestamps", sigstore.timestamps_url]
    identity = ["--fulcio", sigstore.fulcio_url, "--identity-token", str(signer.token)]
    cli("sign", ref, *identity, *services, "--form", "referrer")
    judge = Cosign("3", sigstore.services(rekor=int(version)))
    assert judge.verify(pinned(ref, image), signer).check()
    assert "--key" in cli("sign", ref, *services, code=2).stderr
    assert "--key" in cli("sign", ref, "--fulcio", sigstore.fulcio_url, code=2).stderr

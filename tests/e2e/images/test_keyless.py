"""Signatures without keys, made by cosign and skopeo with a real sigstore, are verified here.

Without the servers, which Go builds, these tests skip.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from containerd_lite import Layout
from containerd_lite.errors import (
    InvalidArgument,
    RegistryError,
    RegistryUnavailable,
    Untrusted,
)
from containerd_lite.images import RegistryResolver
from containerd_lite.images.signatures import SigningServices
from containerd_lite.images.signatures.repositories import ResolverRepository
from containerd_lite.images.signatures.sign import SignatureForm
from containerd_lite.oci.manifest import Manifest, parse
from containerd_lite.oci.reference import Reference
from containerd_lite.trust import (
    ContainersPolicy,
    Identity,
    Policy,
    RequiredAttestation,
    Rule,
    Signer,
    TrustRoot,
    Verdict,
)
from tests.harness import Unavailable, debian, images, signing, sigstore_python, skopeo
from tests.harness.cosign import PROGRAMS, Cosign
from tests.harness.keypairs import KeyPair
from tests.harness.registry import Registry
from tests.harness.sigstore import Sigstore

pytestmark = [pytest.mark.registry, pytest.mark.turns(6)]

NOWHERE = Layout("/dev/null/x")


@pytest.fixture(scope="module", autouse=True)
def _judges() -> None:
    for name in PROGRAMS.values():
        try:
            debian.program(name)
        except Unavailable as reason:
            pytest.skip(f"{name}: {reason}")


@pytest.fixture
def ref(registry: Registry, request: pytest.FixtureRequest) -> str:
    """An image of the test's own, with its digest."""
    image = images.scratch({"name": request.node.name.encode()})
    images.push(image, registry.host, "keyless/app", "1")
    return f"{registry.host}/keyless/app@{image.digest}"


def verify(sigstore: Sigstore, ref: str, signer: signing.Identity, **options: object) -> Verdict:
    """Verify that somebody has signed an image."""
    return NOWHERE.verify_signatures(ref, policy(sigstore, signer, **options))


def policy(sigstore: Sigstore, signer: signing.Identity, **options: object) -> Policy:
    claims = options.pop("claims", {})
    identity = Identity(signer.issuer, signer.subject, claims)  # type: ignore[arg-type]
    root = TrustRoot.load(sigstore.trusted_root)
    rule = Rule(identities=[identity], trust_root=root, **options)  # type: ignore[arg-type]
    return Policy({"**": rule})


SERVICES: dict[str, tuple[str, int | None, bool]] = {
    "cosign 3, Rekor 2, timestamp": ("3", 2, True),
    "cosign 3, Rekor 1": ("3", 1, False),
    "cosign 3, Rekor 1, timestamp": ("3", 1, True),
    "cosign 3, timestamp": ("3", None, True),
    "cosign 2, Rekor 1": ("2", 1, False),
    "cosign 2, Rekor 1, timestamp": ("2", 1, True),
    "cosign 2, timestamp": ("2", None, True),
}


@pytest.mark.parametrize("case", SERVICES)
def test_a_person(ref: str, sigstore: Sigstore, case: str) -> None:
    generation, rekor, timestamps = SERVICES[case]
    signer = sigstore.issuer.email()
    Cosign(generation, sigstore.services(rekor=rekor, timestamps=timestamps)).sign(ref, signer)
    if rekor is None:
        with pytest.raises(Untrusted, match="transparency log"):
            verify(sigstore, ref, signer)
    log = None if rekor else False  # by default, a signer without a key needs a log entry
    (signature,) = verify(sigstore, ref, signer, log=log).signatures
    identity = signature.identity
    assert identity is not None
    assert (identity.subject, identity.issuer) == (signer.subject, signer.issuer)
    assert len(signature.log_indexes) == (rekor is not None)
    assert signature.times
    for wrong, message in (
        (replace(signer, subject=signer.subject.upper()), "subject"),
        (replace(signer, subject=signer.subject[:-1]), "subject"),
        (replace(signer, issuer=signer.issuer + "/"), "issuer"),
    ):
        with pytest.raises(Untrusted, match=message):
            verify(sigstore, ref, wrong)
    assert verify(sigstore, ref, signer, log=log, max_age=3600).signatures
    demands: dict[str, bool] = {"log": rekor is not None, "timestamp": timestamps}
    for name, is_there in demands.items():
        if is_there:
            assert verify(sigstore, ref, signer, **{"log": log, name: True}).signatures
        else:
            with pytest.raises(Untrusted, match=name):
                verify(sigstore, ref, signer, **{"log": log, name: True})


@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_a_workflow(ref: str, sigstore: Sigstore, provider: str) -> None:
    signer = getattr(sigstore.issuer, provider)()
    Cosign("3", sigstore.services()).sign(ref, signer)
    (signature,) = verify(sigstore, ref, signer).signatures
    assert signature.identity is not None
    claims = dict(signature.identity.claims)
    assert claims["source_repository_ref"] == "refs/heads/main"
    assert verify(sigstore, ref, signer, claims=claims).signatures
    part = {"source_repository": re.compile(r"https://git(hub|lab)\.com/\w+/app")}
    assert verify(sigstore, ref, signer, claims=part).signatures
    with pytest.raises(Untrusted, match="source_repository_ref"):
        verify(sigstore, ref, signer, claims={"source_repository_ref": "refs/heads/mai"})
    with pytest.raises(Untrusted, match="runner"):
        verify(sigstore, ref, signer, claims={"runner": "mine"})


@pytest.mark.parametrize("generation", ["2", "3"])
def test_attestations(ref: str, sigstore: Sigstore, generation: str) -> None:
    signer = sigstore.issuer.email()
    cosign = Cosign(generation, sigstore.services(rekor=1))
    cosign.sign(ref, signer)
    cosign.attest(ref, signer, {"name": "sbom"}, "spdxjson")
    wanted = RequiredAttestation("https://spdx.dev/Document")
    verdict = verify(sigstore, ref, signer, attestations=[wanted])
    (attestation,) = verdict.attestations
    assert attestation.predicate == {"name": "sbom"}
    assert attestation.signature.identity is not None


@pytest.mark.parametrize(("generation", "rekor"), [("3", 2), ("3", 1), ("2", 1)])
def test_a_key_in_a_log(
    ref: str, sigstore: Sigstore, generation: str, rekor: int, tmp_path: Path
) -> None:
    cosign = Cosign(generation, sigstore.services(rekor=rekor))
    key = cosign.generate_key(tmp_path)
    cosign.sign(ref, key)
    root = TrustRoot.load(sigstore.trusted_root)
    rule = Rule(keys=[key.public], trust_root=root, log=True)
    (signature,) = NOWHERE.verify_signatures(ref, Policy({"**": rule})).signatures
    assert len(signature.log_indexes) == 1
    assert signature.identity is None


def test_another_sigstore_is_not_trusted(ref: str, sigstore: Sigstore) -> None:
    signer = sigstore.issuer.email()
    Cosign("3", sigstore.services()).sign(ref, signer)
    try:
        with Sigstore() as other, pytest.raises(Untrusted) as caught:
            verify(other, ref, signer)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert len(caught.value.rejected) == 1


# ---- what we sign, cosign verifies -------------------------------------------------------------


def services_of(sigstore: Sigstore, rekor: int | None, timestamps: bool) -> SigningServices:
    return SigningServices(
        rekor="" if rekor is None else sigstore.rekor_v1_url if rekor == 1 else sigstore.rekor_url,
        rekor_version=rekor or 2,
        timestamps=sigstore.timestamps_url if timestamps else "",
    )


OWN: dict[str, tuple[str, SignatureForm, int | None, bool]] = {
    "bundle, Rekor 2, timestamp": ("3", "referrer", 2, True),
    "bundle, Rekor 1": ("3", "referrer", 1, False),
    "bundle, timestamp": ("3", "referrer", None, True),
    "tag, Rekor 1, timestamp": ("2", "tag", 1, True),
    "tag, Rekor 1": ("2", "tag", 1, False),
    "tag, timestamp": ("2", "tag", None, True),
}


@pytest.mark.parametrize("case", OWN)
@pytest.mark.parametrize("provider", ["email", "github"])
def test_cosign_verifies_what_is_signed_without_a_key(
    ref: str, sigstore: Sigstore, case: str, provider: str
) -> None:
    generation, form, rekor, timestamps = OWN[case]
    identity = getattr(sigstore.issuer, provider)()
    services = services_of(sigstore, rekor, timestamps)
    signer = services.certify(sigstore.fulcio_url, identity.token.read_text())
    NOWHERE.sign(ref, signer, form=form, services=services, annotations={"a": "b"})
    NOWHERE.attest(ref, {"name": "sbom"}, "spdxjson", signer, form=form, services=services)
    judge = Cosign(generation, sigstore.services(rekor=rekor, timestamps=timestamps))
    assert judge.verify(ref, identity).check()
    assert judge.verify_attestation(ref, identity, "spdxjson").check()
    assert not judge.verify(ref, replace(identity, subject="other@example.test")).ok
    wanted = RequiredAttestation("https://spdx.dev/Document")
    demands = {"attestations": [wanted], "annotations": {"a": "b"}, "log": rekor is not None}
    verdict = verify(sigstore, ref, identity, **demands)
    assert len(verdict.signatures[0].log_indexes) == (rekor is not None)


@pytest.mark.parametrize("by_skopeo", [True, False])
def test_a_policy_of_skopeo(
    registry: Registry, ref: str, sigstore: Sigstore, by_skopeo: bool, tmp_path: Path
) -> None:
    """What skopeo signs, we verify by its policy, and the reverse."""
    pytest.importorskip("yaml")
    signer, name = sigstore.issuer.email(), f"{registry.host}/keyless/app:1"
    if by_skopeo:
        fulcio, rekor = sigstore.fulcio_url, sigstore.rekor_v1_url
        skopeo.sign_keyless(name, signer, fulcio=fulcio, rekor=rekor)
    else:
        services = services_of(sigstore, 1, timestamps=True)
        own = services.certify(sigstore.fulcio_url, signer.token.read_text())
        NOWHERE.sign(name, own, form="tag", services=services)
    (tmp_path / "a.yaml").write_text("default-docker: {use-sigstore-attachments: true}")
    keys = {"authority": sigstore.keys.fulcio.path, "log": sigstore.keys.rekor_v1.public}
    for who, accepted in ((signer, True), (replace(signer, subject="other@example.test"), False)):
        wanted = skopeo.signed_as(who, **keys)
        assert skopeo.verify(name, wanted).ok == accepted
        path = tmp_path / "policy.json"
        path.write_text(json.dumps({"default": [wanted]}))
        rules = ContainersPolicy.load(path, tmp_path)
        if accepted:
            (signature,) = NOWHERE.verify_signatures(name, rules).signatures
            assert signature.identity is not None
            assert signature.identity.emails == (signer.subject,)
        else:
            with pytest.raises(Untrusted, match="not for"):
                NOWHERE.verify_signatures(name, rules)


@pytest.mark.parametrize("form", ["tag", "referrer"])
def test_a_key_with_services(
    ref: str, sigstore: Sigstore, form: SignatureForm, tmp_path: Path
) -> None:
    key = Cosign("3").generate_key(tmp_path)
    services = services_of(sigstore, 1, timestamps=True)
    NOWHERE.sign(ref, Signer.from_file(key.private, "secret"), form=form, services=services)
    judge = Cosign("2" if form == "tag" else "3", sigstore.services(rekor=1))
    assert judge.verify(ref, key).check()
    root = TrustRoot.load(sigstore.trusted_root)
    rule = Rule(keys=[key.public], trust_root=root, log=True, timestamp=True)
    assert NOWHERE.verify_signatures(ref, Policy({"**": rule})).signatures


def test_a_certificate_needs_a_proven_time(ref: str, sigstore: Sigstore) -> None:
    token = sigstore.issuer.email().token.read_text()
    services = services_of(sigstore, 2, timestamps=False)
    signer = services.certify(sigstore.fulcio_url, token)
    for form in ("tag", "referrer"):
        with pytest.raises(InvalidArgument, match="proves the time"):
            NOWHERE.sign(ref, signer, form=form, services=services)
    with pytest.raises(InvalidArgument, match="proves the time"):
        NOWHERE.sign(ref, signer)


def test_services_that_refuse_or_are_away(ref: str, sigstore: Sigstore) -> None:
    services = services_of(sigstore, 2, timestamps=True)
    with pytest.raises(RegistryError) as caught:
        services.certify(sigstore.fulcio_url, "hush-canary")
    assert "hush-canary" not in str(caught.value)
    key = Signer.from_pem(KeyPair.generate().private_pem)
    away = SigningServices(timestamps="http://127.0.0.1:1/x", timeout=5)
    with pytest.raises(RegistryUnavailable):
        NOWHERE.sign(ref, key, services=away)
    wrong = SigningServices(timestamps=f"{sigstore.rekor_url}/nothing")
    with pytest.raises(RegistryError):
        NOWHERE.sign(ref, key, services=wrong)
    with pytest.raises(InvalidArgument):
        SigningServices(rekor_version=3)


@pytest.mark.parametrize(("rekor", "timestamps"), [(2, True), (1, False), (1, True)])
def test_sigstore_python_verifies_what_is_signed_without_a_key(
    ref: str, sigstore: Sigstore, rekor: int, timestamps: bool, tmp_path: Path
) -> None:
    identity = sigstore.issuer.email()
    services = services_of(sigstore, rekor, timestamps)
    NOWHERE.sign(
        ref,
        services.certify(sigstore.fulcio_url, identity.token.read_text()),
        form="referrer",
        services=services,
    )
    bundle = tmp_path / "bundle.json"
    bundle.write_bytes(only_bundle(ref))
    try:
        found = sigstore_python.verify(bundle, sigstore.trusted_root, identity)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert ref.partition("@sha256:")[2] in found.check().stdout
    stranger = replace(identity, subject="other@example.test")
    assert not sigstore_python.verify(bundle, sigstore.trusted_root, stranger).ok


def only_bundle(ref: str) -> bytes:
    """Return the only bundle of an image."""
    with RegistryResolver() as resolver:
        name, target = resolver.resolve(ref)
        repository = ResolverRepository(resolver, Reference.parse(name))
        (referrer,) = repository.referrers(target)
        manifest = parse(repository.read(referrer, 1 << 20))
        assert isinstance(manifest, Manifest)
        return repository.read(manifest.layers[0], 1 << 20)

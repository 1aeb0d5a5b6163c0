"""The servers of a sigstore, seen to work with cosign and skopeo, and how their output looks.

The product has no part in it. Without the programs, which Go builds, these tests skip.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness import Unavailable, debian, debris, images, skopeo
from tests.harness.cosign import GENERATIONS, PROGRAMS, Cosign
from tests.harness.images import Json
from tests.harness.registry import Registry
from tests.harness.signing import Failed
from tests.harness.sigstore import Sigstore
from tests.unit.harness.attached import attached, blob, push, referrer

pytestmark = [pytest.mark.registry, pytest.mark.turns(3)]

SBOM: Json = {"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT"}
ROOT = Path(__file__).parents[3]
ABANDON = """
import os
from tests.harness.sigstore import Sigstore
sigstore = Sigstore()
sigstore.open()
sigstore.services(rekor=1)
print(sigstore.folder, flush=True)
os._exit(0)
"""
SIGSTORE = "dev.sigstore.cosign"


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    """What every test needs."""
    for name in (*PROGRAMS.values(), skopeo.PROGRAM):
        try:
            debian.program(name)
        except Unavailable as reason:
            pytest.skip(f"{name}: {reason}")


def bundle(registry: Registry, ref: str) -> Json:
    """Return the only bundle of an image."""
    document: Json = json.loads(blob(registry, referrer(registry, ref)["layers"][0]))
    return document


def encoded(envelope: Json) -> bytes:
    """Return the bytes that an envelope's signature is over (DSSE, PAE)."""
    kind, payload = envelope["payloadType"].encode(), base64.b64decode(envelope["payload"])
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def test_a_person_signs_with_rekor_v2(ref: str, either: Registry, sigstore: Sigstore) -> None:
    cosign, signer = Cosign("3", sigstore.services()), sigstore.issuer.email()
    cosign.sign(ref, signer)
    assert cosign.verify(ref, signer).ok
    stranger = cosign.verify(ref, replace(signer, subject="other@example.test"))
    assert "no matching CertificateIdentity found" in stranger.stderr
    assert not cosign.verify(ref, replace(signer, issuer=sigstore.issuer.url("github"))).ok
    document = bundle(either, ref)
    material = document["verificationMaterial"]
    assert set(material) == {"certificate", "tlogEntries", "timestampVerificationData"}
    (timestamp,) = material["timestampVerificationData"]["rfc3161Timestamps"]
    assert hashlib.sha256(
        base64.b64decode(document["dsseEnvelope"]["signatures"][0]["sig"])
    ).digest() in base64.b64decode(timestamp["signedTimestamp"])
    (entry,) = material["tlogEntries"]
    assert entry["kindVersion"] == {"kind": "hashedrekord", "version": "0.0.2"}
    assert not {"inclusionPromise", "integratedTime"} & set(entry)
    origin, size, *_ = entry["inclusionProof"]["checkpoint"]["envelope"].split("\n")
    assert (origin, size) == ("rekor.test", entry["inclusionProof"]["treeSize"])
    body = json.loads(base64.b64decode(entry["canonicalizedBody"]))
    data = body["spec"]["hashedRekordV002"]["data"]
    digest = hashlib.sha256(encoded(document["dsseEnvelope"])).digest()
    assert data == {"algorithm": "SHA2_256", "digest": base64.b64encode(digest).decode()}


def test_a_person_signs_with_rekor_v1(ref: str, either: Registry, sigstore: Sigstore) -> None:
    cosign = Cosign("3", sigstore.services(rekor=1, timestamps=False))
    signer = sigstore.issuer.email()
    before = int(time.time())
    cosign.sign(ref, signer)
    assert cosign.verify(ref, signer).ok
    material = bundle(either, ref)["verificationMaterial"]
    assert "rfc3161Timestamps" not in material.get("timestampVerificationData", {})
    (entry,) = material["tlogEntries"]
    assert entry["kindVersion"] == {"kind": "dsse", "version": "0.0.1"}
    assert before <= int(entry["integratedTime"]) <= time.time()
    assert set(entry["inclusionPromise"]) == {"signedEntryTimestamp"}
    checkpoint = entry["inclusionProof"]["checkpoint"]["envelope"]
    assert checkpoint.startswith("rekor-v1.test - ")
    assert "\n— rekor-v1.test " in checkpoint


def test_the_first_entry_of_a_log_leaves_out_what_is_zero(either: Registry) -> None:
    """A second sigstore beside the first has logs of its own."""
    image = push(either, images.scratch({"name": b"first"}))
    try:
        with Sigstore() as own:
            cosign, signer = Cosign("3", own.services()), own.issuer.email()
            cosign.sign(image, signer)
            assert cosign.verify(image, signer).ok
            (entry,) = bundle(either, image)["verificationMaterial"]["tlogEntries"]
            assert "logIndex" not in entry
            assert not {"logIndex", "hashes"} & set(entry["inclusionProof"])
            own.services(rekor=1)
            folder = own.folder
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert not folder.exists()
    assert of_folder(folder) == []


def of_folder(folder: Path) -> list[debris.Process]:
    """Return the processes whose arguments have a path in a folder."""
    return [process for process in debris.processes() if f"{folder}/" in " ".join(process.argv)]


def test_what_a_killed_run_left_is_removed(sigstore: Sigstore) -> None:
    argv = [sys.executable, "-c", ABANDON]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert len(of_folder(folder)) == 6
    debris.remove(debris.make_folder())
    assert of_folder(folder) == []
    assert not folder.exists()


@pytest.mark.parametrize(
    ("provider", "subject", "claims"),
    [
        (
            "github",
            "https://github.com/owner/app/.github/workflows/build.yml@refs/heads/main",
            ("https://github.com/owner/app", "refs/heads/main", "push"),
        ),
        (
            "gitlab",
            "https://gitlab.com/group/app//.gitlab-ci.yml@refs/heads/main",
            ("https://gitlab.com/group/app", "refs/heads/main", "push"),
        ),
    ],
    ids=["github", "gitlab"],
)
def test_a_workflow_signs(
    ref: str,
    either: Registry,
    sigstore: Sigstore,
    provider: str,
    subject: str,
    claims: tuple[str, ...],
) -> None:
    signer = getattr(sigstore.issuer, provider)()
    assert signer.subject == subject
    cosign = Cosign("3", sigstore.services(rekor=None))
    cosign.sign(ref, signer)
    assert cosign.verify(ref, signer).ok
    certificate = bundle(either, ref)["verificationMaterial"]["certificate"]["rawBytes"]
    der = base64.b64decode(certificate)
    assert all(claim.encode() in der for claim in (subject, signer.issuer, *claims))


@pytest.mark.parametrize(
    ("rekor", "timestamps"), [(1, True), (1, False), (None, True)], ids=["both", "log", "time"]
)
def test_a_person_signs_in_a_tag(
    ref: str, either: Registry, sigstore: Sigstore, rekor: int | None, timestamps: bool
) -> None:
    services = sigstore.services(rekor=rekor, timestamps=timestamps)
    signer = sigstore.issuer.email()
    Cosign("2", services).sign(ref, signer)
    for generation in GENERATIONS:
        cosign = Cosign(generation, services)
        assert cosign.verify(ref, signer).ok
        assert not cosign.verify(ref, replace(signer, subject="other@example.test")).ok
    (layer,) = attached(either, ref, ".sig")["layers"]
    found = {name for name in layer["annotations"] if name.startswith("dev.sigstore")}
    expected = {f"{SIGSTORE}/certificate", f"{SIGSTORE}/chain"}
    expected |= {f"{SIGSTORE}/bundle"} if rekor else set()
    expected |= {f"{SIGSTORE}/rfc3161timestamp"} if timestamps else set()
    assert found == expected
    if rekor:
        entry = json.loads(layer["annotations"][f"{SIGSTORE}/bundle"])
        assert set(entry) == {"SignedEntryTimestamp", "Payload"}
        assert set(entry["Payload"]) == {"body", "integratedTime", "logIndex", "logID"}
        body = json.loads(base64.b64decode(entry["Payload"]["body"]))
        assert (body["kind"], body["apiVersion"]) == ("hashedrekord", "0.0.1")


def test_skopeo_signs_without_a_key(ref: str, either: Registry, sigstore: Sigstore) -> None:
    signer, name = sigstore.issuer.email(), f"{either.host}/app:1"
    skopeo.sign_keyless(name, signer, fulcio=sigstore.fulcio_url, rekor=sigstore.rekor_v1_url)
    keys = {"authority": sigstore.keys.fulcio.path, "log": sigstore.keys.rekor_v1.public}
    assert skopeo.verify(name, skopeo.signed_as(signer, **keys)).ok
    other = replace(signer, subject="other@example.test")
    refused = skopeo.verify(name, skopeo.signed_as(other, **keys))
    assert "Required email" in refused.stderr
    for generation in GENERATIONS:
        services = sigstore.services(rekor=1, timestamps=False)
        assert Cosign(generation, services).verify(ref, signer).ok


@pytest.mark.parametrize("rekor", [1, 2])
def test_a_key_signs(
    ref: str, either: Registry, sigstore: Sigstore, rekor: int, tmp_path: Path
) -> None:
    cosign = Cosign("3", sigstore.services(rekor=rekor))
    key, other = cosign.generate_key(tmp_path), cosign.generate_key(tmp_path, "other")
    cosign.sign(ref, key)
    assert cosign.verify(ref, key).ok
    assert not cosign.verify(ref, other).ok
    material = bundle(either, ref)["verificationMaterial"]
    body = "".join(key.public.read_text().splitlines()[1:-1])
    hint = hashlib.sha256(base64.b64decode(body)).digest()
    assert material["publicKey"] == {"hint": base64.b64encode(hint).decode()}
    assert len(material["tlogEntries"]) == 1
    assert Cosign("3").verify(ref, key).ok  # without services, it ignores the log


def test_an_attestation_and_a_bundle_alone(
    ref: str, either: Registry, sigstore: Sigstore, tmp_path: Path
) -> None:
    cosign, signer = Cosign("3", sigstore.services()), sigstore.issuer.github()
    cosign.attest(ref, signer, SBOM, "spdxjson")
    assert cosign.verify_attestation(ref, signer, "spdxjson").ok
    assert not cosign.verify_attestation(ref, signer, "slsaprovenance1").ok
    path, digest = tmp_path / "bundle", ref.partition("@")[2]
    path.write_text(json.dumps(bundle(either, ref)))
    assert cosign.verify_blob(path, digest, signer).ok
    assert not cosign.verify_blob(path, f"sha256:{'0' * 64}", signer).ok
    refused = Cosign("2", sigstore.services()).verify_blob(path, digest, signer)
    assert "nil value in transaction log entry" in refused.stderr  # it does not know Rekor v2
    cosign.sign_blob(b"content", signer, path)
    assert "messageSignature" in json.loads(path.read_bytes())
    assert cosign.verify_blob(path, images.digest_of(b"content"), signer).ok


def test_each_part_of_the_trusted_root_counts(ref: str, sigstore: Sigstore, tmp_path: Path) -> None:
    services, signer = sigstore.services(), sigstore.issuer.email()
    Cosign("3", services).sign(ref, signer)
    root = json.loads(sigstore.trusted_root.read_bytes())
    path = tmp_path / "root.json"
    cosign = Cosign("3", replace(services, trusted_root=path))
    for part in ("tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"):
        path.write_text(json.dumps({**root, part: []}))
        assert not cosign.verify(ref, signer).ok, part
    path.write_text(json.dumps(root))
    assert cosign.verify(ref, signer).ok


@pytest.mark.parametrize(
    "claims",
    [{"exp": 1}, {"aud": "other"}, {"iss": "http://127.0.0.1:1"}],
    ids=lambda claims: next(iter(claims)),
)
def test_fulcio_refuses_a_token(ref: str, sigstore: Sigstore, claims: Json) -> None:
    signer = sigstore.issuer.email(**claims)
    with pytest.raises(Failed, match="Fulcio returned 400"):
        Cosign("3", sigstore.services()).sign(ref, signer)

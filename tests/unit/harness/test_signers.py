"""Programs that sign images, seen to work with each other, and how what they write looks.

The product has no part in it. A machine that cannot have the programs skips, and says why.
"""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness import Unavailable, debian, images, signing, skopeo
from tests.harness.cosign import GENERATIONS, PROGRAMS, Cosign
from tests.harness.images import OCI_CONFIG, OCI_MANIFEST, Json
from tests.harness.registry import Registry
from tests.harness.signing import PEMS, Failed, Key
from tests.harness.tls import openssl
from tests.unit.harness.attached import attached, blob, push, referrer

pytestmark = [pytest.mark.registry, pytest.mark.turns(3)]

SIGNED = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
EMPTY = "application/vnd.oci.empty.v1+json"
STATEMENT = "application/vnd.in-toto+json"
SBOM: Json = {"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT"}
#: The hash that a signature by each kind of key is over: in tags, and in bundles of generation 3.
HASHES = {
    "p256": ("sha256", "sha256"),
    "p384": ("sha256", "sha384"),
    "p521": ("sha256", "sha512"),
    "rsa": ("sha256", "sha256"),
}


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    """What every test needs."""
    for name in (*PROGRAMS.values(), skopeo.PROGRAM):
        try:
            debian.program(name)
        except Unavailable as reason:
            pytest.skip(f"{name}: {reason}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def key(folder: Path) -> Key:
    return Cosign("3").generate_key(folder)


@pytest.fixture(scope="module")
def other(folder: Path) -> Key:
    return Cosign("2").generate_key(folder, "other", "another secret")


def has_known_faults() -> bool:
    """Return whether generation 3 is a version whose faults these tests know: sid goes on."""
    return debian.program(PROGRAMS["3"]).version.startswith("3.1.")


def is_signed(key: Key, signature: str, data: bytes, digest: str, folder: Path) -> bool:
    """Return whether openssl verifies a signature (base64) over the hash of some bytes."""
    for name, content in (("signature", base64.b64decode(signature)), ("data", data)):
        (folder / name).write_bytes(content)
    files = ("-signature", str(folder / "signature"), str(folder / "data"))
    with suppress(Unavailable):
        openssl("dgst", f"-{digest}", "-verify", str(key.public), *files)
        return True
    return False


@pytest.mark.parametrize(("generation", "refers"), [("2", False), ("2", True), ("3", True)])
def test_cosign_verifies_what_it_signed(
    ref: str, generation: str, refers: bool, key: Key, other: Key
) -> None:
    cosign = Cosign(generation)
    unsigned = cosign.verify(ref, key, referrer=refers)
    assert (unsigned.ok, unsigned.code) == (False, 10)
    assert "no signatures found" in unsigned.stderr
    cosign.sign(ref, key, annotations={"stage": "test"}, referrer=refers)
    verified = cosign.verify(ref, key, referrer=refers)
    assert verified.check().stdout.count(ref.partition("@")[2]) in (1, 2)
    assert cosign.verify(ref, key, annotations={"stage": "test"}, referrer=refers).ok
    assert not cosign.verify(ref, key, annotations={"stage": "live"}, referrer=refers).ok
    assert not cosign.verify(ref, other, referrer=refers).ok


def test_who_reads_whose_form(ref: str, key: Key, either: Registry) -> None:
    """Generation 3 reads tags, but no referrers of generation 2, which reads no bundles."""
    old, new = Cosign("2"), Cosign("3")
    old.sign(ref, key, referrer=True)
    assert not new.verify(ref, key).ok
    old.sign(ref, key)
    assert new.verify(ref, key).ok
    bundled = push(either, images.scratch({"name": b"bundled"}))
    new.sign(bundled, key)
    assert not old.verify(bundled, key).ok
    assert not old.verify(bundled, key, referrer=True).ok


def test_a_signature_in_a_tag(ref: str, key: Key, either: Registry, tmp_path: Path) -> None:
    for stage in ("test", "live", "test"):
        Cosign("2").sign(ref, key, annotations={"stage": stage})
    manifest = attached(either, ref, ".sig")
    assert manifest["mediaType"] == OCI_MANIFEST
    assert manifest["config"]["mediaType"] == OCI_CONFIG
    assert "subject" not in manifest
    first, second = manifest["layers"]
    assert {layer["mediaType"] for layer in (first, second)} == {SIGNED}
    assert list(first["annotations"]) == [SIGNATURE]
    payload = blob(either, first)
    repository, _, digest = ref.partition("@")
    assert json.loads(payload) == {
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": {"stage": "test"},
    }
    assert is_signed(key, first["annotations"][SIGNATURE], payload, "sha256", tmp_path)


def test_a_signature_that_refers(ref: str, key: Key, either: Registry) -> None:
    Cosign("2").sign(ref, key, referrer=True)
    manifest = referrer(either, ref)
    kind = "application/vnd.dev.cosign.artifact.sig.v1+json"
    assert manifest["config"]["mediaType"] == kind
    assert manifest["subject"]["digest"] == ref.partition("@")[2]
    assert [layer["mediaType"] for layer in manifest["layers"]] == [SIGNED]
    (entry,) = attached(either, ref, "")["manifests"]
    assert entry["artifactType"] == kind


def test_a_bundle(ref: str, key: Key, either: Registry, tmp_path: Path) -> None:
    Cosign("3").sign(ref, key, annotations={"stage": "test"})
    (entry,) = attached(either, ref, "")["manifests"]
    assert entry["artifactType"] == (EMPTY if has_known_faults() else BUNDLE)
    manifest = referrer(either, ref)
    assert (manifest["artifactType"], manifest["config"]["mediaType"]) == (BUNDLE, EMPTY)
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == BUNDLE
    bundle = json.loads(blob(either, layer))
    assert set(bundle) == {"mediaType", "verificationMaterial", "dsseEnvelope"}
    assert bundle["mediaType"] == BUNDLE
    assert set(bundle["verificationMaterial"]) == {"publicKey"}
    envelope = bundle["dsseEnvelope"]
    assert envelope["payloadType"] == STATEMENT
    digest = ref.partition("@")[2]
    assert json.loads(base64.b64decode(envelope["payload"])) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "digest": {"sha256": digest.removeprefix("sha256:")},
                "annotations": {"stage": "test"},
            }
        ],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    }
    kept = {name: text for name, text in manifest["annotations"].items() if "sigstore" in name}
    assert kept == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
    }
    path = tmp_path / "bundle"
    path.write_text(json.dumps(bundle))
    for generation in GENERATIONS:
        assert Cosign(generation).verify_blob(path, digest, key).ok
        assert not Cosign(generation).verify_blob(path, f"sha256:{'0' * 64}", key).ok


@pytest.mark.parametrize("generation", GENERATIONS)
def test_attestations(ref: str, generation: str, key: Key, other: Key, either: Registry) -> None:
    cosign = Cosign(generation)
    cosign.attest(ref, key, SBOM, "spdxjson")
    assert cosign.verify_attestation(ref, key, "spdxjson").ok
    assert not cosign.verify_attestation(ref, key, "slsaprovenance1").ok
    assert not cosign.verify_attestation(ref, other, "spdxjson").ok
    takes_it_for_a_signature = generation == "3" and has_known_faults()
    assert cosign.verify(ref, key).ok == takes_it_for_a_signature
    if generation == "2":
        (layer,) = attached(either, ref, ".att")["layers"]
        assert layer["mediaType"] == "application/vnd.dsse.envelope.v1+json"
        assert layer["annotations"][SIGNATURE] == ""
        assert layer["annotations"]["predicateType"] == "https://spdx.dev/Document"
        envelope = json.loads(blob(either, layer))
    else:
        (layer,) = referrer(either, ref)["layers"]
        envelope = json.loads(blob(either, layer))["dsseEnvelope"]
    assert envelope["payloadType"] == STATEMENT
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v0.1"
    assert (statement["predicateType"], statement["predicate"]) == (
        "https://spdx.dev/Document",
        SBOM,
    )


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_bundle_of_bytes(generation: str, key: Key, other: Key, tmp_path: Path) -> None:
    cosign, bundle = Cosign(generation), tmp_path / "bundle"
    cosign.sign_blob(b"content", key, bundle)
    assert "messageSignature" in json.loads(bundle.read_bytes())
    for reader in GENERATIONS:
        assert Cosign(reader).verify_blob(bundle, images.digest_of(b"content"), key).ok
        assert not Cosign(reader).verify_blob(bundle, images.digest_of(b"content"), other).ok
        assert not Cosign(reader).verify_blob(bundle, images.digest_of(b"other"), key).ok


@pytest.mark.parametrize("kind", HASHES)
def test_which_hash_is_signed(kind: str, ref: str, either: Registry, tmp_path: Path) -> None:
    """Generation 3.1 signs bundles by P-384 and P-521 over a hash that it does not verify.

    It expects SHA-256, as does generation 2, which uses it in its bundles.
    """
    in_tag, in_bundle = HASHES[kind]
    old, new = Cosign("2"), Cosign("3")
    key = new.import_key(signing.make_pem(tmp_path, kind), tmp_path, "imported")
    new.sign(ref, key)
    verifies = in_bundle == "sha256" or not has_known_faults()
    assert new.verify(ref, key).ok == verifies
    path = tmp_path / "bundle"
    path.write_bytes(blob(either, referrer(either, ref)["layers"][0]))
    envelope = json.loads(path.read_bytes())["dsseEnvelope"]
    assert new.verify_blob(path, ref.partition("@")[2], key).ok == verifies
    assert old.verify_blob(path, ref.partition("@")[2], key).ok == (in_bundle == "sha256")
    payload = base64.b64decode(envelope["payload"])
    encoded = b"DSSEv1 %d %s %d %s" % (len(STATEMENT), STATEMENT.encode(), len(payload), payload)
    assert is_signed(key, envelope["signatures"][0]["sig"], encoded, in_bundle, tmp_path)
    old.sign_blob(b"content", key, path)
    assert new.verify_blob(path, images.digest_of(b"content"), key).ok
    old.sign(ref, key)
    assert old.verify(ref, key).ok
    assert skopeo.verify(ref, skopeo.signed_by(key)).ok
    (layer,) = attached(either, ref, ".sig")["layers"]
    signature = layer["annotations"][SIGNATURE]
    assert is_signed(key, signature, blob(either, layer), in_tag, tmp_path)


def test_ed25519(ref: str, tmp_path: Path) -> None:
    """Generation 3.1 does not sign with it, but all verify it in a tag."""
    old, new = Cosign("2"), Cosign("3")
    key = old.import_key(signing.make_pem(tmp_path, "ed25519"), tmp_path)
    if has_known_faults():
        with pytest.raises(Failed, match="failed to verify signature"):
            new.sign(ref, key)
    old.sign(ref, key)
    assert old.verify(ref, key).ok
    assert new.verify(ref, key).ok
    assert skopeo.verify(ref, skopeo.signed_by(key)).ok


@pytest.mark.parametrize("kind", PEMS)
def test_who_imports_a_key(kind: str, tmp_path: Path) -> None:
    """Debian's build of generation 2 imports Ed25519 alone."""
    pem = signing.make_pem(tmp_path, kind)
    key = Cosign("3").import_key(pem, tmp_path, "new", "its password")
    assert b"ENCRYPTED SIGSTORE PRIVATE KEY" in key.private.read_bytes()
    assert key.public.read_bytes() == pem.with_suffix(".pub").read_bytes()
    if kind == "ed25519":
        Cosign("2").import_key(pem, tmp_path, "old")
    else:
        with pytest.raises(Failed, match="unsupported public key type"):
            Cosign("2").import_key(pem, tmp_path, "old")


def test_a_wrong_password(ref: str, key: Key) -> None:
    with pytest.raises(Failed, match="decryption failed") as caught:
        Cosign("3").sign(ref, Key(key.private, key.public, "wrong"))
    assert caught.value.result.code == 1


def test_skopeo_signs_and_verifies(
    ref: str, either: Registry, key: Key, other: Key, tmp_path: Path
) -> None:
    own = skopeo.generate_key(tmp_path)
    assert b"ENCRYPTED COSIGN PRIVATE KEY" in own.private.read_bytes()
    name = f"{either.host}/app:1"
    unsigned = skopeo.verify(name, skopeo.signed_by(own))
    assert "A signature was required, but no signature exists" in unsigned.stderr
    skopeo.sign(name, own)
    assert skopeo.verify(name, skopeo.signed_by(own)).ok
    assert skopeo.verify(name, skopeo.signed_by(own, identity="matchExact")).ok
    assert not skopeo.verify(name, skopeo.signed_by(other)).ok
    for generation in GENERATIONS:
        assert Cosign(generation).verify(ref, own).ok
        assert not Cosign(generation).verify(ref, other).ok
    (layer,) = attached(either, ref, ".sig")["layers"]
    critical = json.loads(blob(either, layer))["critical"]
    assert critical["identity"] == {"docker-reference": name}
    Cosign("2").sign(ref, key)
    assert len(attached(either, ref, ".sig")["layers"]) == 2
    assert skopeo.verify(name, skopeo.signed_by(own), skopeo.signed_by(key)).ok
    exact = skopeo.verify(name, skopeo.signed_by(key, identity="matchExact"))
    assert "is not accepted" in exact.stderr  # cosign writes the repository without a tag


def test_an_index(either: Registry, key: Key, tmp_path: Path) -> None:
    """Cosign verifies only what it is asked about. Skopeo wants each manifest signed."""
    platforms = {
        name: images.scratch({"platform": name.encode()}) for name in ("linux/amd64", "linux/s390x")
    }
    index = images.index_of(platforms)
    whole = push(either, index)
    parts = [f"{either.host}/app@{image.digest}" for image in platforms.values()]
    Cosign("2").sign(whole, key)
    assert [Cosign("2").verify(ref, key).ok for ref in (whole, *parts)] == [True, False, False]
    assert not skopeo.verify(whole, skopeo.signed_by(key), every=True).ok
    Cosign("2").sign(whole, key, recursive=True)
    assert [Cosign("2").verify(ref, key).ok for ref in (whole, *parts)] == [True, True, True]
    assert skopeo.verify(whole, skopeo.signed_by(key), every=True).ok
    own = skopeo.generate_key(tmp_path)
    skopeo.sign(whole, own, every=True)
    assert [Cosign("2").verify(ref, own).ok for ref in (whole, *parts)] == [True, True, True]


def test_nothing_is_reached_but_the_loopback(key: Key) -> None:
    ref = f"registry.test/app@sha256:{'0' * 64}"
    for result in (
        *(Cosign(generation).verify(ref, key) for generation in GENERATIONS),
        skopeo.verify(ref, skopeo.signed_by(key)),
    ):
        assert not result.ok
        assert "proxyconnect tcp: dial tcp 127.0.0.1:1" in result.stderr

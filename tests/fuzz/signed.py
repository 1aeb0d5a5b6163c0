"""Signatures and attestations that the judge accepts, and repositories that have them.

All are of the artifact of ``tests.harness.authority``. A family has originals of the same form and
by the same signers. It also has decoys: valid signatures of another artifact or by another signer.
Mutations put parts of decoys in the place of parts of originals.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509

from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.trust import Identity, RequiredAttestation, Rule
from containerd_lite.trust.dsse import IN_TOTO, Envelope
from tests.fuzz.mutating import twin
from tests.harness import images, signatures
from tests.harness.authority import (
    ARTIFACT,
    HAS_PKI,
    ISSUER,
    Issuer,
    World,
    as_version,
    extension,
)
from tests.harness.repositories import MemoryRepository
from tests.harness.signatures import DSSE, SIGNATURE, SIMPLE_SIGNING
from tests.harness.transparency import (
    TIME,
    Json,
    KeyKind,
    SigningKey,
    Verifier,
    b64,
    canonical,
    cosign_entry,
    hashedrekord_1,
)

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE = "https://slsa.dev/provenance/v1"
COSIGN = "dev.sigstore.cosign/"
KINDS: tuple[KeyKind, ...] = ("p256", "p384", "p521", "rsa", "ed25519")

OTHER_EMAIL = x509.RFC822Name("other@example.com")
DIGEST = images.digest_of(ARTIFACT)
OTHER_DIGEST = images.digest_of(b"other")
IMAGE = images.Image(images.descriptor(images.OCI_MANIFEST, ARTIFACT), {DIGEST: ARTIFACT})
TARGET = Descriptor.from_json(IMAGE.manifest)


@dataclass(frozen=True)
class Original:
    """A layer of signatures, and where it is: under cosign's tags, or in a referrer (``""``)."""

    media_type: str
    body: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""

    @property
    def is_bundle(self) -> bool:
        """Whether the layer is a bundle."""
        return self.media_type.startswith(BUNDLE.partition(".v0")[0])

    @property
    def layer(self) -> tuple[Json, bytes]:
        """The descriptor and the content."""
        found = images.descriptor(self.media_type, self.body)
        return {**found, "annotations": dict(self.annotations)}, self.body

    @property
    def manifest(self) -> images.Image:
        """The manifest with this layer."""
        if self.suffix:
            return signatures.manifest([self.layer])
        return signatures.referrer(IMAGE, [self.layer], self.media_type)


@dataclass(frozen=True)
class Family:
    """The rule that accepts the originals, and the decoys."""

    rule: Rule
    originals: Sequence[Original]
    decoys: Sequence[Original] = ()

    @property
    def attests(self) -> bool:
        """Whether the originals are attestations."""
        return bool(self.rule.attestations)

    @property
    def all(self) -> tuple[Original, ...]:
        """The originals and the decoys."""
        return (*self.originals, *self.decoys)


class Signers:
    """The keys and authorities of all families."""

    def __init__(self) -> None:
        self.world = World()
        self.root = self.world.trusted_root()
        self.keys = {kind: SigningKey(kind) for kind in KINDS}
        self.key, self.stranger = self.keys["p256"], SigningKey()
        self._seconds = 0
        #: A signature for families of attestations, which no mutation touches.
        self.signature = self.tag(self.key, DIGEST, "untouched").manifest

    def repository(
        self, original: Original, manifest: bytes | None = None, *, attests: bool = False
    ) -> MemoryRepository:
        """A repository with an original, or with other bytes in the place of its manifest.

        An original that attests has a signature beside it.
        """
        image = original.manifest
        if manifest is not None:
            found = images.descriptor(images.OCI_MANIFEST, manifest)
            image = images.Image(found, {**image.blobs, found["digest"]: manifest})
        repository = MemoryRepository()
        tag = signatures.tag(DIGEST, f".{original.suffix}") if original.suffix else ""
        repository.add(image, tag)
        if attests:
            repository.add(self.signature, signatures.tag(DIGEST))
        return repository

    # ---- originals ------------------------------------------------------------------------------

    def _next_time(self) -> datetime:
        """A time at which nothing else was signed."""
        self._seconds += 1
        return TIME + timedelta(seconds=self._seconds)

    def tag(self, key: SigningKey, digest: str, name: str, **options: Any) -> Original:
        """A signature in the tag form; ``options`` are those of ``_proven``."""
        body = signatures.payload(digest, f"registry.example/{name}", build=name)
        annotations = self._proven(body, key.sign(body, "sha256"), key, **options)
        return Original(SIMPLE_SIGNING, body, annotations, "sig")

    def _proven(
        self, body: bytes, signature: bytes, key: SigningKey, proofs: str = "", **certified: Any
    ) -> dict[str, str]:
        """cosign's annotations; ``proofs`` has the words certificate, entry and timestamp."""
        found, verifier = {SIGNATURE: b64(signature)}, Verifier.of_key(key)
        time = self._next_time()
        if "certificate" in proofs:
            der = self.world.certify(key, **certified)
            verifier = Verifier(der, "CERTIFICATE", key.details)
            issuers = (self.world.ca.der, self.world.root.der)
            chain = [Verifier(each, "CERTIFICATE", "").pem for each in issuers]
            found[f"{COSIGN}certificate"] = verifier.pem.decode()
            found[f"{COSIGN}chain"] = b"".join(chain).decode()
        if "entry" in proofs:
            entry = self.world.rekor_1.add(hashedrekord_1(body, signature, verifier), time)
            found[f"{COSIGN}bundle"] = cosign_entry(entry)
        if "timestamp" in proofs:
            stamp = b64(self.world.tsa.stamp(signature, time))
            found[f"{COSIGN}rfc3161timestamp"] = json.dumps({"SignedRFC3161Timestamp": stamp})
        return found

    def bundle(self, digest: str = DIGEST, version: str = "", **options: Any) -> Original:
        """A bundle; ``options`` are those of ``World.sign`` and of ``statement``."""
        if not options.get("is_message"):
            options["payload"] = statement(digest, **options.pop("statement", {}))
        document = self.world.sign(time=self._next_time(), **options)
        if version:
            document = as_version(document, version, self.world.ca.der)
        return Original(BUNDLE, canonical(document))

    def _of_another_type(self, key: SigningKey) -> Original:
        """The statement as a payload of another type."""
        document = json.loads(self.bundle(key=key, rekor=None, stamps=[]).body)
        payload = statement(DIGEST)
        envelope = Envelope(payload, "application/json", ())
        signature = key.sign(envelope.signed_bytes)
        document["dsseEnvelope"] = Envelope(payload, "application/json", (signature,)).to_json()
        return Original(BUNDLE, canonical(document))

    def attestation(self, key: SigningKey, digest: str, kind: str, **predicate: str) -> Original:
        """An attestation in the tag form."""
        payload = statement(digest, kind, **predicate)
        signature = key.sign(Envelope(payload, IN_TOTO, ()).signed_bytes, "sha256")
        body = Envelope(payload, IN_TOTO, (signature,)).to_bytes()
        return Original(DSSE, body, {SIGNATURE: "", "predicateType": kind}, "att")

    # ---- families -------------------------------------------------------------------------------

    def families(self) -> dict[str, Family]:
        """All families by name. Those with certificates and timestamps need their packages."""
        return self._by_key() | (self._certified() if HAS_PKI else {})

    def _by_key(self) -> dict[str, Family]:
        key, stranger = self.key, self.stranger
        by_key = Rule(keys=[each.public for each in self.keys.values()])
        logged = Rule(keys=[key.public], trust_root=self.root, log=True)
        attested = Rule(keys=[key.public], attestations=[RequiredAttestation(PREDICATE)])
        plain: Any = {"rekor": None, "stamps": []}
        only: Any = {"stamps": []}
        return {
            "tag": Family(
                by_key,
                [self.tag(each, DIGEST, kind) for kind, each in self.keys.items()],
                [self.tag(key, OTHER_DIGEST, "p256"), self.tag(stranger, DIGEST, "p256")],
            ),
            "tag in a log": Family(
                logged,
                [self.tag(key, DIGEST, name, proofs="entry") for name in "ab"],
                [self.tag(key, OTHER_DIGEST, "a", proofs="entry")],
            ),
            "bundle": Family(
                by_key,
                [self.bundle(key=each, **plain) for each in self.keys.values()],
                [
                    self.bundle(OTHER_DIGEST, key=key, **plain),
                    self.bundle(key=stranger, **plain),
                    self._of_another_type(key),
                ],
            ),
            "bundle in a log": Family(
                logged,
                [self.bundle(key=key, rekor=rekor, **only) for rekor in (1, 2)]
                + [self.bundle(key=key, rekor=1, kind="intoto 0.0.2", **only)],
                [self.bundle(OTHER_DIGEST, key=key, rekor=rekor, **only) for rekor in (1, 2)],
            ),
            "message": Family(
                by_key,
                [self.bundle(key=self.keys[kind], is_message=True, **plain) for kind in KINDS[::3]],
                [self.bundle(key=stranger, is_message=True, **plain)],
            ),
            "attestation": Family(
                attested,
                [self.attestation(key, DIGEST, PREDICATE, by=name) for name in "ab"],
                [
                    self.attestation(key, OTHER_DIGEST, PREDICATE, by="a"),
                    self.attestation(key, DIGEST, "https://other.example/v1", by="a"),
                    self.attestation(stranger, DIGEST, PREDICATE, by="a"),
                ],
            ),
            "attestation in a bundle": Family(
                attested,
                [
                    self.bundle(key=key, statement={"kind": PREDICATE, "by": n}, **plain)
                    for n in "ab"
                ],
                [self.bundle(key=stranger, statement={"kind": PREDICATE}, **plain)],
            ),
        }

    def _certified(self) -> dict[str, Family]:
        key, root = self.key, self.root
        identity = [Identity(ISSUER, "someone@example.com")]
        certified = Rule(identities=identity, trust_root=root)
        stamped = Rule(keys=[key.public], trust_root=root, timestamp=True)
        of_stranger: Any = {"key": self.stranger, "rekor": 2}
        other = SigningKey()
        return {
            "certified tag": Family(
                certified,
                [self.tag(SigningKey(), DIGEST, n, proofs="certificate entry") for n in "ab"]
                + [self.tag(SigningKey(), DIGEST, "c", proofs="certificate entry timestamp")],
                [self.tag(SigningKey(), OTHER_DIGEST, "a", proofs="certificate entry")],
            ),
            "stamped tag": Family(
                stamped,
                [self.tag(key, DIGEST, name, proofs="timestamp") for name in "ab"],
                [self.tag(key, OTHER_DIGEST, "a", proofs="timestamp")],
            ),
            "certified bundle": Family(
                certified,
                [self.bundle(rekor=rekor) for rekor in (1, 2, 2)],
                [
                    self.bundle(OTHER_DIGEST, rekor=2),
                    self.bundle(**of_stranger),
                    self.bundle(key=other, certificate=self.world.certify(other, OTHER_EMAIL)),
                    self.bundle(rekor=2, extensions=[extension(8, "https://other.example")]),
                    self.bundle(rekor=2, ca=Issuer("issuing", Issuer("root"))),
                ],
            ),
            "older bundle": Family(
                certified,
                [self.bundle(version=version, rekor=1) for version in ("0.1", "0.2")],
                [self.bundle(OTHER_DIGEST, version="0.2", rekor=1)],
            ),
            "certified message": Family(
                certified, [self.bundle(is_message=True, rekor=rekor) for rekor in (1, 2)]
            ),
            "certified without a log": Family(
                Rule(identities=identity, trust_root=root, log=False),
                [self.bundle(rekor=None) for _ in "ab"],
            ),
        }


def statement(
    digest: str, kind: str = "https://sigstore.dev/cosign/sign/v1", **predicate: str
) -> bytes:
    """An in-toto statement about an artifact."""
    subject = {
        "name": "registry.example/app",
        "digest": {"sha256": digest.partition(":")[2]},
        "annotations": {"stage": "release"},
    }
    return canonical(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [subject],
            "predicateType": kind,
            "predicate": predicate,
        }
    )


# ---- what another reader finds -------------------------------------------------------------------


#: The fields whose case does not matter to a lenient reader. Keys of maps are not among them.
_FIELDS = {
    *("_type", "annotations", "apiversion", "body", "canonicalizedbody", "content", "critical"),
    *("data", "digest", "docker-manifest-digest", "docker-reference", "dsseenvelope", "dssev002"),
    *("envelope", "hash", "hashedrekordv002", "identity", "image", "kind", "layers", "mediatype"),
    *("messagesignature", "name", "optional", "payload", "payloadhash", "payloadtype"),
    *("predicate", "predicatetype", "publickey", "rawbytes", "sig", "signature", "signatures"),
    *("spec", "subject", "tlogentries", "type", "value", "verificationmaterial", "verifier"),
}


def lenient(body: bytes | str, *, first: bool = False) -> Any:
    """Parse JSON as Go's ``encoding/json`` does: the case of fields does not matter.

    If a field occurs twice, the last one counts, or the first one, as for some other readers. This
    function returns the names of fields in lower case.
    """

    def fold(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        folded = [(key.casefold(), key, value) for key, value in pairs]
        in_order = reversed(folded) if first else folded
        return {low if low in _FIELDS else key: value for low, key, value in in_order}

    return json.loads(body, object_pairs_hook=fold)


def readings(body: bytes | str) -> tuple[Any, Any]:
    """Return the document as two lenient readers understand it."""
    return lenient(body), lenient(body, first=True)


def payloads_of(original: Original) -> frozenset[bytes]:
    """The bytes that the signature is over, without the frame of an envelope."""
    if original.media_type == SIMPLE_SIGNING:
        return frozenset([original.body])
    return frozenset(
        ARTIFACT
        if "messagesignature" in document
        else base64.b64decode(document.get("dsseenvelope", document)["payload"])
        for document in readings(original.body)
    )


def signatures_of(original: Original) -> frozenset[bytes]:
    """The signatures of a layer, each with its twin."""
    is_tag = original.media_type == SIMPLE_SIGNING
    texts = [original.annotations[SIGNATURE]] if is_tag else []
    for document in () if is_tag else readings(original.body):
        message = document.get("messagesignature")
        envelope = document.get("dsseenvelope", document)
        texts += [message["signature"]] if message else [s["sig"] for s in envelope["signatures"]]
    found = [base64.b64decode(each) for each in texts]
    return frozenset([*found, *map(twin, found)])


def entries_of(original: Original) -> frozenset[bytes]:
    """The bodies of the log entries."""
    if not original.is_bundle:
        text = original.annotations.get(f"{COSIGN}bundle")
        found = [each["payload"] for each in readings(text)] if text else []
        return frozenset(base64.b64decode(each["body"]) for each in found)
    return frozenset(
        base64.b64decode(entry["canonicalizedbody"])
        for document in readings(original.body)
        for entry in document["verificationmaterial"].get("tlogentries") or []
    )


def tree_indexes_of(original: Original) -> frozenset[int]:
    """The indexes of the log entries in their trees, as their proofs have them."""
    if not original.is_bundle:
        return frozenset()
    entries = json.loads(original.body)["verificationMaterial"].get("tlogEntries", [])
    return frozenset(int(each["inclusionProof"]["logIndex"]) for each in entries)


def layer_of(repository: MemoryRepository, where: str) -> Original:
    """The layer that a verdict means: ``tag sha256-….sig, layer 1``."""
    kind, name, _, number = where.replace(",", "").split(" ")
    digest = repository.tags[name].digest if kind == "tag" else name
    body = repository.blobs[digest]
    layer, other = (each["layers"][int(number) - 1] for each in readings(body))
    assert layer == other
    inline = layer.get("data")
    content = repository.blobs[layer["digest"]] if inline is None else base64.b64decode(inline)
    annotations = layer.get("annotations") or {}
    return Original(layer["mediatype"], content, annotations, name if kind == "tag" else "")

"""An image, and what a repository can hold of its signatures, for tests of hostile ones."""

from __future__ import annotations

from typing import Any

from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.trust import Policy, Rule, Verdict, enforce
from tests.harness import images, signatures
from tests.harness.images import Json
from tests.harness.keypairs import KeyPair
from tests.harness.repositories import MemoryRepository

KEY, OTHER = KeyPair.generate(), KeyPair.generate()
IMAGE, ANOTHER = images.scratch({"one": b"1"}), images.scratch({"two": b"2"})
TARGET = Descriptor.from_json(IMAGE.manifest)
TAG, ATT = signatures.tag(IMAGE.digest), signatures.tag(IMAGE.digest, ".att")
REFERENCE = Reference.parse("registry.example/team/app:1")
BY_KEY = Rule(keys=[KEY.public])
#: The type of a statement that is a signature, and of one that is an attestation.
COSIGN_SIGN, SLSA = "https://sigstore.dev/cosign/sign/v1", "https://slsa.dev/provenance/v1"

Layer = tuple[Json, bytes]


def judge(
    repository: MemoryRepository, rule: Rule = BY_KEY, target: Descriptor = TARGET
) -> Verdict:
    """The verdict of a rule on the image in a repository."""
    return enforce([Policy({"**": rule})], repository, REFERENCE, target)


def signed(key: KeyPair = KEY, digest: str = IMAGE.digest, name: str = "") -> Layer:
    """A signature for cosign's tag."""
    return signatures.layer(signatures.payload(digest, name), key)


def stated(kind: str = COSIGN_SIGN, key: KeyPair = KEY, digest: str = IMAGE.digest) -> Layer:
    """A bundle with a statement about the image."""
    return signatures.bundle(signatures.statement(digest, kind, {}), key)


def repository_of(*layers: Layer) -> MemoryRepository:
    """A repository with layers under cosign's tag."""
    repository = MemoryRepository()
    repository.add(signatures.manifest(layers), TAG)
    return repository


def add_referrer(repository: MemoryRepository, *layers: Layer) -> Descriptor:
    """Add a referrer of the image."""
    kind: Any = layers[0][0]["mediaType"]
    return repository.add(signatures.referrer(IMAGE, layers, kind), artifactType=kind)


def referrers(*layers: Layer) -> MemoryRepository:
    """A repository with a referrer for each layer."""
    repository = MemoryRepository()
    for layer in layers:
        add_referrer(repository, layer)
    return repository

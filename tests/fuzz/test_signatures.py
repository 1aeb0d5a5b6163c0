"""Signatures, and what proves them, with changes at random: nothing new is accepted.

``mutating`` changes documents, and ``signed`` has documents that the judge accepts. A changed
document must be refused by a typed error, or must say what an original says. Payload, signature,
signer, times, log entries and subject are then the same, also for a more lenient reader than ours.
The document may prove less, because the proofs are beside the signature and can be left out. Each
kind of change that is accepted has its explanation here.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

import pytest

from containerd_lite.errors import ContainerdError
from containerd_lite.oci.reference import Reference
from containerd_lite.trust import Policy, Rule, Verdict, VerifiedSignature, enforce
from tests.fuzz import mutating
from tests.fuzz.signed import (
    BUNDLE,
    COSIGN,
    DIGEST,
    PREDICATE,
    TARGET,
    Family,
    Original,
    Signers,
    entries_of,
    layer_of,
    payloads_of,
    signatures_of,
    tree_indexes_of,
)
from tests.harness.outcomes import CLOSING
from tests.harness.repositories import MemoryRepository
from tests.harness.signatures import DSSE, SIGNATURE, SIMPLE_SIGNING
from tests.harness.transparency import canonical

Count = Callable[[int, int], int]

#: The most seconds that a judgement may take, and the most KiB that the judgements of a test may
#: add to the memory of the process.
MAX_SECONDS, MAX_KIB = 5.0, 200 << 10
REFERENCE = Reference.parse("registry.example/app:1")

# ---- what is changed, and what is accepted -------------------------------------------------------

MATERIAL = "verificationMaterial"
#: Where a document is: below a path in the body, in an annotation, or in the manifest.
Place = tuple[Literal["body", "annotation", "manifest"], mutating.Path]

PLACES: Mapping[str, Sequence[Place]] = {
    "signatures": [
        ("body", ("dsseEnvelope", "signatures", "*", "sig")),
        ("body", ("messageSignature", "signature")),
        ("body", ("signatures", "*", "sig")),
        ("annotation", (SIGNATURE,)),
    ],
    "bundles": [("body", ())],
    "envelopes": [("body", ())],
    "payloads": [("body", ())],
    "statements": [("body", ("dsseEnvelope", "payload")), ("body", ("payload",))],
    "certificates": [
        ("body", (MATERIAL, "certificate")),
        ("body", (MATERIAL, "x509CertificateChain")),
        ("annotation", (f"{COSIGN}certificate",)),
        ("annotation", (f"{COSIGN}chain",)),
    ],
    "log entries": [("body", (MATERIAL, "tlogEntries")), ("annotation", (f"{COSIGN}bundle",))],
    "timestamps": [
        ("body", (MATERIAL, "timestampVerificationData")),
        ("annotation", (f"{COSIGN}rfc3161timestamp",)),
    ],
    "manifests": [("manifest", ())],
}
#: The media types of the bodies that are changed as a whole.
FORMS = {"bundles": BUNDLE, "envelopes": DSSE, "payloads": SIMPLE_SIGNING}

#: The changes that are accepted: patterns of what differs, and why nothing is wrong with it.
EXPLAINED: Mapping[str, tuple[str, str]] = {
    "other JSON": (
        r".* as other JSON",
        "spaces, escapes and the order of keys mean nothing; what is signed is base64 in the JSON",
    ),
    "signature": (
        r"body\..*(sig|signature)|annotation .*/signature|.*[sS]ignedEntryTimestamp",
        "of the same bytes, by the same key: if (r, s) is a signature by ECDSA, (r, n - s) is, too;"
        " the annotation of an attestation is not read, because the signature is in the envelope",
    ),
    "more signatures": (
        r"body\.signatures|manifest\.layers",
        "each signature counts for itself; one that is not valid counts for nothing",
    ),
    "hint": (
        r"body\.verificationMaterial\.publicKey\..*|body\.messageSignature\..*messageDigest",
        "the policy says which keys count, and the image which digest",
    ),
    "issuers": (
        r"body\..*x509CertificateChain.*|annotation .*/chain",
        "the certificates of issuers come from the trusted root",
    ),
    "checkpoint": (
        r"body\..*\.inclusionProof\.checkpoint\.envelope",
        "its log can have signed twice, and signatures of unknown witnesses are ignored",
    ),
    "PEM": (r"annotation .*/certificate", "the ends of lines mean nothing in PEM"),
    "proof left out": (
        r"body\..*\.(-?inclusionPromise|-?inclusionProof|inclusionProof\.-?checkpoint)",
        "less is proven: without a promise, neither a time nor the index in all trees, which the"
        " verdict then does not have; bundles of version 0.1 need a promise only",
    ),
    "timestamp": (
        r".*([sS]ignedTimestamp|rfc3161Timestamps(\[\])?|SignedRFC3161Timestamp)",
        "some parts of a timestamp are not signed; its time and what it is of are",
    ),
    "unknown field": (
        r"body\.(signatures\[\]\.)?\+|manifest(\..*)?\.\+",
        "envelopes and manifests may have fields that the judge does not read",
    ),
    "version": (r"body\.mediaType", "version 0.3 has two names"),
    "manifest": (
        r"manifest\.(config\..*|subject\.(mediaType|size)|-?artifactType|-?mediaType)",
        "only the layers, and the digest of the subject, are read",
    ),
    "layer": (
        r"manifest\.layers\[\]\.(mediaType|-?annotations.*)",
        "a bundle names its own type, and what is signed counts, not what an annotation says",
    ),
}

#: If a part of a proof is left out, the rest is not read: patterns of the part, and of the rest.
LEFT_OUT = (
    (r"(.*\.inclusionProof)\.-?checkpoint", r"\..*"),
    (r"(.*)\.-?inclusionPromise", r"\.-?(logIndex|integratedTime)"),
)


# ---- what an accepted document says --------------------------------------------------------------


@dataclass(frozen=True)
class Meaning:
    """The meaning of a signature or an attestation. Times, entries and indexes prove it."""

    said: tuple[object, ...]
    signatures: frozenset[bytes]
    times: frozenset[object]
    entries: frozenset[bytes]
    indexes: frozenset[int]

    def is_within(self, other: Meaning) -> bool:
        """Whether the same is said, and nothing is proven that is not proven there."""
        return (
            self.said == other.said
            and self.signatures >= other.signatures
            and self.times <= other.times
            and self.entries <= other.entries
            and self.indexes <= other.indexes
        )


def meanings(verdict: Verdict, repository: MemoryRepository) -> list[Meaning]:
    """Return the meanings in a verdict, as a lenient reader understands them."""
    found = [_meaning(each, repository) for each in verdict.signatures]
    for each in verdict.attestations:
        predicate = json.dumps(dict(each.predicate), sort_keys=True)
        meaning = _meaning(each.signature, repository)
        said = (*meaning.said, each.predicate_type, predicate)
        found.append(replace(meaning, said=said))
    return found


def _meaning(found: VerifiedSignature, repository: MemoryRepository) -> Meaning:
    layer = layer_of(repository, found.where)
    annotations = json.dumps(dict(found.annotations or {}), sort_keys=True)
    said = (found.digest, found.key, repr(found.identity), found.reference, annotations)
    return Meaning(
        (*said, payloads_of(layer)),
        signatures_of(layer),
        frozenset(found.times),
        entries_of(layer) if found.log_indexes else frozenset(),
        frozenset(found.log_indexes),
    )


def judge(rule: Rule, repository: MemoryRepository) -> Verdict:
    return enforce([Policy({"**": rule})], repository, REFERENCE, TARGET)


# ---- changes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A changed document, the repository that has it, and the same document of each original."""

    repository: MemoryRepository
    text: bytes
    originals: Sequence[bytes]

    def names(self, where: str) -> set[str]:
        """Return the differences from the most similar original."""
        found = [_differences(each, self.text, where) for each in self.originals]
        return _read(min(found, key=len)) or {f"{where} as other JSON"}


def _read(names: set[str]) -> set[str]:
    """The differences without those in what is not read."""
    for part, rest in LEFT_OUT:
        for match in filter(None, [re.fullmatch(part, name) for name in names]):
            ignored = re.compile(re.escape(match[1]) + rest)
            names = {n for n in names if n == match[0] or not ignored.fullmatch(n)}
    return names


def _differences(old: bytes, new: bytes, where: str) -> set[str]:
    try:
        first, second = json.loads(old), json.loads(new)
    except ValueError:
        return {where} if old != new else set()
    return set(_paths(first, second, where))


def _paths(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() & new.keys():
            yield from _paths(old[key], new[key], f"{path}.{key}")
        yield from (f"{path}.-{key}" for key in old.keys() - new.keys())
        yield from (f"{path}.+" for key in new.keys() - old.keys())
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for first, second in zip(old, new, strict=True):
            yield from _paths(first, second, f"{path}[]")
    elif old != new:
        yield path


class Workshop:
    """The families, and what their originals say."""

    def __init__(self) -> None:
        self.signers = Signers()
        self.families = self.signers.families()
        self.meanings: dict[str, list[Meaning]] = {}
        for name, family in self.families.items():
            repositories = [self._repository(family, each) for each in family.originals]
            found = [
                (meaning, original)
                for original, each in zip(family.originals, repositories, strict=True)
                for meaning in meanings(judge(family.rule, each), each)
            ]
            # Without a promise, only the index in the tree is proven.
            self.meanings[name] = [
                replace(meaning, indexes=meaning.indexes | tree_indexes_of(original))
                for meaning, original in found
            ]

    def _repository(self, family: Family, *original: Any) -> MemoryRepository:
        return self.signers.repository(*original, attests=family.attests)

    def places(self, kind: str) -> list[tuple[str, Original, Place]]:
        """All documents of a kind: the family, the original and the place."""
        return [
            (name, original, place)
            for name, family in self.families.items()
            for original in family.originals
            for place in PLACES[kind]
            if original.media_type == FORMS.get(kind, original.media_type)
            and _document(original, place) is not None
        ]

    def change(self, name: str, original: Original, place: Place, dice: Random) -> Change:
        """Change a document until it differs."""
        family, (where, path) = self.families[name], place
        old = _document(original, place)
        assert old is not None
        others = [
            found
            for each in family.all
            if each is not original and (found := _document(each, place)) is not None
        ]
        while True:
            steps = path if where == "body" else ()
            with suppress(UnicodeEncodeError):
                new = mutating.mutate_bytes(old, dice, others, steps)
                if new != old:
                    break
        documents = [
            found for each in family.originals if (found := _document(each, place)) is not None
        ]
        if where == "manifest":
            return Change(self._repository(family, original, new), new, documents)
        if where == "body":
            changed = replace(original, body=new)
        else:
            text = new.decode("utf-8", "replace")
            changed = replace(original, annotations={**original.annotations, path[0]: text})
        return Change(self._repository(family, changed), new, documents)


def _document(original: Original, place: Place) -> bytes | None:
    """The document at a place, or ``None`` if the original does not have it."""
    where, path = place
    if where == "manifest":
        return original.manifest.blobs[original.manifest.digest]
    if where == "annotation":
        text = original.annotations.get(path[0])
        return None if text is None else text.encode()
    found = json.loads(original.body)
    for step in path:
        found = found[0] if step == "*" else found.get(step)
        if found is None:
            return None
    return original.body


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    return Workshop()


@contextmanager
def bounded() -> Iterator[None]:
    """Check the memory that the block adds to the process."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak becomes what is used now
    before = _memory("VmHWM")
    yield
    assert _memory("VmHWM") - before <= MAX_KIB


def _memory(name: str) -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(f"{name}:"))


def judge_in_time(rule: Rule, repository: MemoryRepository) -> Verdict | None:
    """The verdict, or ``None`` for a refusal; other errors are not expected."""
    start = time.perf_counter()
    try:
        return judge(rule, repository)
    except ContainerdError:
        return None
    finally:
        assert time.perf_counter() - start <= MAX_SECONDS


@pytest.mark.turns(3)
@pytest.mark.parametrize("kind", PLACES)
def test_a_changed_document(workshop: Workshop, kind: str, count: Count) -> None:
    rounds, accepted = count(800, 9_000), Counter[str]()
    places = workshop.places(kind)
    if not places:
        pytest.skip("certificates and timestamps need newer packages")
    with bounded():
        for number in range(rounds):
            dice = Random(f"{kind} {number}")
            name, original, place = dice.choice(places)
            change = workshop.change(name, original, place, dice)
            verdict = judge_in_time(workshop.families[name].rule, change.repository)
            if verdict is not None:
                known = workshop.meanings[name]
                for meaning in meanings(verdict, change.repository):
                    assert any(map(meaning.is_within, known)), (name, place, change.text)
                where = place[0] if place[0] != "annotation" else f"annotation {place[1][0]}"
                accepted.update({explained(each) for each in change.names(where)})
    told = ", ".join(f"{n} {name}" for name, n in accepted.most_common()) or "none"
    CLOSING.add(f"signatures: {rounds} changes of {kind}; accepted, with the same meaning: {told}")


def explained(difference: str) -> str:
    """The name of the first explanation that fits."""
    for name, (pattern, _) in EXPLAINED.items():
        if re.fullmatch(pattern, difference):
            return name
    raise AssertionError(f"{difference} is accepted, and nothing explains it")


def test_decoys(workshop: Workshop) -> None:
    """The documents that lend their parts are refused themselves."""
    for family in workshop.families.values():
        for decoy in family.decoys:
            repository = workshop.signers.repository(decoy, attests=family.attests)
            assert judge_in_time(family.rule, repository) is None


def largest(signers: Signers, shape: str) -> tuple[str, Original]:
    """A document near the limits, and its family."""
    log = signers.world.rekor_1
    if shape in ("statement", "envelope"):
        text = "x" * (15 << 20)
        if shape == "envelope":
            return "attestation", signers.attestation(signers.key, DIGEST, PREDICATE, by=text)
        options: Any = {"statement": {"kind": PREDICATE, "by": text}, "rekor": None, "stamps": []}
        return "attestation in a bundle", signers.bundle(key=signers.key, **options)
    if shape == "values":
        body = f'{{"mediaType":"{BUNDLE}","x":[{",".join(["{}"] * 250_000)}]}}'
        return "bundle", Original(BUNDLE, body.encode())
    found = signers.bundle(key=signers.key, rekor=1, stamps=[])
    document = json.loads(found.body)
    count, size = (1, 12 << 20) if shape == "log entry" else (32, 400 << 10)
    document[MATERIAL]["tlogEntries"] = [
        log.add({"kind": "dsse", "apiVersion": "0.0.1", "spec": {"x": f"{n}" + "y" * size}})
        for n in range(count)
    ]
    return "bundle in a log", Original(BUNDLE, canonical(document))


@pytest.mark.turns(3, "heavy")
@pytest.mark.parametrize("shape", ["statement", "envelope", "log entry", "log entries", "values"])
def test_the_largest_documents(workshop: Workshop, shape: str) -> None:
    name, original = largest(workshop.signers, shape)
    family = workshop.families[name]
    repository = workshop.signers.repository(original, attests=family.attests)
    with bounded():
        verdict = judge_in_time(family.rule, repository)
    assert (verdict is not None) == (shape in ("statement", "envelope"))

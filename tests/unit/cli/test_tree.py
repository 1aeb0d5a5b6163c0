"""``containerd-lite tree``: what refers to an image, by a registry with a referrers API."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from containerd_lite.cli import main
from containerd_lite.images.signatures import referring
from tests.harness import images
from tests.harness.images import OCI_INDEX, OCI_MANIFEST, Image, Json, descriptor, encode
from tests.unit.registry.scripted import Scripted, reply

AMD = images.scratch({"at": b"amd64"})
ARM = images.scratch({"at": b"arm64"})
BOTH = images.index_of({"linux/amd64": AMD, "linux/arm64": ARM})
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
SLSA, SPDX = "https://slsa.dev/provenance/v1", "https://spdx.dev/Document"


def artifact(subject: Image | None, layers: Sequence[Json] = (), **fields: object) -> Image:
    """Make a manifest that refers to an image."""
    config = {**descriptor(EMPTY, b"{}"), **fields.pop("config", {})}  # type: ignore[dict-item]
    own = (
        {name: subject.manifest[name] for name in ("mediaType", "digest", "size")}
        if subject
        else None
    )
    body = encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config,
            "layers": [*layers],
            **({"subject": own} if own else {}),
            **fields,
        }
    )
    return Image(descriptor(OCI_MANIFEST, body), {images.digest_of(body): body})


def layer(media_type: str, content: bytes = b"x", **annotations: str) -> Json:
    return {**descriptor(media_type, content), "annotations": annotations}


class Repository:
    """A repository of a registry with a referrers API."""

    def __init__(self, server: Scripted) -> None:
        self.server = server
        self.ref = f"{server.host}/app:1"

    def push(self, image: Image, *tags: str) -> None:
        """Serve the manifests of an image, with a list of referrers that is empty."""
        for digest, body in image.blobs.items():
            if not body.startswith(b"{") or b"schemaVersion" not in body:
                continue
            kind = json.loads(body)["mediaType"]
            found = reply(200, body, Content_Type=kind, Docker_Content_Digest=digest)
            for name in (digest, *(tags if digest == image.digest else ())):
                for method in ("GET", "HEAD"):
                    self.server.on(method, f"/v2/app/manifests/{name}", found)
            self.refer(digest)

    def refer(self, subject: str, *referrers: Json) -> None:
        """Let the registry list manifests as the referrers of a subject."""
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*referrers]}
        path = f"/v2/app/referrers/{subject}"
        self.server.on("GET", path, reply(200, body, Content_Type=OCI_INDEX))


@pytest.fixture
def repository() -> Iterator[Repository]:
    with Scripted() as server:
        yield Repository(server)


def tag(image: Image, suffix: str) -> str:
    return f"{image.digest.replace(':', '-')}.{suffix}"


def fill(repository: Repository) -> dict[str, Image]:
    """Push an index with platforms, and what refers to them."""
    found = {
        "bundle": artifact(BOTH, artifactType=BUNDLE),
        "unlisted": artifact(
            AMD, artifactType=BUNDLE, annotations={"dev.sigstore.bundle.predicateType": SLSA}
        ),
        "old": artifact(ARM, config={"mediaType": "application/vnd.example.old+json"}),
        "sig": artifact(None, [layer(SIMPLE), layer(SIMPLE, b"y")]),
        "att": artifact(
            None, [layer(DSSE, predicateType=SPDX), layer(DSSE, b"y", predicateType=SLSA)]
        ),
        "sbom": artifact(None, [layer("text/spdx+json")]),
    }
    repository.push(BOTH, "1")
    for image in (found["bundle"], found["unlisted"], found["old"]):
        repository.push(image)
    listed = {**found["bundle"].manifest, "artifactType": BUNDLE}
    repository.refer(BOTH.digest, listed)
    repository.refer(AMD.digest, {**found["unlisted"].manifest, "artifactType": EMPTY})
    repository.refer(ARM.digest, found["old"].manifest)
    repository.push(found["sig"], tag(BOTH, "sig"))
    repository.push(found["att"], tag(AMD, "att"))
    repository.push(found["sbom"], tag(ARM, "sbom"))
    return found


def rows(repository: Repository, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert main(["tree", repository.ref, "--format", "json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_the_index_and_its_platforms(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    pushed = fill(repository)
    found = rows(repository, capsys)
    assert [(each["platform"], each["kind"], each["digest"]) for each in found] == [
        ("", "referrer", pushed["bundle"].digest),
        ("", "sig", pushed["sig"].digest),
        ("linux/amd64", "referrer", pushed["unlisted"].digest),
        ("linux/amd64", "att", pushed["att"].digest),
        ("linux/arm64", "referrer", pushed["old"].digest),
        ("linux/arm64", "sbom", pushed["sbom"].digest),
    ]
    assert [each["types"] for each in found] == [
        [BUNDLE],
        [SIMPLE],
        [BUNDLE],
        [DSSE],
        ["application/vnd.example.old+json"],
        ["text/spdx+json"],
    ]
    assert [each["predicate_types"] for each in found] == [[], [], [SLSA], [SPDX, SLSA], [], []]
    assert {each["refers_to"] for each in found} == {BOTH.digest, AMD.digest, ARM.digest}
    assert found[1]["reference"] == (
        f"{repository.server.host}/app:{tag(BOTH, 'sig')}@{pushed['sig'].digest}"
    )
    # The list states the type of the first, so its manifest is not read.
    read = repository.server.seen("GET", f"/v2/app/manifests/{pushed['bundle'].digest}")
    assert read == []


def test_tables_and_lines(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    pushed = fill(repository)
    assert main(["tree", repository.ref]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["REFERS", "TO", "KIND", "TYPES", "PREDICATE", "TYPES", "DIGEST"]
    assert lines[1] == ["index", "referrer", BUNDLE, pushed["bundle"].digest[:19]]
    assert lines[4] == ["linux/amd64", "att", DSSE, f"{SPDX},", SLSA, pushed["att"].digest[:19]]
    assert (len(lines), err) == (7, "")
    assert main(["tree", repository.ref, "--no-trunc"]) == 0
    assert pushed["sbom"].digest in capsys.readouterr().out
    assert main(["tree", repository.ref, "--format", "jsonl"]) == 0
    assert len([json.loads(line) for line in capsys.readouterr().out.splitlines()]) == 6


def test_an_image_to_which_nothing_refers(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.push(AMD, "1")
    assert main(["tree", repository.ref]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["REFERS TO  KIND  TYPES  PREDICATE TYPES  DIGEST"]
    assert f"nothing refers to {repository.ref}" in err
    assert main(["tree", f"{repository.server.host}/none"]) == 3


def test_attestations_in_the_index_are_no_platforms(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    stated = artifact(None)
    mark = {"vnd.docker.reference.type": "attestation-manifest"}
    entries = [AMD.manifest, AMD.manifest, {**stated.manifest, "annotations": mark}]
    body = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    index = Image(
        descriptor(OCI_INDEX, body), {**AMD.blobs, **stated.blobs, images.digest_of(body): body}
    )
    repository.push(index, "1")
    assert rows(repository, capsys) == []
    asked = {r.path for r in repository.server.requests if "/referrers/" in r.path}
    assert asked == {f"/v2/app/referrers/{each}" for each in (index.digest, AMD.digest)}


def broken(digest: str, body: bytes) -> bytes:
    return reply(200, body, Content_Type=OCI_MANIFEST, Docker_Content_Digest=digest)


BROKEN: Mapping[str, tuple[Image, bytes | None, str]] = {
    "missing": (artifact(AMD, artifactType=BUNDLE), None, "has no manifest"),
    "other bytes": (artifact(AMD), artifact(ARM).blobs[artifact(ARM).digest], "digest"),
    "not JSON": (Image(descriptor(OCI_MANIFEST, b"{"), {}), b"{", "JSON"),
    "other subject": (artifact(ARM), artifact(ARM).blobs[artifact(ARM).digest], "subject"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_referrer_that_cannot_be_read_hides_no_other(
    repository: Repository, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image, body, reason = BROKEN[case]
    repository.push(AMD, "1")
    if body is not None:
        path = f"/v2/app/manifests/{image.digest}"
        repository.server.on("GET", path, broken(image.digest, body))
    good = {**artifact(AMD, annotations={"good": "1"}).manifest, "artifactType": BUNDLE}
    repository.refer(AMD.digest, image.manifest, good)
    first, second = rows(repository, capsys)
    assert reason in first["problem"]
    assert (second["types"], second["problem"]) == ([BUNDLE], "")
    assert main(["tree", repository.ref]) == 0
    out, err = capsys.readouterr()
    assert BUNDLE in out
    assert f"/app@{image.digest}: " in err
    assert reason in err


def test_a_tag_with_an_index(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    repository.push(AMD, "1")
    repository.push(BOTH, tag(AMD, "sig"))
    (row,) = rows(repository, capsys)
    assert (row["kind"], row["media_type"], row["types"]) == ("sig", OCI_INDEX, [])


def test_texts_of_the_registry_are_printable(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.push(AMD, "1")
    evil = artifact(None, [layer(DSSE, predicateType="\x1b[31m\nroot")])
    repository.push(evil, tag(AMD, "att"))
    for form in ("table", "json", "jsonl"):
        assert main(["tree", repository.ref, "--format", form]) == 0
        out, err = capsys.readouterr()
        assert "root" in out
        assert "\x1b" not in out + err
        assert "\nroot" not in out


def test_a_digest_that_has_no_tags(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """A digest of SHA-512 is too long for a tag."""
    body = AMD.blobs[AMD.digest]
    digest = f"sha512:{hashlib.sha512(body).hexdigest()}"
    repository.push(Image({**AMD.manifest, "digest": digest}, {digest: body}))
    repository.refer(digest, {**artifact(None).manifest, "artifactType": BUNDLE})
    assert main(["tree", f"{repository.server.host}/app@{digest}", "--format", "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["refers_to"] == digest


# ---- bounds -----------------------------------------------------------------------------------


def test_an_index_with_too_many_manifests(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [descriptor(OCI_MANIFEST, str(number).encode()) for number in range(300)]
    body = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    image = Image(descriptor(OCI_INDEX, body), {images.digest_of(body): body})
    repository.push(image, "1")
    assert main(["tree", repository.ref]) == 1
    assert "more than 256 manifests" in capsys.readouterr().err
    assert not [r for r in repository.server.requests if "/referrers/" in r.path]


def test_too_many_referrers(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """Of all platforms together: the registry client limits those of each."""
    repository.push(BOTH, "1")
    for image, letter in ((AMD, "a"), (ARM, "b")):
        listed = [
            {"mediaType": OCI_MANIFEST, "digest": f"sha256:{letter}{n:063}", "size": 1,
             "artifactType": BUNDLE}
            for n in range(6000)
        ]  # fmt: skip
        repository.refer(image.digest, *listed)
    assert main(["tree", repository.ref]) == 1
    out, err = capsys.readouterr()
    assert "10000 manifests" in err
    assert out == ""


def test_too_many_bytes(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(referring, "_MAX_TOTAL", 6 << 20)
    repository.push(AMD, "1")
    liars = [{**descriptor(OCI_MANIFEST, b"%d" % n), "size": 4 << 30} for n in range(3)]
    repository.refer(AMD.digest, *liars)
    assert main(["tree", repository.ref]) == 1
    assert "MiB refer to" in capsys.readouterr().err
    assert main(["tree", repository.ref, "--format", "json"]) == 1


def test_a_registry_that_fails(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not known then what refers to the image, so nothing is printed."""
    fill(repository)
    for path in (f"/v2/app/referrers/{ARM.digest}", f"/v2/app/manifests/{tag(ARM, 'att')}"):
        for method in ("GET", "HEAD"):
            repository.server.on(method, path, reply(403))
        assert main(["tree", repository.ref]) == 4
        assert capsys.readouterr().out == ""
        repository.refer(ARM.digest)
    assert main(["tree", "127.0.0.1:1/app"]) == 5

"""Manifests, digests and errors that mean two things, or more than they should."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from containerd_lite.errors import (
    ContainerdError,
    DigestMismatch,
    RegistryError,
    RegistryNotFound,
    RegistryUnavailable,
    SizeMismatch,
)
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.reference import Reference
from tests.hostile.registry.stage import Book, Stage, fetch, resolve
from tests.unit.registry.samples import BODY, CONFIG, OTHER, PINNED, TAGGED, TARGET, manifest
from tests.unit.registry.scripted import reply

pytestmark = pytest.mark.dependencies

BOOK = Book()

LAYER = {"mediaType": mt.OCI_LAYER, "digest": OTHER, "size": 5}
CHILD = {"mediaType": mt.OCI_MANIFEST, "digest": OTHER, "size": 5}


def document(**fields: object) -> bytes:
    """A manifest in which some fields are others."""
    base: dict[str, object] = {"schemaVersion": 2, "config": CONFIG, "layers": []}
    return json.dumps({**base, "mediaType": mt.OCI_MANIFEST, **fields}).encode()


def index(**fields: object) -> bytes:
    base: dict[str, object] = {"schemaVersion": 2, "manifests": [CHILD]}
    return json.dumps({**base, "mediaType": mt.OCI_INDEX, **fields}).encode()


def layer(**fields: object) -> bytes:
    return document(layers=[{**LAYER, **fields}])


# What a tag leads to.

_WORDS = ("sent an unusable manifest",)
_SURROGATE = BODY.replace(b'"layers"', b'"annotations": {"a": "\\ud800"}, "layers"')
_BAD: dict[str, tuple[str, bytes, str]] = {
    "CVE-2021-41190-both": ("layers and manifests", document(manifests=[]), mt.OCI_MANIFEST),
    "CVE-2021-41190-both-in-index": ("an index with layers", index(layers=[]), mt.OCI_INDEX),
    "CVE-2021-41190-config-in-index": ("one with a config", index(config=CONFIG), mt.OCI_INDEX),
    "CVE-2021-41190-as-index": ("a manifest sent as an index", BODY, mt.OCI_INDEX),
    "CVE-2021-41190-as-manifest": ("an index sent as a manifest", index(), mt.OCI_MANIFEST),
    "CVE-2021-41190-as-docker": ("OCI sent as Docker's", BODY, mt.DOCKER_MANIFEST),
    "CVE-2021-41190-null": ("manifests, but null", document(manifests=None), mt.OCI_MANIFEST),
    "CVE-2021-41190-untyped": ("no type at all", document(mediaType=""), "application/json"),
    "CVE-2021-41190-other-type": ("a type of its own", document(mediaType="a/b"), "a/b"),
    "GHSA-qq97-vm5h-rrhg-twice": (
        "two lists of layers: parsers differ on which counts",
        BODY[:-1] + b',"layers":[1]}',
        mt.OCI_MANIFEST,
    ),
    "GHSA-qq97-vm5h-rrhg-case": (
        "Layers beside layers, which are one to Go",
        document(Layers=[LAYER]),
        mt.OCI_MANIFEST,
    ),
    "CVE-2014-8179-schema1": (
        "a manifest of schema 1",
        json.dumps({"schemaVersion": 1, "fsLayers": [], "history": []}).encode(),
        mt.DOCKER_SCHEMA1_SIGNED,
    ),
    "CVE-2014-8179-schema1-inside": (
        "one that comes as schema 2",
        document(schemaVersion=1),
        mt.OCI_MANIFEST,
    ),
    "image-spec-schema-version": ("a version of 3", document(schemaVersion=3), mt.OCI_MANIFEST),
    "image-spec-layers": ("layers in no list", document(layers={}), mt.OCI_MANIFEST),
    "image-spec-no-config": ("no config", document(config=None), mt.OCI_MANIFEST),
    "image-spec-list": ("a list", b"[]", mt.OCI_MANIFEST),
    "image-spec-nothing": ("an empty object", b"{}", mt.OCI_MANIFEST),
    "image-spec-data": (
        "embedded data that is other content",
        layer(data="AAAAAAA="),
        mt.OCI_MANIFEST,
    ),
    "CVE-2024-3727-layer": (
        "a layer's digest that is a path",
        layer(digest="sha256:../canary"),
        mt.OCI_MANIFEST,
    ),
    "CVE-2024-3727-config": (
        "a config's",
        document(config={**CONFIG, "digest": "sha256:/etc/passwd"}),
        mt.OCI_MANIFEST,
    ),
    "CVE-2024-3727-index": (
        "a manifest's",
        index(manifests=[{**CHILD, "digest": "../../v2/secret"}]),
        mt.OCI_INDEX,
    ),
    "CVE-2024-3727-query": (
        "a digest with a query",
        layer(digest=f"{OTHER}?x="),
        mt.OCI_MANIFEST,
    ),
    "CVE-2024-3727-newline": ("with a line end", layer(digest=f"{OTHER}\n"), mt.OCI_MANIFEST),
    "CVE-2024-3727-upper": ("in capitals", layer(digest=OTHER.upper()), mt.OCI_MANIFEST),
    "CVE-2024-3727-short": ("too short", layer(digest=OTHER[:-2]), mt.OCI_MANIFEST),
    "CVE-2024-3727-none": ("none", layer(digest=""), mt.OCI_MANIFEST),
    "CVE-2024-3727-subject": (
        "a subject's",
        document(subject={**CHILD, "digest": "sha256:.."}),
        mt.OCI_MANIFEST,
    ),
    "CVE-2023-25153-negative": ("a size below 0", layer(size=-1), mt.OCI_MANIFEST),
    "CVE-2023-25153-overflow": ("a size of 2^63", layer(size=1 << 63), mt.OCI_MANIFEST),
    "CVE-2023-25153-fraction": ("a size of 1.5", layer(size=1.5), mt.OCI_MANIFEST),
    "CVE-2023-25153-boolean": ("a size of true", layer(size=True), mt.OCI_MANIFEST),
    "CVE-2020-10735-number": (
        "a number of 100,000 digits",
        BODY[:-1] + b',"x":' + b"9" * 100_000 + b"}",
        mt.OCI_MANIFEST,
    ),
    "RFC-8259-9-nested": ("lists in lists", b"[" * 1_000_000, mt.OCI_MANIFEST),
    "RFC-8259-6-nan": ("not a number", BODY[:-1] + b',"x":NaN}', mt.OCI_MANIFEST),
    "RFC-8259-8.1-bom": ("a byte order mark", b"\xef\xbb\xbf" + BODY, mt.OCI_MANIFEST),
    "RFC-8259-8.1-utf-16": ("UTF-16", BODY.decode().encode("utf-16"), mt.OCI_MANIFEST),
    "RFC-8259-8.2-surrogate": ("half a character", _SURROGATE, mt.OCI_MANIFEST),
    "RFC-8259-2-rest": ("something behind it", BODY + b"{}", mt.OCI_MANIFEST),
    "distribution-spec-html": ("a login page", b"<html>", "text/html"),
}
for _name, (_about, _body, _type) in _BAD.items():
    BOOK.refusal(
        _name,
        _about,
        resolve,
        {("GET", TAGGED): manifest(_body, _type)},
        RegistryError,
        *_WORDS,
    )

# Digests of the whole.

_HEADERS: dict[str, tuple[str, str, type[ContainerdError]]] = {
    "CVE-2024-3727-header": ("a path", "sha256:../canary", RegistryError),
    "CVE-2024-3727-header-twice": ("two", f"{OTHER}, {TARGET.digest}", RegistryError),
    "CVE-2024-3727-header-md5": ("a weak one", "md5:" + "0" * 32, RegistryError),
    "distribution-spec-digest-header": ("another", OTHER, DigestMismatch),
    "distribution-spec-digest-sha512": (
        "another of another kind",
        "sha512:" + "0" * 128,
        DigestMismatch,
    ),
}
for _name, (_about, _digest, _error) in _HEADERS.items():
    BOOK.refusal(
        _name,
        f"Docker-Content-Digest: {_about}",
        resolve,
        {("GET", TAGGED): manifest(digest=_digest)},
        _error,
    )


def _pinned(stage: Stage, answer: bytes, error: type[ContainerdError]) -> None:
    """The reference has a digest; HEAD or GET gives something else."""
    reference = Reference.parse(f"{stage.server.host}/app@{TARGET.digest}")
    stage.server.on("HEAD", PINNED, reply(405))
    stage.server.on("GET", PINNED, answer)
    with stage.refused(error, TARGET.digest):
        stage.client().resolve(reference)


_CHANGED = BODY.replace(b'"size": 2', b'"size": 3')
for _name, _about, _answer in (
    ("changed", "one bit of it is another", manifest(_CHANGED, digest=TARGET.digest)),
    ("renamed", "it says that it is another", manifest(digest=OTHER)),
    ("honest", "it is another, and says so", manifest(_CHANGED)),
    ("unnamed", "it says nothing", reply(200, _CHANGED, Content_Type=mt.OCI_MANIFEST)),
):
    BOOK.case(f"CVE-2014-8178-{_name}", _about)(
        partial(_pinned, answer=_answer, error=DigestMismatch)
    )
for _name, _about, _answer, _error in (
    ("changed", "other content", manifest(_CHANGED, digest=TARGET.digest), DigestMismatch),
    ("longer", "a space too many", manifest(BODY + b" "), SizeMismatch),
    ("typed", "another type", manifest(kind=mt.OCI_INDEX), RegistryError),
):
    BOOK.refusal(
        f"distribution-spec-pull-manifest-{_name}",
        f"a manifest by its descriptor: {_about}",
        fetch,
        {("GET", PINNED): _answer},
        _error,
        TARGET.digest,
    )


@BOOK.case("distribution-spec-content-type", "parameters of the Content-Type are ignored")
def _(stage: Stage) -> None:
    stage.server.on("GET", TAGGED, manifest(kind=f"{mt.OCI_MANIFEST}; charset=utf-8"))
    assert resolve(stage) == TARGET


@BOOK.case("distribution-spec-pull-sha512", "a digest of sha512 is verified as well")
def _(stage: Stage) -> None:
    digest = digests.of(BODY, "sha512")
    path = f"/v2/app/manifests/{digest}"
    reference = Reference.parse(f"{stage.server.host}/app@{digest}")
    registry = stage.client()
    stage.server.on("GET", path, manifest(_CHANGED, digest=digests.of(_CHANGED)))
    with stage.refused(DigestMismatch, digest):
        registry.resolve(reference)
    stage.server.on("GET", path, manifest(digest=TARGET.digest))
    assert registry.resolve(reference).digest == digest


# Errors that are shown to somebody.

_ERRORS: dict[str, object] = {
    "CVE-2003-0063-escape": {"errors": [{"code": "\x1b]0;X\x07", "message": "\x1b[31m\r\n\x9b"}]},
    "CVE-2021-42574-bidi": {"errors": [{"code": "A", "message": "\u202egnp.exe"}]},
    "distribution-spec-errors-many": {"errors": [{"code": "A" * 999}] * 10_000},
    "distribution-spec-errors-long": {"errors": [{"code": "A", "message": "m" * 900_000}]},
    "distribution-spec-errors-odd": {"errors": [7, None, {"code": []}]},
    "distribution-spec-errors-html": "<html>\x1b[2J</html>",
    "distribution-spec-errors-nested": "[" * 900_000,
}


for _name, _value in _ERRORS.items():

    @BOOK.case(_name, "an error body that must not be shown as it is")
    def _(stage: Stage, value: object = _value) -> None:
        for status, error in ((404, RegistryNotFound), (500, RegistryUnavailable)):
            stage.server.on("GET", TAGGED, reply(status, value))
            with stage.refused(error, f"HTTP {status}") as caught:
                resolve(stage)
            assert len(str(caught.value)) < 4000


@BOOK.case("distribution-spec-warnings", "a thousand warnings, and none that moves the cursor")
def _(stage: Stage) -> None:
    for number in range(20):
        lines = "".join(f'Warning: 299 - "\x1b[2J {number} {k} x"\r\n' for k in range(80))
        stage.server.on("HEAD", TAGGED, manifest().replace(b"\r\n", b"\r\n" + lines.encode(), 1))
        if not number:
            registry = stage.client()
        assert registry.resolve(stage.ref) == TARGET
    assert len(registry.warnings) == 100
    assert all(text.isprintable() for text in registry.warnings)


@pytest.mark.parametrize("name", BOOK)
def test_attack(name: str, tmp_path: Path) -> None:
    BOOK.perform(name, tmp_path)

"""Shapes of JSON documents: manifests, indexes, configs, layouts, and Docker's formats."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from containerd_lite.images import names
from containerd_lite.images.platforms import Platforms, best, find_manifest
from containerd_lite.images.pull.cri_labels import append_info
from containerd_lite.oci import config, digest, manifest, platform, reference, schema1
from containerd_lite.oci import media_types as types
from containerd_lite.oci.descriptor import Descriptor, check_media_type
from containerd_lite.oci.document import _MAX_MARKS, MAX_DOCUMENT, Document
from containerd_lite.oci.image_record import recorded
from containerd_lite.printable import quoted
from containerd_lite.store.layout_index import entries, parse_index
from tests.hostile.growth.measuring import Shape, repeating

DIGEST = "sha256:" + "ab" * 32
_AMD = platform.parse("linux/amd64")
_ARM = platform.parse("linux/arm64/v9.5")


def _marks(text: str) -> int:
    return sum(map(text.count, ",[{"))


def _json(
    reader: str, name: str, unit: str, before: str = "", after: str = "", **options: Any
) -> Shape:
    """A JSON object with a list of equal items, as large as bytes and values permit."""
    room = (MAX_DOCUMENT - len(before) - len(after)) // len(unit)
    if marks := _marks(unit):
        room = min(room, (_MAX_MARKS - _marks(before + after)) // marks)

    def make(n: int) -> bytes:
        return (before + unit * n + after).encode()

    return Shape(reader, name, make, READERS[reader], room, **options)


def _numbered(reader: str, name: str, item: str, before: str, after: str, **options: Any) -> Shape:
    """A JSON object with a list of items; ``#`` in an item stands for its number."""
    width = 7
    unit = len(item.replace("#", "0" * width)) + 1
    room = (MAX_DOCUMENT - len(before) - len(after)) // unit
    room = min(room, (_MAX_MARKS - _marks(before + after)) // (_marks(item) + 1))
    options = {"is_table": True, **options}

    def make(n: int) -> bytes:
        items = ",".join(item.replace("#", f"{number:0{width}}") for number in range(n))
        return f"{before}{items}{after}".encode()

    return Shape(reader, name, make, READERS[reader], room, **options)


def _read_json(body: bytes) -> object:
    return Document.parse(body, "it")


def _list_names(body: bytes) -> object:
    """What ``LayoutNames.list`` does with an index."""
    return [
        recorded("a", Descriptor.read(entry))
        for entry in entries(parse_index(body))
        if entry.document("annotations")
    ]


def _choose(body: bytes) -> object:
    found = manifest.parse(body)
    assert isinstance(found, manifest.Index)
    return best(found, _ARM), Platforms(None).choose(found, "it")


def _search(body: bytes) -> object:
    target = Descriptor(types.OCI_INDEX, DIGEST, 1)
    found = iter((body, f"{_MANIFEST}]}}".encode()))  # the chosen entry is an image
    return find_manifest("it", target, _AMD, lambda _: manifest.parse(next(found)))


def _annotate(body: bytes) -> object:
    found = manifest.parse(body)
    return append_info("busybox")(lambda _: found.children)(
        Descriptor(types.OCI_MANIFEST, DIGEST, 1)
    )


def _convert(body: bytes) -> object:
    return schema1.parse(schema1.payload(body))


READERS: dict[str, Callable[[Any], object]] = {
    "JSON": _read_json,
    "manifest": manifest.parse,
    "index": manifest.parse,
    "choice of a platform": _choose,
    "search for a manifest": _search,
    "labels for lazy snapshotters": _annotate,
    "image config": config.ImageConfig.parse,
    "layout index": _list_names,
    "schema 1": _convert,
}

_LAYER = f'{{"mediaType":"{types.OCI_LAYER}","digest":"{DIGEST}","size":1'
_ENTRY = f'{{"mediaType":"{types.OCI_MANIFEST}","digest":"{DIGEST}","size":1'
_SMALL = f'{{"mediaType":"a/b","digest":"{DIGEST}","size":1'
_MANIFEST = f'{{"schemaVersion":2,"mediaType":"{types.OCI_MANIFEST}","config":{_SMALL}}},"layers":['
_INDEX = f'{{"schemaVersion":2,"mediaType":"{types.OCI_INDEX}","manifests":['
_OFFER = ',"platform":{"os":"linux","architecture":"arm64","variant":"v7.#"}}'
_PROTECTED = base64.urlsafe_b64encode(b'{"formatLength":1,"formatTail":"fQ"}').decode().rstrip("=")
_SCHEMA1 = '{"schemaVersion":1,"fsLayers":['


DOCUMENTS = [
    _json("JSON", "empty lists", "[],", '{"a":[', "0]}", memory=48),
    _json("JSON", "empty objects", "{},", '{"a":[', "0]}", memory=48),
    _json("JSON", "brackets without an end", "[", '{"a":'),
    _json("JSON", "objects without an end", '{"a":', memory=32),
    _json("JSON", "one long number", "1", '{"a":', "}"),
    _json("JSON", "a long fraction", "1", '{"a":0.', "}"),
    _json("JSON", "a long exponent", "1", '{"a":1e', "}"),
    _json("JSON", "a long exponent of zeros", "0", '{"a":1e-', "1}"),
    _json("JSON", "one long text", "x", '{"a":"', '"}'),
    _json("JSON", "escapes", "\\u00e9", '{"a":"', '"}'),
    _json("JSON", "lone surrogates", "\\ud800", '{"a":"', '"}'),
    _json("JSON", "a text without an end", '\\"', '{"a":"'),
    _json("JSON", "blanks", " \n", "{"),
    _json("JSON", "fractions", "0.1,", '{"a":[', "0]}", memory=32),
    _numbered("JSON", "many fields", '"#":0', "{", "}", memory=32),
    _json("manifest", "layers", f"{_LAYER}}},", _MANIFEST, f"{_LAYER}}}]}}"),
    _json("manifest", "small layers", f"{_SMALL}}},", _MANIFEST, f"{_SMALL}}}]}}"),
    _json(
        "manifest",
        "layers with all fields",
        f'{_SMALL},"urls":[],"annotations":{{}},"platform":{{}}}},',
        _MANIFEST,
        f"{_SMALL}}}]}}",
    ),
    _json("manifest", "a long media type", "x", '{"schemaVersion":2,"mediaType":"', '"}'),
    _json("manifest", "a long type of an artifact", "x", _MANIFEST + '],"artifactType":"', '"}'),
    _numbered(
        "manifest", "annotations", '"#":""', _MANIFEST + '],"annotations":{', "}}", memory=48
    ),
    _json("manifest", "embedded data", "AAAA", _MANIFEST + f'{_SMALL},"data":"', '"}]}'),
    _json("manifest", "a size that is a list", "[],", _MANIFEST + '{"size":[', "0]}]}", memory=48),
    _json("index", "entries", f"{_ENTRY}}},", _INDEX, f"{_ENTRY}}}]}}"),
    _json(
        "index",
        "features of a platform",
        '"a",',
        _INDEX + _ENTRY + ',"platform":{"os.features":[',
        '"a"]}}]}',
        memory=32,
    ),
    _numbered("choice of a platform", "platforms", _ENTRY + _OFFER, _INDEX, "]}", memory=32),
    _numbered(
        "choice of a platform",
        "features",
        '"#"',
        _INDEX + _ENTRY + ',"platform":{"os":"linux","architecture":"arm64","os.features":[',
        "]}}]}",
        memory=48,
    ),
    _json(
        "search for a manifest",
        "nested indexes",
        f'{_ENTRY[:-1]}1,"platform":{{}}}},',
        _INDEX,
        f'{_ENTRY},"platform":{{"os":"linux","architecture":"amd64"}}}}]}}',
    ),
    _json(
        "labels for lazy snapshotters",
        "layers",
        f"{_LAYER}}},",
        _MANIFEST,
        f"{_LAYER}}}]}}",
        memory=48,
    ),
    _json(
        "labels for lazy snapshotters",
        "artifacts after layers",
        f"{_LAYER}}},{_SMALL}}},{_SMALL}}},{_SMALL}}},",
        _MANIFEST,
        f"{_LAYER}}}]}}",
        memory=48,
    ),
    _json("image config", "history", "{},", '{"rootfs":{},"history":[', "{}]}", memory=96),
    _json(
        "image config", "diff IDs", f'"{DIGEST}",', '{"rootfs":{"diff_ids":[', f'"{DIGEST}"]}}}}'
    ),
    _json(
        "image config", "variables", '"a",', '{"rootfs":{},"config":{"Env":[', '"a"]}}', memory=32
    ),
    _numbered(
        "image config", "labels", '"#":""', '{"rootfs":{},"config":{"Labels":{', "}}}", memory=48
    ),
    _numbered(
        "image config", "volumes", '"#":{}', '{"rootfs":{},"config":{"Volumes":{', "}}}", memory=48
    ),
    _json("image config", "a long name of a system", "x", '{"rootfs":{},"os":"', '"}'),
    _numbered(
        "layout index",
        "names",
        _ENTRY + ',"annotations":{"org.opencontainers.image.ref.name":"#"}}',
        _INDEX,
        "]}",
    ),
    _numbered(
        "layout index",
        "annotations",
        '"#":""',
        _INDEX + _ENTRY + ',"annotations":{',
        "}}]}",
        memory=48,
    ),
    _json(
        "schema 1",
        "signatures",
        f'{{"protected":"{_PROTECTED}"}},',
        _SCHEMA1 + '],"signatures":[',
        f'{{"protected":"{_PROTECTED}"}}]}}',
        memory=32,
    ),
    _json(
        "schema 1", "layers", f'{{"blobSum":"{DIGEST}"}},', _SCHEMA1, f'{{"blobSum":"{DIGEST}"}}]}}'
    ),
    _json(
        "schema 1",
        "history",
        '{"v1Compatibility":"{}"},',
        _SCHEMA1 + '],"history":[',
        '{"v1Compatibility":"{}"}]}',
        memory=64,
    ),
    _json(
        "schema 1",
        "a long time",
        "1",
        _SCHEMA1 + f'{{"blobSum":"{DIGEST}"}}],"history":['
        '{"v1Compatibility":"{\\"created\\":\\"2026-01-01T00:00:00.',
        'Z\\"}"}]}',
    ),
    _json(
        "schema 1",
        "a command",
        '\\"a\\",',
        _SCHEMA1 + f'{{"blobSum":"{DIGEST}"}}],"history":['
        '{"v1Compatibility":"{\\"container_config\\":{\\"Cmd\\":[',
        '\\"\\"]}}"}]}',
        memory=32,
    ),
    repeating("error message", "a long text", quoted, "\0", limit=16 << 20),
    Shape("error message", "a long list", lambda n: [0] * n, quoted, 1 << 20, weigh=len),
    repeating("digest", "digits", digest.is_digest, "a", before="sha256:", limit=MAX_DOCUMENT),
    repeating("media type", "letters", check_media_type, "a", before="a/", limit=MAX_DOCUMENT),
    repeating("media type", "parameters", types.bare, "; a", before="a/b", limit=64 << 10),
    repeating("platform", "slashes", platform.parse, "/a", before="a", limit=MAX_DOCUMENT),
    repeating("platform", "a long system", platform.parse, "(", before="a", limit=MAX_DOCUMENT),
    repeating("platform", "a long version", platform.parse, ".", before="a(", limit=MAX_DOCUMENT),
    repeating(
        "reference", "labels of a host", reference.is_host, "a.", after="!", limit=MAX_DOCUMENT
    ),
    repeating("reference", "a long label", reference.is_host, "a", after="!", limit=MAX_DOCUMENT),
    repeating("reference", "hyphens", reference.is_host, "a-", after="!", limit=MAX_DOCUMENT),
    repeating("reference", "components", names.parse_name, "a__", after="!", limit=MAX_DOCUMENT),
    repeating(
        "reference",
        "hyphens of a component",
        names.parse_name,
        "-",
        before="a/b",
        limit=reference.MAX_REFERENCE,
    ),
]

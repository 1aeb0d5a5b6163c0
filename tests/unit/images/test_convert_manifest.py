"""Configs that are called a stream of octets."""

from __future__ import annotations

from pathlib import Path

import pytest

from containerd_lite.errors import NotFound
from containerd_lite.images.job import Job
from containerd_lite.images.pull.convert_manifest import repair_octet_config
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.document import MAX_DOCUMENT
from containerd_lite.store.blob_writes import indented_json
from containerd_lite.store.layout_store import LayoutStore
from containerd_lite.store.protocol import read_blob
from tests.harness import images

OCTETS = "application/octet-stream"


def called_octets(manifest: images.Json) -> None:
    manifest["config"]["mediaType"] = OCTETS


def annotated(manifest: images.Json) -> None:
    called_octets(manifest)
    manifest["annotations"] = {"b": "<&>", "a": "\u2028"}
    manifest["layers"][0]["annotations"] = {"d": "1", "c": "2"}
    del manifest["mediaType"]


def stored(image: images.Image, folder: Path) -> tuple[LayoutStore, Descriptor]:
    images.write_layout(image, folder)
    return LayoutStore(folder), Descriptor.from_json(image.manifest)


LAYER = images.layer({"a": b"x"})


def test_the_config_is_called_what_it_is(tmp_path: Path) -> None:
    image = images.build([LAYER], docker=True, change_manifest=called_octets)
    store, target = stored(image, tmp_path)
    made = repair_octet_config(store, target, Job())
    body = read_blob(store, made, MAX_DOCUMENT)
    config, layer = image.json()["config"], image.layers[0]
    assert body.decode() == (
        '{\n   "schemaVersion": 2,\n'
        f'   "mediaType": "{media_types.DOCKER_MANIFEST}",\n'
        '   "config": {\n'
        f'      "mediaType": "{media_types.DOCKER_CONFIG}",\n'
        f'      "digest": "{config["digest"]}",\n'
        f'      "size": {config["size"]}\n'
        "   },\n"
        '   "layers": [\n'
        "      {\n"
        f'         "mediaType": "{media_types.DOCKER_LAYER_GZIP}",\n'
        f'         "digest": "{layer["digest"]}",\n'
        f'         "size": {layer["size"]}\n'
        "      }\n"
        "   ]\n"
        "}"
    )
    assert made == Descriptor(media_types.DOCKER_MANIFEST, images.digest_of(body), len(body))
    assert repair_octet_config(store, made, Job()) == made


def test_the_rest_stays_as_it_is(tmp_path: Path) -> None:
    image = images.build([LAYER], docker=True, change_manifest=annotated)
    store, target = stored(image, tmp_path)
    target = Descriptor(target.media_type, target.digest, target.size, {"name": "value"})
    made = repair_octet_config(store, target, Job())
    assert made.annotations == {"name": "value"}
    body = read_blob(store, made, MAX_DOCUMENT)
    assert body.startswith(b'{\n   "schemaVersion": 2,\n   "config"')
    assert body.index(b'"c": "2"') < body.index(b'"d": "1"')
    ending = (
        b'   "annotations": {\n      "a": "\\u2028",\n      "b": "\\u003c\\u0026\\u003e"\n   }\n}'
    )
    assert body.endswith(ending)


@pytest.mark.parametrize("docker", [False, True])
def test_what_is_well_is_left_alone(tmp_path: Path, docker: bool) -> None:
    image = images.build([LAYER], docker=docker)
    index = images.index_of({"linux/amd64": image}, docker=docker)
    store, target = stored(index, tmp_path)
    before = list(store.walk())
    for one in (target, Descriptor.from_json(image.manifest)):
        assert repair_octet_config(store, one, Job()) is one
    assert list(store.walk()) == before


def test_an_index_is_left_alone(tmp_path: Path) -> None:
    """As containerd does: what it lists would have other digests."""
    image = images.build([LAYER], docker=True, change_manifest=called_octets)
    store, target = stored(images.index_of({"linux/amd64": image}, docker=True), tmp_path)
    assert repair_octet_config(store, target, Job()) is target


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    image = images.build([LAYER], docker=True)
    with pytest.raises(NotFound):
        repair_octet_config(LayoutStore(tmp_path), Descriptor.from_json(image.manifest), Job())


def test_json_as_go_writes_it() -> None:
    value = {"a": [], "b": {}, "c": ["é<\u2029"], "d": True}
    assert indented_json(value).decode() == (
        '{\n   "a": [],\n   "b": {},\n   "c": [\n      "é\\u003c\\u2029"\n   ],\n   "d": true\n}'
    )

"""Images made by the harness: the same every time, and what they say is true unless asked."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from pathlib import Path

import pytest

from tests.harness import images

FILES: images.Files = {
    "bin": None,
    "bin/tool": images.Entry(b"#!tool", 0o755, uid=7),
    "bin/alias": "tool",
    "etc/motd": b"hello",
}


def test_the_same_call_gives_the_same_bytes() -> None:
    assert images.scratch(FILES) == images.scratch(FILES)
    assert images.random_image([10, 5 << 20], seed=3) == images.random_image([10, 5 << 20], seed=3)
    assert images.random_image([10], seed=3).digest != images.random_image([10], seed=4).digest


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_every_digest_and_size_is_true(docker: bool, compression: str) -> None:
    image = images.scratch(FILES, docker=docker, compression=compression)
    assert image.manifest["mediaType"] == image.json()["mediaType"]
    for one in [image.manifest, image.json()["config"], *image.layers]:
        blob = image.blobs[one["digest"]]
        assert one["digest"] == "sha256:" + hashlib.sha256(blob).hexdigest()
        assert one["size"] == len(blob)
    blob = image.blobs[image.layers[0]["digest"]]
    plain = zlib.decompress(blob, 31) if compression == "gzip" else blob
    assert image.config["rootfs"]["diff_ids"] == [images.digest_of(plain)]
    assert ("gzip" in image.layers[0]["mediaType"]) == (compression == "gzip")
    assert ("docker" in image.layers[0]["mediaType"]) == docker


def test_a_layer_holds_what_it_was_given() -> None:
    plain = images.layer(FILES, "none").blob
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        assert archive.getnames() == list(FILES)
        tool, alias = archive.getmember("bin/tool"), archive.getmember("bin/alias")
        assert (tool.mode, tool.uid, tool.mtime, alias.linkname) == (0o755, 7, 0, "tool")
        assert archive.getmember("bin").isdir()


def test_what_is_wrong_is_wrong_on_purpose() -> None:
    good = images.scratch(FILES)
    wrong = images.scratch(FILES, change_config=images.wrong_diff_ids)
    assert wrong.config["rootfs"]["diff_ids"] != good.config["rootfs"]["diff_ids"]
    assert wrong.layers == good.layers
    assert images.scratch(FILES, change_config=dict.clear).config == {}
    bare = images.scratch(change_manifest=lambda manifest: manifest.pop("mediaType"))
    assert "mediaType" not in bare.json()
    assert bare.layers == []


def test_an_index_holds_its_images() -> None:
    parts = {name: images.scratch(FILES, platform=name) for name in ("linux/amd64", "linux/arm/v7")}
    index = images.index_of(parts, annotations={"a": "b"})
    listed = index.json()["manifests"]
    assert [one["platform"] for one in listed] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm", "os": "linux", "variant": "v7"},
    ]
    assert index.json()["annotations"] == {"a": "b"}
    assert all(index.blobs[one["digest"]] for one in listed)
    assert parts["linux/arm/v7"].config["variant"] == "v7"


def test_a_layout_is_complete(tmp_path: Path) -> None:
    image = images.scratch(FILES)
    folder = images.write_layout(image, tmp_path / "layout", "latest")
    index = json.loads((folder / "index.json").read_text())
    (entry,) = index["manifests"]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "latest"}
    assert entry["digest"] == image.digest
    written = {f"sha256:{path.name}" for path in (folder / "blobs" / "sha256").iterdir()}
    assert written == set(image.blobs)

"""Archives of images, made by Python's tarfile alone; nothing here uses the product."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.harness import images
from tests.harness.images import Image, encode

Json = dict[str, Any]
IMAGE_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'


def packed(files: Iterable[tuple[str, bytes | str]]) -> bytes:
    """A tar of files by name, in the order given; a string is a symbolic link's target."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def unpacked(archive: bytes) -> dict[str, bytes]:
    """The files of a tar by name."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        files = [(one.name, found.extractfile(one)) for one in found if one.isreg()]
        return {name: file.read() for name, file in files if file}


def index_json(entries: Sequence[Json]) -> bytes:
    return encode({"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": list(entries)})


def entry(image: Image, **annotations: str) -> Json:
    named = {"annotations": annotations} if annotations else {}
    return {**image.manifest, **named}


def named(image: Image, name: str) -> Json:
    """The entry of an image as containerd's exporter names it."""
    return entry(image, **{IMAGE_NAME: name, REF_NAME: name.rpartition(":")[2]})


def blobs(*several: Image, without: Iterable[str] = ()) -> list[tuple[str, bytes]]:
    found = {digest: blob for image in several for digest, blob in image.blobs.items()}
    left_out = set(without)
    return [
        (f"blobs/{digest.replace(':', '/')}", blob)
        for digest, blob in sorted(found.items())
        if digest not in left_out
    ]


def oci(entries: Sequence[Json], *several: Image, without: Iterable[str] = ()) -> bytes:
    """An OCI layout archive of these entries of the index, with the blobs of these images."""
    index = ("index.json", index_json(entries))
    return packed([*blobs(*several, without=without), index, ("oci-layout", LAYOUT)])


def docker_files(image: Image, *tags: str) -> tuple[dict[str, bytes], Json]:
    """The files of an image as ``docker save`` of old lays them out, and its entry."""
    config = image.json()["config"]["digest"].partition(":")[2] + ".json"
    files = {config: image.blobs[image.json()["config"]["digest"]]}
    paths = []
    for layer in image.layers:
        folder = layer["digest"].partition(":")[2]
        paths.append(f"{folder}/layer.tar")
        files[f"{folder}/VERSION"] = b"1.0"
        files[f"{folder}/json"] = b"{}"
        files[paths[-1]] = image.blobs[layer["digest"]]
    return files, {"Config": config, "RepoTags": list(tags) or None, "Layers": paths}


def docker(several: Mapping[str, Image]) -> bytes:
    """A docker archive of images by tag."""
    files: dict[str, bytes] = {}
    entries = []
    for tag, image in several.items():
        more, saved = docker_files(image, tag)
        files.update(more)
        entries.append(saved)
    return packed([*files.items(), ("manifest.json", json.dumps(entries).encode())])

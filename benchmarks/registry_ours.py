"""The contender of containerd_lite in ``benchmarks.registry``, and the image that it uses."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from benchmarks.measure import Run
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.registry import Registry

MIB = 1 << 20
TAG = "v1"


def fetch(host: str, repository: str, folder: str, workers: str) -> Run:
    """Fetch the blobs of an image into a folder, and delete the folder afterwards."""
    reference = Reference.parse(f"{host}/{repository}:{TAG}")

    def run() -> int:
        with (
            Registry(host, hosts_dirs=()) as registry,
            tempfile.TemporaryDirectory(dir=folder) as name,
        ):

            def fetch_blob(blob: Descriptor) -> None:
                buffer = memoryview(bytearray(min(MIB, blob.size)))
                path = Path(name, digests.encoded(blob.digest))
                with (
                    registry.open_blob(reference, blob) as reader,
                    path.open("wb", buffering=0) as file,
                ):
                    while count := reader.readinto(buffer):
                        file.write(buffer[:count])

            target = registry.resolve(reference)
            descriptors = blobs(registry.fetch_manifest(reference, target))
            return _transfer_all(fetch_blob, descriptors, int(workers))

    return run


def upload(host: str, repository: str, layout: str, workers: str) -> Run:
    """Upload the image of an OCI layout, each time to a new repository."""
    numbers, folder = count(), Path(layout)
    manifest = manifest_of(folder)

    def run() -> int:
        with Registry(host, hosts_dirs=()) as registry:
            reference = Reference.parse(f"{host}/{repository}-{next(numbers)}:{TAG}")

            def upload_blob(blob: Descriptor) -> None:
                registry.upload_blob(reference, blob, path_of(folder, blob.digest))

            size = _transfer_all(upload_blob, blobs(manifest), int(workers))
            registry.push_manifest(reference, manifest)
            return size

    return run


def _transfer_all(
    transfer: Callable[[Descriptor], None], descriptors: Iterable[Descriptor], workers: int
) -> int:
    descriptors = list(descriptors)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(transfer, descriptors))
    return sum(blob.size for blob in descriptors)


# ---- the image ---------------------------------------------------------------------------------


def blobs(manifest: bytes) -> Iterator[Descriptor]:
    """Return the descriptors of the config and the layers."""
    document = json.loads(manifest)
    return map(Descriptor.from_json, [document["config"], *document["layers"]])


def path_of(layout: Path, digest: str) -> Path:
    """Return the file of a blob in an OCI layout."""
    return layout / "blobs" / "sha256" / digests.encoded(digest)


def manifest_of(layout: Path) -> bytes:
    """Return the manifest of the only image in an OCI layout."""
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    return path_of(layout, entry["digest"]).read_bytes()


def make_layout(folder: Path, sizes: list[int]) -> Path:
    """Make an OCI layout with one image whose layers are random bytes."""
    (folder / "blobs" / "sha256").mkdir(parents=True)

    def put(body: bytes, media_type: str) -> dict[str, object]:
        blob = Descriptor(media_type, digests.of(body), len(body))
        path_of(folder, blob.digest).write_bytes(body)
        return blob.to_json()

    layers = [put(os.urandom(size), media_types.OCI_LAYER) for size in sizes]
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs})
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": put(config.encode(), media_types.OCI_CONFIG),
        "layers": layers,
    }
    entry = put(json.dumps(manifest).encode(), media_types.OCI_MANIFEST)
    entry["annotations"] = {"org.opencontainers.image.ref.name": TAG}
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return folder

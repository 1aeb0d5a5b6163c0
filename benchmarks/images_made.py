"""Makes the images of ``benchmarks.images`` as OCI layouts: a few large layers, or many small ones.

Layers are gzip, as in registries. The gzip of random bytes stores them without compression: to
unpack them, the daemon spends time on disk writes and digests, but hardly on decompression.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from benchmarks.registry_ours import MIB, TAG, path_of
from tests.harness.images import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Json,
    build,
    descriptor,
    encode,
    layer,
    machine_platform,
    platform_json,
    write_layout,
)

_SMALL_LAYERS, _SMALL_FILES, _SMALL_SIZES = 60, 50, (1024, 20 * 1024)


def small(folder: Path) -> Path:
    """Make 60 layers of 50 files of 1 to 20 KiB, which compress to half their size."""
    source = random.Random(0)

    def file() -> bytes:
        return source.randbytes(source.randint(*_SMALL_SIZES) // 2).hex().encode()

    layers = [
        layer({f"small-{number}/{name}": file() for name in range(_SMALL_FILES)})
        for number in range(_SMALL_LAYERS)
    ]
    return write_layout(build(layers), folder, TAG)


def large(folder: Path, sizes: Iterable[int]) -> Path:
    """Make a layer with one file of random bytes for each size, with at most 1 MiB in memory."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    layers, diff_ids = [], []
    for number, size in enumerate(sizes):
        entry, diff_id = _layer(folder, f"large-{number}", size)
        layers.append(entry)
        diff_ids.append(diff_id)
    config = {
        **platform_json(machine_platform()),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _put(folder, config, OCI_CONFIG),
        "layers": layers,
    }
    entry = _put(folder, manifest, OCI_MANIFEST)
    entry["annotations"] = {"org.opencontainers.image.ref.name": TAG}
    (folder / "oci-layout").write_bytes(encode({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_bytes(encode({"schemaVersion": 2, "manifests": [entry]}))
    return folder


def _put(folder: Path, document: Json, media_type: str) -> Json:
    body = encode(document)
    blob = descriptor(media_type, body)
    path_of(folder, blob["digest"]).write_bytes(body)
    return blob


def _layer(folder: Path, name: str, size: int) -> tuple[Json, str]:
    """Write the blob of a layer piece by piece; return its descriptor and its diff ID."""
    path = folder / "making"
    with path.open("wb") as file:
        gzip = _Gzip(file)
        info = tarfile.TarInfo(name)
        info.size = size
        with tarfile.open(
            fileobj=gzip, mode="w|", bufsize=MIB, format=tarfile.PAX_FORMAT
        ) as archive:
            archive.addfile(info, _Random())
        gzip.end()
    path.rename(path_of(folder, gzip.digest))
    entry: Json = {"mediaType": f"{OCI_LAYER}+gzip", "digest": gzip.digest, "size": gzip.size}
    return entry, f"sha256:{gzip.plain.hexdigest()}"


class _Random(io.RawIOBase):
    """An endless file of random bytes."""

    def read(self, size: int = -1) -> bytes:
        return os.urandom(size)


class _Gzip(io.RawIOBase):
    """Writes data to a file as gzip without compression; hashes the data and the gzip."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._packer = zlib.compressobj(0, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        self._packed = hashlib.sha256()
        self.plain = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.plain.update(data)
        self._write_packed(self._packer.compress(data))
        return len(data)

    def end(self) -> None:
        self._write_packed(self._packer.flush())

    def _write_packed(self, packed: bytes) -> None:
        self._packed.update(packed)
        self._file.write(packed)
        self.size += len(packed)

    @property
    def digest(self) -> str:
        return f"sha256:{self._packed.hexdigest()}"

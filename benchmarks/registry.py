"""The registry client beside crane, skopeo and oras, on one local registry in the same run.

    TMPDIR=/dev/shm python -m benchmarks.registry [--rounds 5] [--mib 1024] [WORK…]

fetches and uploads eight blobs, one at a time and side by side.  Every contender is a program of
its own that starts, does it all and ends; it keeps what it fetches in files, verified.  Without a
TMPDIR in memory the disk takes part, and makes the rounds differ more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.measure import Run, measure, report
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.client import Registry
from tests.harness import debian
from tests.harness.registry import Registry as LocalRegistry

BLOBS = 8
MIB = 1 << 20
_ROOT = Path(__file__).resolve().parents[1]
_TAG = "v1"


# ---- ours, in a process of its own: python -m benchmarks.registry --child VERB … ---------------


def child(verb: str, host: str, repository: str, folder: str, workers: str) -> None:
    """Fetches an image's blobs into a folder, or uploads an OCI layout's."""
    work = _fetch if verb == "fetch" else _upload
    with Registry(host, hosts_dirs=()) as registry, ThreadPoolExecutor(int(workers)) as pool:
        reference = Reference.parse(f"{host}/{repository}:{_TAG}")
        work(registry, reference, Path(folder), pool.map)


_Map = Callable[[Callable[[Descriptor], None], Iterator[Descriptor]], Iterator[None]]


def _fetch(registry: Registry, reference: Reference, folder: Path, run: _Map) -> None:
    def one(blob: Descriptor) -> None:
        buffer = memoryview(bytearray(min(MIB, blob.size)))
        with (
            registry.open_blob(reference, blob) as reader,
            open(folder / digests.encoded(blob.digest), "wb", buffering=0) as file,
        ):
            while taken := reader.readinto(buffer):
                file.write(buffer[:taken])

    target = registry.resolve(reference)
    list(run(one, _blobs(registry.fetch_manifest(reference, target))))


def _upload(registry: Registry, reference: Reference, layout: Path, run: _Map) -> None:
    def one(blob: Descriptor) -> None:
        registry.upload_blob(reference, blob, _path(layout, blob))

    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = _path(layout, Descriptor.from_json(entry)).read_bytes()
    list(run(one, _blobs(manifest)))
    registry.push_manifest(reference, manifest)


def _blobs(manifest: bytes) -> Iterator[Descriptor]:
    document = json.loads(manifest)
    return map(Descriptor.from_json, [document["config"], *document["layers"]])


def _path(layout: Path, blob: Descriptor) -> Path:
    algorithm, _, name = blob.digest.partition(":")
    return layout / "blobs" / algorithm / name


# ---- what is fetched and uploaded --------------------------------------------------------------


def make_layout(folder: Path, sizes: list[int]) -> Path:
    """An OCI layout of one image whose layers are random bytes."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(body: bytes, media_type: str) -> dict[str, object]:
        blob = Descriptor(media_type, digests.of(body), len(body))
        _path(folder, blob).write_bytes(body)
        return blob.to_json()

    layers = [put(os.urandom(size), media_types.OCI_LAYER) for size in sizes]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}
    config["rootfs"] = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": put(json.dumps(config).encode(), media_types.OCI_CONFIG),
        "layers": layers,
    }
    entry = put(json.dumps(manifest).encode(), media_types.OCI_MANIFEST)
    entry["annotations"] = {"org.opencontainers.image.ref.name": _TAG}
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return folder


@dataclass(frozen=True)
class Setting:
    """The registry, the image of eight layers, and the eight images of one."""

    host: str
    folder: Path
    whole: Path
    singles: list[Path]
    size: int

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            yield Path(name)

    def digests(self, layout: Path) -> list[str]:
        (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
        manifest = _path(layout, Descriptor.from_json(entry)).read_bytes()
        return [blob.digest for blob in _blobs(manifest)][1:]


@contextmanager
def _setting(mib: int) -> Iterator[Setting]:
    with LocalRegistry() as registry, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        each = mib * MIB // BLOBS
        whole = make_layout(folder / "whole", [each] * BLOBS)
        singles = [make_layout(folder / f"single-{n}", [each]) for n in range(BLOBS)]
        setting = Setting(registry.host, folder, whole, singles, each * BLOBS)
        for repository, layout in _images(setting):
            _ours("upload", setting, repository, layout, 4)
        yield setting


def _images(setting: Setting) -> list[tuple[str, Path]]:
    return [("whole", setting.whole), *((p.name, p) for p in setting.singles)]


# ---- contenders --------------------------------------------------------------------------------


def _program(name: str, *arguments: str, output: Path | None = None, home: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(home), "LC_ALL": "C"}
    with open(output or os.devnull, "wb") as file:
        subprocess.run(
            [*debian.program(name).argv, *arguments], check=True, stdout=file, env=environment
        )


def _ours(verb: str, setting: Setting, repository: str, folder: Path, workers: int) -> None:
    child = [sys.executable, "-m", "benchmarks.registry", "--child"]
    arguments = [verb, setting.host, repository, str(folder), str(workers)]
    subprocess.run([*child, *arguments], check=True, cwd=_ROOT)


def _skopeo(*arguments: str, home: Path) -> None:
    flags = ("--insecure-policy", "--tmpdir", str(home), "--src-tls-verify=false")
    _program("skopeo", "copy", "-q", *flags, "--dest-tls-verify=false", *arguments, home=home)


def _oras(*arguments: str, home: Path) -> None:
    _program("oras", "cp", "--no-tty", *arguments, home=home)


def fetch(setting: Setting, workers: int) -> dict[str, Run]:
    """Whoever can, as one program; else a program a blob."""
    host, size = setting.host, setting.size

    def ours() -> int:
        with setting.scratch() as folder:
            _ours("fetch", setting, "whole", folder, workers)
        return size

    def oras() -> int:
        with setting.scratch() as folder:
            flags = ("--from-plain-http", "--to-oci-layout", f"--concurrency={workers}")
            _oras(*flags, f"{host}/whole:{_TAG}", f"{folder}/to:{_TAG}", home=folder)
        return size

    def crane() -> int:
        with setting.scratch() as folder:
            if workers > 1:
                image = f"{host}/whole:{_TAG}"
                _program("crane", "pull", "--format=oci", image, f"{folder}/to", home=folder)
                return size
            for digest in setting.digests(setting.whole):
                blob = f"{host}/whole@{digest}"
                _program("crane", "blob", blob, output=folder / digest, home=folder)
        return size

    def skopeo() -> int:
        names = ["whole"] if workers > 1 else [path.name for path in setting.singles]
        with setting.scratch() as folder:
            for name in names:
                target = f"oci:{folder}/{name}:{_TAG}"
                _skopeo(f"docker://{host}/{name}:{_TAG}", target, home=folder)
        return size

    return {"ours": ours, "oras": oras, "crane": crane, "skopeo": skopeo}


def upload(setting: Setting, workers: int) -> dict[str, Run]:
    """Each time to repositories that are new, so that every blob has to be sent."""
    host, size, numbers = setting.host, setting.size, count()

    def fresh() -> str:
        return f"new-{workers}-{next(numbers)}"

    def ours() -> int:
        _ours("upload", setting, fresh(), setting.whole, workers)
        return size

    def oras() -> int:
        with setting.scratch() as home:
            flags = ("--from-oci-layout", "--to-plain-http", f"--concurrency={workers}")
            _oras(*flags, f"{setting.whole}:{_TAG}", f"{host}/{fresh()}:{_TAG}", home=home)
        return size

    def crane() -> int:
        with setting.scratch() as home:
            for layout in [setting.whole] if workers > 1 else setting.singles:
                _program("crane", "push", str(layout), f"{host}/{fresh()}:{_TAG}", home=home)
        return size

    def skopeo() -> int:
        with setting.scratch() as home:
            for layout in [setting.whole] if workers > 1 else setting.singles:
                target = f"docker://{host}/{fresh()}:{_TAG}"
                _skopeo(f"oci:{layout}:{_TAG}", target, home=home)
        return size

    return {"ours": ours, "oras": oras, "crane": crane, "skopeo": skopeo}


def main() -> None:
    """Run all, or those that are named."""
    if sys.argv[1:2] == ["--child"]:
        return child(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=1024, help="of all eight blobs")
    parser.add_argument("work", nargs="*", help="fetch-1, fetch-8, upload-1, upload-8 (all)")
    options = parser.parse_args()
    with _setting(options.mib) as setting:
        for name in options.work or ("fetch-1", "fetch-8", "upload-1", "upload-8"):
            verb, _, workers = name.partition("-")
            contenders = (fetch if verb == "fetch" else upload)(setting, int(workers))
            title = f"{verb} {options.mib} MiB in {BLOBS} blobs, {workers} at a time"
            report(title, measure(contenders, options.rounds), "ms/GiB", 1e3 * (1 << 30))
    return None


if __name__ == "__main__":
    main()

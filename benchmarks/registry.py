"""Measures the registry client against crane, skopeo and oras, on one local registry.

Usage:

    TMPDIR=/dev/shm python -m benchmarks.registry [--rounds 5] [--mib 1024] [WORKLOAD…]

The workloads fetch and upload eight blobs, one at a time or all at once. Fetched blobs are
verified, and written to files. Our contender is a library in a process that runs already, as in a
program that imports it. The peers are programs. Each runs once, or once for each blob if it
cannot otherwise take one blob at a time. If TMPDIR is not in memory, the disk makes the rounds
differ more. The table gives the time for a GiB; ``ours/peer`` below 1 means that ours is faster.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.child import Child
from benchmarks.measure import Run, measure, report
from benchmarks.registry_ours import MIB, TAG, blobs, make_layout, manifest_of, upload
from tests.harness import debian
from tests.harness.registry import Registry as LocalRegistry

BLOBS = 8


@dataclass(frozen=True)
class Setting:
    """The registry, the image with eight layers, and eight images with one layer each."""

    host: str
    folder: Path
    whole: Path
    singles: list[Path]
    size: int

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a temporary folder."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            yield Path(name)


@contextmanager
def _setting(mib: int) -> Iterator[Setting]:
    with LocalRegistry() as registry, tempfile.TemporaryDirectory() as name:
        folder, each = Path(name), mib * MIB // BLOBS
        whole = make_layout(folder / "whole", [each] * BLOBS)
        singles = [make_layout(folder / f"single-{n}", [each]) for n in range(BLOBS)]
        for layout in (whole, *singles):
            upload(registry.host, layout.name, str(layout), "2")()
        yield Setting(registry.host, folder, whole, singles, each * BLOBS)


# ---- contenders --------------------------------------------------------------------------------


def _program(name: str, *arguments: str, home: Path, output: Path | None = None) -> None:
    # The last two variables keep skopeo from its cache of the places where blobs are.
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(home), "LC_ALL": "C"}
    environment |= {"XDG_RUNTIME_DIR": str(home), "_CONTAINERS_ROOTLESS_UID": "1"}
    with open(output or os.devnull, "wb") as file:
        subprocess.run(
            [*debian.program(name).argv, *arguments], check=True, stdout=file, env=environment
        )


def _skopeo(source: str, target: str, home: Path) -> None:
    flags = ("--insecure-policy", "--tmpdir", str(home), "--src-tls-verify=false")
    _program("skopeo", "copy", "-q", *flags, "--dest-tls-verify=false", source, target, home=home)


def fetching(setting: Setting, workers: int) -> dict[str, Run]:
    """Return the peers that fetch. The name of an image is its layout's and an upload number."""
    host, size = setting.host, setting.size
    whole = f"{host}/whole-0:{TAG}"

    def oras() -> int:
        with setting.scratch() as home:
            flags = ("--no-tty", "--from-plain-http", "--to-oci-layout")
            target = f"{home}/to:{TAG}"
            _program("oras", "cp", *flags, f"--concurrency={workers}", whole, target, home=home)
        return size

    def crane() -> int:
        with setting.scratch() as home:
            if workers > 1:
                _program("crane", "pull", "--format=oci", whole, f"{home}/to", home=home)
                return size
            for blob in blobs(manifest_of(setting.whole)):
                name = f"{host}/whole-0@{blob.digest}"
                _program("crane", "blob", name, output=home / blob.digest, home=home)
        return size

    def skopeo() -> int:
        with setting.scratch() as home:
            for layout in [setting.whole] if workers > 1 else setting.singles:
                source = f"docker://{host}/{layout.name}-0:{TAG}"
                _skopeo(source, f"oci:{home}/{layout.name}:{TAG}", home)
        return size

    return {"oras": oras, "crane": crane, "skopeo": skopeo}


def uploading(setting: Setting, workers: int) -> dict[str, Run]:
    """Return the peers that upload, each time to new repositories, so that they send every blob."""
    size, numbers = setting.size, count()
    layouts = [setting.whole] if workers > 1 else setting.singles

    def fresh() -> str:
        return f"{setting.host}/peer-{workers}-{next(numbers)}:{TAG}"

    def oras() -> int:
        with setting.scratch() as home:
            flags = ("--no-tty", "--from-oci-layout", "--to-plain-http")
            source = f"{setting.whole}:{TAG}"
            _program("oras", "cp", *flags, f"--concurrency={workers}", source, fresh(), home=home)
        return size

    def crane() -> int:
        with setting.scratch() as home:
            for layout in layouts:
                _program("crane", "push", str(layout), fresh(), home=home)
        return size

    def skopeo() -> int:
        with setting.scratch() as home:
            for layout in layouts:
                _skopeo(f"oci:{layout}:{TAG}", f"docker://{fresh()}", home)
        return size

    return {"oras": oras, "crane": crane, "skopeo": skopeo}


def _compare(name: str, setting: Setting, rounds: int, mib: int) -> None:
    verb, _, workers = name.partition("-")
    if verb == "fetch":
        paths, peers = ("whole-0", str(setting.folder)), fetching(setting, int(workers))
    else:
        paths, peers = (f"ours-{workers}", str(setting.whole)), uploading(setting, int(workers))
    with ExitStack() as stack:
        function = f"benchmarks.registry_ours:{verb}"
        ours = stack.enter_context(Child(function, setting.host, *paths, workers))
        title = f"{verb} {mib} MiB in {BLOBS} blobs, {workers} at a time"
        report(title, measure({"ours": ours, **peers}, rounds), "ms/GiB", 1e3 * (1 << 30))


def main() -> None:
    """Run the workloads named on the command line, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=1024, help="size of the 8 blobs together")
    parser.add_argument("workload", nargs="*", help="fetch-1, fetch-8, upload-1, upload-8 (all)")
    options = parser.parse_args()
    with _setting(options.mib) as setting:
        for name in options.workload or ("fetch-1", "fetch-8", "upload-1", "upload-8"):
            _compare(name, setting, options.rounds, options.mib)


if __name__ == "__main__":
    main()

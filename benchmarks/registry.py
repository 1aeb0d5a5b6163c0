"""The registry client beside crane, skopeo and oras, on one local registry in the same run.

    TMPDIR=/dev/shm python -m benchmarks.registry [--rounds 5] [--mib 1024] [WORK…]

fetches and uploads eight blobs, one at a time and side by side; what is fetched ends in files,
verified.  Ours is a library in a process that is there, as it is to who imports it; the peers are
programs, each started once, or once a blob where it knows no other way to take one at a time.
Without a TMPDIR in memory the disk takes part, and makes the rounds differ more.
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
    """The registry, the image of eight layers, and the eight images of one."""

    host: str
    folder: Path
    whole: Path
    singles: list[Path]
    size: int

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for a while."""
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
    # The last two keep skopeo from a cache in which it remembers where blobs are.
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
    """The peers; an image is called as its layout, and by the number of its upload."""
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
    """The peers, each time to repositories that are new, so that every blob has to be sent."""
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
        where, peers = ("whole-0", str(setting.folder)), fetching(setting, int(workers))
    else:
        where, peers = (f"ours-{workers}", str(setting.whole)), uploading(setting, int(workers))
    with ExitStack() as stack:
        work = f"benchmarks.registry_ours:{verb}"
        ours = stack.enter_context(Child(work, setting.host, *where, workers))
        title = f"{verb} {mib} MiB in {BLOBS} blobs, {workers} at a time"
        report(title, measure({"ours": ours, **peers}, rounds), "ms/GiB", 1e3 * (1 << 30))


def main() -> None:
    """Run all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=1024, help="of all eight blobs")
    parser.add_argument("work", nargs="*", help="fetch-1, fetch-8, upload-1, upload-8 (all)")
    options = parser.parse_args()
    with _setting(options.mib) as setting:
        for name in options.work or ("fetch-1", "fetch-8", "upload-1", "upload-8"):
            _compare(name, setting, options.rounds, options.mib)


if __name__ == "__main__":
    main()

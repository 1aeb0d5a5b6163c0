"""Programs from Debian's packages, unpacked into a cache folder and run from there.

They are not installed: this needs no root, and does not change the machine's own packages. A
package in the cache is used without access to the network.

`python3 -m tests.harness.debian [PROGRAM…]` fetches programs, and lists the cache.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import Unavailable, cache
from .apt import Apt
from .process import run

HOMES = {
    "busybox": ("busybox-static", "bookworm"),
    "cosign-sid": ("cosign", "sid"),
    "cosign-trixie": ("cosign", "trixie"),
    "crane": ("crane", "sid"),
    "criu": ("criu", "trixie"),
    "docker-registry": ("docker-registry", "bookworm"),
    "htpasswd": ("apache2-utils", "bookworm"),
    "oras": ("oras", "sid"),
    "runc": ("runc", "bookworm"),
    "skopeo": ("skopeo", "bookworm"),
    "skopeo-sid": ("skopeo", "sid"),
    "umoci": ("umoci", "bookworm"),
}
"""The default source of a program: its package, and the oldest release that has it.

A program of several releases has the name of the release at the end of its own.
"""

_DEPTH = 4
"""Levels of dependencies in which to look for a library."""


@dataclass(frozen=True)
class Program:
    """A program that can run: `argv` calls it, without its own arguments.

    `argv` is only the path, or a dynamic loader with the libraries that the machine lacks, and
    then the path. `version` is Debian's, or empty for a program from the PATH.
    """

    argv: list[str]
    path: Path
    version: str = ""

    @property
    def plain(self) -> bool:
        """Whether the path is enough to run it, as for programs that others find on a PATH."""
        return len(self.argv) == 1


def program(
    name: str, package: str | None = None, suite: str | None = None, *, prefer_path: bool = False
) -> Program:
    """Return a program of a Debian package. Fetch the package and its libraries if missing.

    The default of `package` and `suite` is the program's entry in `HOMES`, or else the package of
    its name in bookworm. With `prefer_path`, return the program on the PATH instead, if any.

    Raises `Unavailable` if there is no such program or it cannot be fetched.
    """
    if prefer_path and (found := shutil.which(name)):
        return Program([found], Path(found))
    home = HOMES.get(name, (name, "bookworm"))
    package, suite = package or home[0], suite or home[1]
    unpacked = folder(package, suite)
    for place in ("usr/bin", "usr/sbin", "bin", "sbin"):
        path = unpacked / place / name.removesuffix(f"-{suite}")
        if path.exists():
            version = unpacked.name.partition("_")[2].replace("%3a", ":")
            return Program([*_argv(path, package, suite)], path, version)
    raise Unavailable(f"Debian's package {package} of {suite} has no program {name}")


def folder(package: str, suite: str) -> Path:
    """Return the folder of an unpacked package. Fetch the package if it is missing."""
    return _folders([package], suite)[0]


def fetched() -> list[str]:
    """Return `release/package version` for each package in the cache."""
    return sorted(
        f"{path.parent.name}/{path.name.replace('_', ' ').replace('%3a', ':')}"
        for path in cache.folder().glob("packages/*/*_*")
    )


def _folders(packages: Sequence[str], suite: str) -> list[Path]:
    found = [_cached(package, suite) for package in packages]
    if None in found:
        with cache.locked():
            missing = [package for package in packages if _cached(package, suite) is None]
            if missing:
                _fetch(missing, suite)
        found = [_cached(package, suite) for package in packages]
    absent = [package for package, path in zip(packages, found, strict=True) if path is None]
    if absent:
        raise Unavailable(f"Debian {suite} has no package {', '.join(absent)}")
    return [path for path in found if path is not None]


def _cached(package: str, suite: str) -> Path | None:
    """Return the newest unpacked version. The mtime of its folder is Debian's build date."""
    versions = cache.folder().glob(f"packages/{suite}/{package}_*")
    return max(versions, key=lambda path: path.stat().st_mtime, default=None)


def _fetch(packages: Sequence[str], suite: str) -> None:
    """Download and unpack packages. Each gets its final name only when it is complete."""
    target = cache.folder() / "packages" / suite
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.folder(), prefix="tmp-") as name:
        for archive in _apt(suite).download(packages, Path(name)):
            package, version, _ = archive.name.split("_")
            unpacked = archive.with_suffix(".unpacked")
            done = run(["dpkg-deb", "-x", str(archive), str(unpacked)], timeout=300)
            if done.returncode:
                stderr = done.stderr.decode("utf-8", "replace").strip()
                raise Unavailable(f"{archive.name} could not be unpacked: {stderr}")
            final = target / f"{package}_{version}"
            if not final.exists():
                unpacked.rename(final)


def _apt(suite: str) -> Apt:
    return Apt(suite, cache.folder() / "apt" / suite)


@functools.cache
def _argv(path: Path, package: str, suite: str) -> list[str]:
    """Return the command to call a program: its path, a recorded one, or one with libraries."""
    report = _linkage(None, path)
    if "not found" not in report:
        return [str(path)]
    note = cache.folder() / "argv" / suite / f"{path.parents[2].name}.{path.name}.json"
    if note.exists():
        prefix: list[str] = json.loads(note.read_text())
        if _linked(prefix, path):
            return [*prefix, str(path)]
    prefix = _prefix(path, package, suite, report)
    with cache.locked():
        note.parent.mkdir(parents=True, exist_ok=True)
        draft = note.with_suffix(".tmp")
        draft.write_text(json.dumps(prefix))
        draft.replace(note)
    return [*prefix, str(path)]


def _prefix(path: Path, package: str, suite: str, report: str) -> list[str]:
    """Fetch libraries, one level of dependencies at a time, until the loader finds all.

    It uses the machine's own loader and libc if they are new enough, and else the release's.
    """
    level, visited, libraries = [package], {package}, list[Path]()
    match = re.search(r"^\s*(/\S*/ld\S*\.so\S*)", report, re.M)
    loader = match.group(1) if match else None
    for _ in range(_DEPTH):
        with cache.locked():
            dependencies = _apt(suite).depends(level)
        level = [name for name in dependencies if name.startswith("lib") and name not in visited]
        level = [name for name in level if name != "libc6"]
        visited.update(level)
        for unpacked in _folders(level, suite) if level else []:
            libraries += _library_folders(unpacked)
        for _ in range(2):  # a second time if the program needs a newer libc
            prefix = _loader_prefix(loader, libraries)
            report = _linkage(prefix, path) if loader else "GLIBC_ not found"
            if "not found" not in report:
                return prefix
            if "GLIBC_" not in report:
                break
            libraries += _library_folders(libc := folder("libc6", suite))
            loader = str(next(libc.glob("**/ld-linux*.so*")))
    raise Unavailable(f"{path.name} of Debian {suite} lacks libraries: {_missing(report)}")


def _loader_prefix(loader: str | None, libraries: Sequence[Path]) -> list[str]:
    return [loader or "", "--library-path", ":".join(map(str, libraries))]


def _library_folders(unpacked: Path) -> list[Path]:
    """Return a package's folders of shared libraries, without the deeper folders of plug-ins."""
    folders = [*unpacked.glob("usr/lib"), *unpacked.glob("lib"), *unpacked.glob("usr/lib64")]
    folders += [*unpacked.glob("usr/lib/*-linux-*"), *unpacked.glob("lib/*-linux-*")]
    return [path for path in folders if any(path.glob("*.so*"))]


def _linked(prefix: Sequence[str], path: Path) -> bool:
    if not Path(prefix[0]).exists():
        return False
    return "not found" not in _linkage(prefix, path)


def _linkage(prefix: Sequence[str] | None, path: Path) -> str:
    """Return the loader's report on a program's libraries, without running the program.

    Without a prefix, the machine's ldd makes the report, because it also supports static programs.
    It cannot use another loader. With a prefix, this function sets the variables that ldd sets.
    """
    trace = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_WARN": "yes"} if prefix else {}
    environment = {**os.environ, "LC_ALL": "C", **trace}
    done = run([*(prefix or ["ldd"]), str(path)], timeout=60, env=environment)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def _missing(report: str) -> str:
    lines = [line.strip() for line in report.splitlines() if "not found" in line]
    return "; ".join(lines[:3])


def main(names: Sequence[str]) -> int:
    """Fetch the programs, then print the packages in the cache."""
    for name in names:
        try:
            found = program(name)
        except Unavailable as reason:
            print(f"{name}: {reason}", file=sys.stderr)
            return 1
        print(f"{name} {found.version}: {' '.join(found.argv)}")
    print("\n".join(fetched()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Programs that the Go toolchain builds from published modules, in the cache folder.

A build is made once, by one process at a time, and gets its final name only when it is complete.
`tox -e fetch` makes all builds. Without `go` on the PATH, only existing builds can be used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import Unavailable, cache, debian
from .process import run

_SECONDS = 600.0
"""The most seconds that a build may take, with its downloads."""


@dataclass(frozen=True)
class Build:
    """Programs of one module: `packages` are the paths of their packages in the module.

    `library` is a package of bookworm's with a C library to link statically, with the build tags
    `tags`. It needs a C compiler.
    """

    module: str
    version: str
    packages: tuple[str, ...]
    library: str = ""
    tags: str = ""

    def __str__(self) -> str:
        """Its name and version."""
        return f"{self.name} {self.version}"

    @property
    def folder(self) -> Path:
        """The folder of the programs, which exists only if they are built."""
        return cache.folder() / "go" / f"{self.name}_{self.version}"

    @property
    def name(self) -> str:
        """The module's name, without its major version."""
        return re.sub(r"/v\d+$", "", self.module).rpartition("/")[2]


_CONTAINERD = "github.com/containerd/containerd/v2"
_PROGRAMS = ("cmd/containerd", "cmd/containerd-shim-runc-v2", "cmd/ctr")

CONTAINERD = {
    "2.0": Build(_CONTAINERD, "2.0.14", _PROGRAMS),
    "2.3": Build(_CONTAINERD, "2.3.7", _PROGRAMS),
    "2.4": Build(_CONTAINERD, "2.4.2", _PROGRAMS),
}
"""containerd by its generation."""
CRICTL = Build("sigs.k8s.io/cri-tools", "1.37.0", ("cmd/crictl",))
REGISTRY = Build("github.com/distribution/distribution/v3", "3.1.2", ("cmd/registry",))
#: Without seccomp, runc refuses each container that has a profile.
RUNC = Build(
    "github.com/opencontainers/runc",
    "1.5.3",
    ("",),
    library="libseccomp-dev",
    tags="seccomp,netgo,osusergo",
)
BUILDS = (*CONTAINERD.values(), CRICTL, REGISTRY, RUNC)


def program(build: Build, name: str) -> Path:
    """Return a program of a build that exists.

    Raises `Unavailable` if it does not.
    """
    path = build.folder / name
    if not path.exists():
        raise Unavailable(f"{build} is not built: run tox -e fetch, which needs Go")
    return path


def make(build: Build) -> bool:
    """Make a build unless it exists; return whether it was made now.

    Raises `Unavailable` if there is no Go, or the build fails.
    """
    if build.folder.exists():
        return False
    go = _toolchain(f"build {build}")
    packages = [f"{build.module}/{package}".rstrip("/") for package in build.packages]
    needs = [f"{name}@v{build.version}" for name in packages]
    return _build(go, build.folder, needs, packages, env=_environment(build))


def own_program(source: Path, module: str, version: str) -> Path:
    """Build a program of one source file, which uses a module; return its path.

    Raises `Unavailable` if there is no Go, or the build fails.
    """
    go = _toolchain(f"build {source.name}")
    text = source.read_bytes()
    key = hashlib.sha256(text + version.encode()).hexdigest()[:16]
    folder = cache.folder() / "go" / f"{source.parent.name}_{key}"
    _build(go, folder, [f"{module}@v{version}"], ["."], {source.name: text})
    return folder / "scratch"


def module(name: str, version: str) -> Path:
    """Return the folder of a published module's source. Download it if it is missing.

    Raises `Unavailable` if there is no Go, or the module cannot be had.
    """
    go = _toolchain(f"download {name} {version}")
    argv = [go, "mod", "download", "-json", f"{name}@v{version}"]
    done = run(argv, timeout=_SECONDS, cwd=Path("/"), env={**os.environ, "GOWORK": "off"})
    if done.returncode:
        raise Unavailable(f"{name} {version} cannot be downloaded: {done.stdout.decode().strip()}")
    return Path(json.loads(done.stdout)["Dir"])


def _toolchain(purpose: str) -> str:
    """Return the path of the program `go`."""
    go = shutil.which("go")
    if go is None:
        raise Unavailable(f"there is no Go to {purpose}")
    return go


def _environment(build: Build) -> dict[str, str]:
    """Return the variables that link the build with its C library, if it has one."""
    if not build.library:
        return {}
    usr = debian.folder(build.library, "bookworm") / "usr"
    (libraries,) = usr.glob("lib/*-linux-*")
    return {
        "CGO_ENABLED": "1",
        "CGO_CFLAGS": f"-I{usr / 'include'}",
        "CGO_LDFLAGS": f"-L{libraries}",
        "PKG_CONFIG_PATH": str(libraries / "pkgconfig"),
        "GOFLAGS": f"-buildvcs=false -tags={build.tags}",
    }


def _build(
    go: str,
    folder: Path,
    needs: Sequence[str],
    packages: Sequence[str],
    sources: Mapping[str, bytes] | None = None,
    env: Mapping[str, str] | None = None,
) -> bool:
    """Build packages into a folder unless it exists; return whether they were built now.

    The build has a module of its own, because `go install` refuses modules that exclude others.
    """
    with cache.locked("go.lock"):
        if folder.exists():
            return False
        folder.parent.mkdir(exist_ok=True)
        for abandoned in folder.parent.glob("tmp-*"):  # by a process that was killed
            shutil.rmtree(abandoned)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="tmp-") as name:
            scratch = Path(name)
            (scratch / "bin").mkdir()
            _go([go, "mod", "init", "scratch"], scratch)
            _go([go, "get", *needs], scratch)
            for source, text in (sources or {}).items():
                (scratch / source).write_bytes(text)
            if sources:
                _go([go, "mod", "tidy"], scratch)
            flags = ["-trimpath", "-ldflags=-s -w -extldflags=-static", "-o", "bin/"]
            _go([go, "build", *flags, *packages], scratch, env)
            (scratch / "bin").rename(folder)
    return True


def _go(argv: Sequence[str], scratch: Path, env: Mapping[str, str] | None = None) -> None:
    own = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false", **(env or {})}
    done = run(argv, timeout=_SECONDS, cwd=scratch, env={**os.environ, **own})
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-5:]
        raise Unavailable(f"{' '.join(argv[:2])} failed: {'; '.join(last)}")

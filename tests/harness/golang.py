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
    `tags`. It needs a C compiler. With `source`, the build is a program of that one file, which
    uses packages of the module. Its name is that of the file's folder.
    """

    module: str
    version: str
    packages: tuple[str, ...] = (".",)
    library: str = ""
    tags: str = ""
    source: Path | None = None

    def __str__(self) -> str:
        """Its name and version."""
        return f"{self.name} {self.version}"

    @property
    def folder(self) -> Path:
        """The folder of the programs, which exists only if they are built."""
        version = self.version
        if self.source is not None:
            key = self.name.encode() + self.source.read_bytes() + version.encode()
            version = hashlib.sha256(key).hexdigest()[:16]
        return cache.folder() / "go" / f"{self.name}_{version}"

    @property
    def name(self) -> str:
        """The own program's name, or else the module's, without its major version."""
        if self.source is not None:
            return self.source.parent.name
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
_SOURCES = Path(__file__).parent / "sigstore" / "go"
SIGSTORE = {
    build.name: build
    for build in (
        Build("github.com/sigstore/fulcio", "1.8.8", ("",)),
        Build("github.com/transparency-dev/tesseract", "0.1.1", ("cmd/tesseract/posix",)),
        Build(
            "github.com/sigstore/timestamp-authority/v2",
            "2.1.3",
            source=_SOURCES / "timestamps" / "main.go",
        ),
        Build("github.com/sigstore/rekor-tiles/v2", "2.3.0", ("cmd/rekor-server/posix",)),
        Build("github.com/sigstore/rekor", "1.5.4", ("cmd/rekor-server",)),
        Build("github.com/google/trillian", "1.8.0", source=_SOURCES / "trillian" / "main.go"),
    )
}
"""The servers of a sigstore, by name. The newest versions need a newer Go."""


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
    if build.source is not None:
        return _build(go, build, [f"{build.module}@v{build.version}"], build.packages)
    packages = [f"{build.module}/{package}".rstrip("/") for package in build.packages]
    return _build(go, build, [f"{name}@v{build.version}" for name in packages], packages)


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


def _build(go: str, build: Build, needs: Sequence[str], packages: Sequence[str]) -> bool:
    """Build packages unless the build exists; return whether they were built now.

    The build has a module of its own, because `go install` refuses modules that exclude others.
    """
    folder = build.folder
    with cache.locked("go.lock"):
        if folder.exists():
            return False
        folder.parent.mkdir(exist_ok=True)
        for abandoned in folder.parent.glob("tmp-*"):  # by a process that was killed
            shutil.rmtree(abandoned)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="tmp-") as name:
            scratch = Path(name)
            (scratch / "bin").mkdir()
            _go([go, "mod", "init", build.name], scratch)
            _go([go, "get", *needs], scratch)
            if build.source is not None:
                shutil.copy(build.source, scratch)
                _go([go, "mod", "tidy"], scratch)
            flags = ["-trimpath", "-ldflags=-s -w -extldflags=-static", "-o", "bin/"]
            _go([go, "build", *flags, *packages], scratch, _environment(build))
            (scratch / "bin").rename(folder)
    return True


def _go(argv: Sequence[str], scratch: Path, env: Mapping[str, str] | None = None) -> None:
    own = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false", **(env or {})}
    done = run(argv, timeout=_SECONDS, cwd=scratch, env={**os.environ, **own})
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-5:]
        raise Unavailable(f"{' '.join(argv[:2])} failed: {'; '.join(last)}")

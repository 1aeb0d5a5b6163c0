"""Our descriptors against the sources of those who defined the API, as Debian ships them.

Ours must have all that theirs have, alike in every respect; it may have more. What differs after
all, and why, stands in KNOWN.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import google.protobuf as protobuf
import pytest
from google.protobuf import (
    any_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    timestamp_pb2,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from descriptors.compile import SETS
from tests.harness import Unavailable
from tests.schema.compare import Facts, collisions, counts, differences, facts, moved
from tests.schema.sources import EXCLUDED, SOURCES, Module, Source, compiled, exclusions, found

IN_CI = os.environ.get("CI") == "true"
REQUIRED = "bookworm"

Compared = Callable[[str], None]


@dataclass(frozen=True)
class Known:
    """A difference that is meant: as it is reported, or a message that has moved.

    It must occur in each of the sources: what no longer does is to be struck out.
    """

    what: str
    sources: tuple[str, ...]
    to: str = ""


KNOWN = [
    # 2.0 moved it out of the events service's package; the same fields, so the same bytes.
    Known(
        "containerd.services.events.v1.Envelope",
        ("containerd of bookworm", "containerd of trixie"),
        to="containerd.types.Envelope",
    ),
    # 2.0 took the field away; daemons before it read it.
    Known(
        "containerd.runc.v1.Options.criu_path: 8 is reserved",
        ("containerd of sid", "containerd's api 1.12.0"),
    ),
]


@pytest.fixture(scope="module")
def ours() -> Facts:
    return facts(FileDescriptorProto.FromString(path.read_bytes()) for path in SETS.glob("*.binpb"))


@pytest.fixture(params=SOURCES, ids=str)
def source(request: pytest.FixtureRequest, compared: Compared) -> Source | Module:
    """Each source in turn.  One that cannot be had is skipped; in CI, bookworm's must be had."""
    chosen: Source | Module = request.param
    try:
        chosen.root()
        return chosen
    except Unavailable as error:
        reason = str(error)
    if IN_CI and chosen.suite == REQUIRED:
        pytest.fail(f"{chosen} must be had in CI: {reason}", pytrace=False)
    compared(f"{chosen}: NOT compared ({reason.splitlines()[0]})")
    pytest.skip(f"{chosen}: {reason}")


def test_ours_is_as_theirs(
    source: Source | Module, ours: Facts, tmp_path: Path, compared: Compared
) -> None:
    files = compiled(source, tmp_path)
    theirs = facts(files)
    expected = [one for one in KNOWN if str(source) in one.sources]
    moves = {one.what: one.to for one in expected if one.to}
    for old, new in moves.items():
        assert old in theirs, f"{source} has no {old}: strike the move out of KNOWN"
        assert new not in theirs
    lines = differences(moved(theirs, moves), ours) + collisions(files, ours)
    assert sorted(lines) == sorted(one.what for one in expected if not one.to)
    told = "; ".join(f"{one.what} is {one.to} now" if one.to else one.what for one in expected)
    line = f"{source.project} {source.version()}: {counts(files, theirs)}"
    compared(f"{line}: no difference{f', but for: {told}' if told else ''}")


def test_every_name_of_a_table_is_a_source() -> None:
    rows = [*(one.sources for one in KNOWN), *(one.sources for one in EXCLUDED)]
    assert {name for row in rows for name in row} <= {str(one) for one in SOURCES}


def test_what_is_left_out_is_there(source: Source | Module) -> None:
    names = found(source)
    for one in exclusions(source):
        assert any(fnmatch(name, one.pattern) for name in names), f"strike out {one.pattern}"


def test_well_known_types_are_protobufs(ours: Facts, compared: Compared) -> None:
    modules = (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, timestamp_pb2)
    files = [FileDescriptorProto.FromString(one.DESCRIPTOR.serialized_pb) for one in modules]
    theirs = facts(files)
    assert differences(theirs, ours) == []
    compared(f"protobuf {protobuf.__version__}: {counts(files, theirs)}: no difference")

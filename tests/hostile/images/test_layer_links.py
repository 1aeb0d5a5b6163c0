"""Layers whose symbolic links ask for far more work than their size suggests."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from containerd_lite.errors import (
    ContainerdError,
    DeadlineExceeded,
    FailedPrecondition,
    ResourceExhausted,
)
from containerd_lite.images.files import image_files
from containerd_lite.images.files.image_files import read_layer_files
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.store.layout_store import LayoutStore
from tests.unit.runtime.overlay_model import SYMLINK, Item, packed
from tests.unit.runtime.test_image_files import put

PASSWD = "etc/passwd"
#: A deep folder, whose names are those of folders that the client looks for.
DEEP = "etc/" * 570
#: A path of 4,000 characters that goes down to this folder and up again.
DOWN_AND_UP = DEEP + "../" * 570
#: The most CPU seconds that any of these layers may take.
CPU = 2.0


@pytest.fixture
def store(tmp_path: Path) -> LayoutStore:
    return LayoutStore(tmp_path)


def blobs(store: LayoutStore, *layers: Sequence[Item]) -> list[Descriptor]:
    return [put(store, gzip.compress(packed(items), 9)) for items in layers]


def cpu_of(action: Callable[[], object]) -> tuple[float, object]:
    """The CPU seconds of an action, and what it returned or raised."""
    start = time.thread_time()
    try:
        told = action()
    except ContainerdError as error:
        told = error
    return time.thread_time() - start, told


def chain(count: int, target: str) -> list[Item]:
    """Links 0 to ``count`` - 1, each of which leads through ``target`` to the next one."""
    return [(f"{DEEP}x", b""), *((f"l{n}", f"{SYMLINK}{target}l{n + 1}") for n in range(count))]


def test_twenty_entries_below_chains_of_links(store: LayoutStore) -> None:
    entries: list[Item] = [(f"l0/x{n}/passwd", b"x") for n in range(20)]
    layer = blobs(store, [*chain(39, DOWN_AND_UP), *entries, (PASSWD, b"root")])
    assert layer[0].size < 4096
    cpu, told = cpu_of(lambda: read_layer_files(store, layer, [PASSWD]))
    assert told == {PASSWD: b"root"}
    assert cpu < CPU


@pytest.mark.parametrize("kind", ["files", "folders", "hard links", "links", "whiteouts"])
def test_any_number_of_entries_below_chains_of_links(store: LayoutStore, kind: str) -> None:
    makes: dict[str, Callable[[int], Item]] = {
        "files": lambda n: (f"l0/x{n}/passwd", b"x"),
        "folders": lambda n: (f"l0/x{n}/etc", None),
        "hard links": lambda n: ("etc/passwd", f"link:l0/x{n}/passwd"),
        "links": lambda n: (f"l0/x{n}/y", f"{SYMLINK}z"),
        "whiteouts": lambda n: (f"l0/x{n}/.wh.passwd", b""),
    }
    layer = blobs(store, [*chain(39, DOWN_AND_UP), *map(makes[kind], range(5000))])
    cpu, told = cpu_of(lambda: read_layer_files(store, layer, [PASSWD]))
    assert isinstance(told, ResourceExhausted)
    assert "1000:1000" in told.remedy
    assert cpu < CPU


def test_chains_in_many_layers(store: LayoutStore) -> None:
    """The steps of all layers count together."""
    entries: list[Item] = [(f"l0/x{n}/passwd", b"x") for n in range(5)]
    layers = blobs(store, *([*chain(39, DOWN_AND_UP), *entries, ("n", b"")] for _ in range(40)))
    cpu, told = cpu_of(lambda: read_layer_files(store, layers, [PASSWD]))
    assert isinstance(told, ResourceExhausted)
    assert cpu < CPU


def test_a_path_that_links_make_too_deep(store: LayoutStore) -> None:
    """No daemon unpacks such a layer: the path is longer than Linux permits."""
    items: list[Item] = [("l", f"{SYMLINK}{'a/' * 1500}m"), ("a", None)]
    items += [(f"{'a/' * 1500}m", f"{SYMLINK}{'b/' * 1500}c"), ("l/passwd", b"x")]
    with pytest.raises(FailedPrecondition, match="4096 characters"):
        read_layer_files(store, blobs(store, items), [PASSWD])


def test_a_deep_path_in_many_layers(store: LayoutStore) -> None:
    """A lookup that goes down a deep path, which every layer has."""
    deep = "etc/" * 1000
    top: list[Item] = [(PASSWD, f"{SYMLINK}/{deep}passwd"), (f"{deep}x", b"")]
    layers = blobs(store, *([[(f"{deep}x", b"")]] * 126), top)
    cpu, told = cpu_of(lambda: read_layer_files(store, layers, [PASSWD]))
    assert told == {PASSWD: None}
    assert cpu < CPU


def test_a_lookup_that_goes_down_and_up(store: LayoutStore) -> None:
    """Forty links, each of which leads down a deep path of every layer and up again."""
    down = "etc/" * 500
    links: list[Item] = [(f"etc/{n}", f"{SYMLINK}/{down}{'../' * 499}{n + 1}") for n in range(39)]
    top: list[Item] = [(PASSWD, f"{SYMLINK}0"), (f"{down}x", b""), *links]
    layers = blobs(store, *([[(f"{down}x", b"")]] * 126), top)
    cpu, told = cpu_of(lambda: read_layer_files(store, layers, [PASSWD]))
    assert isinstance(told, ResourceExhausted) or told == {PASSWD: None}
    assert cpu < CPU


@pytest.mark.turns(3, "heavy")
@pytest.mark.once
def test_millions_of_folders_with_short_names(store: LayoutStore) -> None:
    """A layer of 30 kilobytes asks for folders that would take 400 MB, in two layers or in one."""
    items: list[Item] = [(f"{n}/" + "a/" * 2000 + "l", f"{SYMLINK}x") for n in range(250)]
    layers = blobs(store, items, items)
    assert layers[0].size < 64 << 10
    tracemalloc.start()
    try:
        _, told = cpu_of(lambda: read_layer_files(store, layers, [PASSWD]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(told, ResourceExhausted)
    assert peak < 400 << 20


def test_layers_that_take_too_long(store: LayoutStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "_MAX_SECONDS", 0.05)
    endless = put(store, gzip.compress(bytes(512 << 20), 1), media_types.OCI_LAYER_GZIP)
    start = packed([("big", b"")])[:512]
    size = b"%011o" % (900 << 20)
    header = bytearray(start[:124] + size + start[135:148] + b" " * 8 + start[156:])
    header[148:156] = b"%06o\0 " % sum(header)
    body = (store.path / "blobs" / endless.digest.replace(":", "/")).read_bytes()
    layer = put(store, gzip.compress(bytes(header), 9) + body)
    _, told = cpu_of(lambda: read_layer_files(store, [layer], [PASSWD]))
    assert isinstance(told, DeadlineExceeded)
    assert "1000:1000" in told.remedy

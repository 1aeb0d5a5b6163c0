"""Copies of snapshots for user namespaces: when no copy can be made, and its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from containerd_lite.errors import Unimplemented
from containerd_lite.images.files import SnapshotLayers, remapped_name, write_remapped
from containerd_lite.services.diff import DiffService
from containerd_lite.services.mounts import MountService
from containerd_lite.services.snapshots import SnapshotService
from containerd_lite.store.layout_store import LayoutStore
from tests.unit.services.scripted import Answers, serving

NAME = "containerd.services.snapshots.v1.Snapshots"
BLOCK = {"type": "ext4", "source": "/dev/mapper/x", "options": ["rw"]}
BIND = {"type": "bind", "source": "/s/1/fs", "options": ["rw", "rbind"]}
IDS = [(0, 100_000, 10)]


@pytest.mark.parametrize("mounts", [[], [BLOCK], [BIND, BIND]])
def test_mounts_that_are_no_folder(mounts: list[dict[str, Any]], tmp_path: Path) -> None:
    asked: list[Any] = []
    answers: Answers = {
        f"{NAME}/Prepare": lambda request: [{"mounts": mounts}],
        f"{NAME}/Remove": lambda request: [{}],
    }
    with serving(answers, asked) as (channel, context):
        snapshots = SnapshotService(channel, context, "devmapper")
        differ, service = DiffService(channel, context), MountService(channel, context)
        layers, store = SnapshotLayers(snapshots, differ, service), LayoutStore(tmp_path)
        with pytest.raises(Unimplemented, match="snapshotter devmapper cannot map ids"):
            write_remapped(layers, store, "top", uids=IDS, gids=IDS)
    prepared, removed = asked
    assert prepared.key == removed.key  # nothing is left


def test_the_order_of_ranges_does_not_change_the_name() -> None:
    more = [(10, 5, 1), *IDS]
    assert remapped_name("top", more, IDS) == remapped_name("top", more[::-1], IDS)
    names = {remapped_name(*wish) for wish in [("top", more, IDS), ("top", IDS, more)]}
    assert len({*names, remapped_name("other", more, IDS)}) == 3

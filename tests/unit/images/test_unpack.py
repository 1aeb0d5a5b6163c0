"""What unpacking asks of a daemon, in which order, and what it does when layers fail.

The daemon is a script: none that can be had puts a snapshot below another afterwards.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from containerd_lite.errors import (
    DiffIDMismatch,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unknown,
)
from containerd_lite.images.job import Job
from containerd_lite.images.unpack.apply import WaitFor
from containerd_lite.images.unpack.unpack import Unpacked, Unpacker
from containerd_lite.oci import media_types
from containerd_lite.oci.config import ImageConfig
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.platform import Platform
from containerd_lite.services.content import ContentService
from containerd_lite.services.diff import DiffService
from containerd_lite.services.snapshots import SnapshotService
from containerd_lite.store.daemon import DaemonStore
from tests.unit.services.scripted_daemon import Answer, Calls, Refused, serving

REF = "containerd.io/snapshot.ref"
NOT_FOUND, ALREADY_EXISTS, UNKNOWN = 5, 6, 2
CONFIG = Descriptor(media_types.OCI_CONFIG, "sha256:" + "c" * 64, 3)
PATIENCE = 10


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def layer(place: int) -> Descriptor:
    return Descriptor(media_types.OCI_LAYER_GZIP, digest(f"layer {place}"), 10)


def diff_id(place: int) -> str:
    return digest(f"diff {place}")


def chain(size: int) -> list[str]:
    found = [diff_id(0)]
    for place in range(1, size):
        found.append(digest(f"{found[-1]} {diff_id(place)}"))
    return found


class Script:
    """A daemon with nothing in it; tests change its answers, by place of the layer."""

    def __init__(self, *, rebase: bool, snapshotter: str = "overlayfs") -> None:
        self.snapshotter = snapshotter
        self.calls: Calls = []
        self.capabilities = ["rebase"] if rebase else []
        self.committed: set[str] = set()
        self.parents = dict(zip(chain(10), ["", *chain(9)], strict=True))
        self.apply: Callable[[int], str] = diff_id
        self.answers: dict[str, Answer] = {
            "Introspection/Plugins": lambda request: {
                "plugins": [{"id": snapshotter, "capabilities": self.capabilities}]
            },
            "Snapshots/Stat": self._stat,
            "Snapshots/Prepare": lambda request: {
                "mounts": [{"type": "bind", "source": "/s", "options": ["rbind", "rw"]}]
            },
            "Snapshots/Commit": self._commit,
            "Snapshots/Remove": lambda request: {},
            "Diff/Apply": self._apply,
            "Content/Update": lambda request: {"info": {"digest": request.info.digest}},
        }

    def _stat(self, request: Any) -> Mapping[str, Any]:
        if request.key not in self.committed:
            raise Refused(NOT_FOUND, "not found")
        parent = self.parents[request.key]
        return {"info": {"name": request.key, "kind": 3, "parent": parent}}

    def _commit(self, request: Any) -> Mapping[str, Any]:
        self.committed.add(request.name)
        return {}

    def _apply(self, request: Any) -> Mapping[str, Any]:
        place = next(n for n in range(200) if layer(n).digest == request.diff.digest)
        return {"applied": {"digest": self.apply(place)}}

    @contextmanager
    def unpacker(self, job: Job, workers: int = 3) -> Iterator[Unpacker]:
        with serving(self.answers, self.calls) as (channel, context):
            yield Unpacker(
                DaemonStore(ContentService(channel, context)),
                SnapshotService(channel, context, self.snapshotter),
                DiffService(channel, context),
                job,
                workers,
            )

    def unpack(self, size: int, workers: int = 3) -> Unpacked:
        with self.unpacker(Job(), workers) as unpacker:
            return unpack(unpacker, size)

    def of(self, name: str) -> list[Any]:
        return [message for called, message in self.calls if called == name]

    def names(self) -> list[str]:
        return [called.partition("/")[2] for called, _ in self.calls]


def unpack(unpacker: Unpacker, size: int, wait_for: WaitFor = lambda target: None) -> Unpacked:
    layers = [layer(place) for place in range(size)]
    config = ImageConfig(Platform("linux", "amd64"), tuple(diff_id(n) for n in range(size)))
    return unpacker.unpack(layers, CONFIG, config, wait_for=wait_for)


def test_one_after_the_other_each_on_the_one_below() -> None:
    script = Script(rebase=False)
    assert script.unpack(3) == Unpacked(chain(3)[-1])
    first, *names = script.names()
    each = ["Prepare", "Apply", "Commit"]  # the labels come beside
    assert first == "Update"
    assert [one for one in names if one != "Update"] == ["Stat", "Plugins", *each, *each, *each]
    prepared = script.of("Snapshots/Prepare")
    assert [(one.parent, one.labels[REF]) for one in prepared] == [
        *zip(["", *chain(3)], chain(3), strict=False)
    ]
    for made, committed in zip(prepared, script.of("Snapshots/Commit"), strict=True):
        assert made.key.endswith(f" {committed.name}")
        assert (committed.key, committed.parent) == (made.key, "")
        assert committed.labels == made.labels == {REF: committed.name}
    assert {one.mounts[0].type for one in script.of("Diff/Apply")} == {"bind"}
    updates = [(one.info.digest, dict(one.info.labels)) for one in script.of("Content/Update")]
    uncompressed = "containerd.io/uncompressed"
    assert updates == [
        (CONFIG.digest, {"containerd.io/gc.ref.snapshot.overlayfs": chain(3)[-1]}),
        *((layer(n).digest, {uncompressed: diff_id(n)}) for n in range(3)),
    ]


def test_a_label_that_cannot_be_set_is_an_error() -> None:
    script = Script(rebase=False)

    def update(request: Any) -> Mapping[str, Any]:
        if request.info.digest == layer(0).digest:
            raise Refused(NOT_FOUND, "collected")
        return {"info": {"digest": request.info.digest}}

    script.answers["Content/Update"] = update
    with pytest.raises(NotFound, match="collected"):
        script.unpack(2)


def test_what_can_be_done_is_asked_once_and_only_of_use() -> None:
    script = Script(rebase=False)
    with script.unpacker(Job()) as unpacker:
        unpack(unpacker, 1)
        assert script.of("Introspection/Plugins") == []
        unpack(unpacker, 4)
        script.committed.clear()
        unpack(unpacker, 4)
        assert len(script.of("Introspection/Plugins")) == 1
        script.calls.clear()
        unpack(unpacker, 4)
        assert script.names() == ["Update"] + ["Stat"] * 4  # all is there
        script.committed.discard(chain(4)[3])
        script.calls.clear()
        unpack(unpacker, 4)
        assert script.names() == ["Update", *["Stat"] * 4, "Prepare", "Apply", "Commit", "Update"]


def test_side_by_side_where_the_parent_may_come_later() -> None:
    script = Script(rebase=True)
    together, running, most = threading.Barrier(3), threading.Semaphore(3), []

    def apply(place: int) -> str:
        most.append(running.acquire(blocking=False))
        if place < 3:
            together.wait(PATIENCE)
        running.release()
        return diff_id(place)

    script.apply = apply
    assert script.unpack(6, workers=3) == Unpacked(chain(6)[-1])
    assert most == [True] * 6  # never a fourth
    assert script.names()[:9] == ["Update", "Stat", "Plugins", *["Prepare"] * 6]
    prepared, committed = script.of("Snapshots/Prepare"), script.of("Snapshots/Commit")
    assert [(one.parent, one.labels[REF]) for one in prepared] == [("", one) for one in chain(6)]
    assert [(one.parent, one.name) for one in committed] == [
        *zip(["", *chain(6)], chain(6), strict=False)
    ]
    assert [one.key for one in committed] == [one.key for one in prepared]
    assert [dict(one.labels) for one in committed] == [{REF: one} for one in chain(6)]
    assert script.of("Snapshots/Remove") == []
    assert len(script.of("Introspection/Plugins")) == 1
    assert len(script.of("Content/Update")) == 7


def test_the_upper_ones_may_be_done_first() -> None:
    script = Script(rebase=True)
    done = [threading.Event() for _ in range(4)]

    def apply(place: int) -> str:
        assert place == 3 or done[place + 1].wait(PATIENCE)
        done[place].set()
        return diff_id(place)

    script.apply = apply
    script.unpack(4, workers=4)
    assert [one.name for one in script.of("Snapshots/Commit")] == chain(4)


@pytest.mark.parametrize(
    ("snapshotter", "kind", "options"),
    [
        ("overlayfs", "overlay", ["rw", "upperdir=/s"]),
        ("erofs", "bind", ["rbind", "rw"]),
    ],
)
def test_whiteouts_need_an_overlay_where_the_snapshotter_has_one(
    snapshotter: str, kind: str, options: list[str]
) -> None:
    """core/unpack, bindToOverlay, and its test; the bottom layer has nothing to white out."""
    script = Script(rebase=True, snapshotter=snapshotter)
    script.unpack(3)
    mounts = {one.diff.digest: one.mounts[0] for one in script.of("Diff/Apply")}
    bottom, *others = (mounts[layer(place).digest] for place in range(3))
    assert (bottom.type, list(bottom.options)) == ("bind", ["rbind", "rw"])
    assert [(one.type, list(one.options)) for one in others] == [(kind, options)] * 2
    if kind == "overlay":
        assert {one.source for one in others} == {"overlay"}


def wrong(place: int) -> str:
    return digest("something else")


def refused(place: int) -> str:
    raise Refused(UNKNOWN, "the disk is full")


@pytest.mark.parametrize(("fail", "kind"), [(wrong, DiffIDMismatch), (refused, Unknown)])
def test_a_layer_that_fails_stops_the_others(
    fail: Callable[[int], str], kind: type[Exception]
) -> None:
    script = Script(rebase=True)
    job = Job()

    def apply(place: int) -> str:
        if place == 1:
            return fail(place)
        assert job.stop.wait(PATIENCE)
        return diff_id(place)

    script.apply = apply
    with script.unpacker(job, 2) as unpacker, pytest.raises(kind) as caught:
        unpack(unpacker, 5)
    assert job.failure is caught.value
    begun = {one.diff.digest for one in script.of("Diff/Apply")}
    assert begun == {layer(0).digest, layer(1).digest}
    keys = [one.key for one in script.of("Snapshots/Prepare")]
    left = {*keys} - {one.key for one in script.of("Snapshots/Commit")}
    assert [one.key for one in script.of("Snapshots/Remove")] == [k for k in keys if k in left]
    assert layer(1).digest not in {one.info.digest for one in script.of("Content/Update")}
    assert [one for one in script.names() if one != "Update"][-1] == "Remove"


def test_the_failure_is_told_and_not_what_it_stopped() -> None:
    script = Script(rebase=True)
    script.apply = wrong
    job = Job()

    def wait_for(target: Descriptor) -> None:
        if target == layer(0):
            assert job.stop.wait(PATIENCE)

    with script.unpacker(job) as unpacker, pytest.raises(DiffIDMismatch):
        unpack(unpacker, 2, wait_for)
    assert [one.diff.digest for one in script.of("Diff/Apply")] == [layer(1).digest]
    assert len(script.of("Snapshots/Remove")) == 2


@pytest.mark.parametrize("rebase", [False, True])
def test_a_commit_that_fails(rebase: bool) -> None:
    script = Script(rebase=rebase)
    commit = script.answers["Snapshots/Commit"]

    def once(request: Any) -> Mapping[str, Any]:
        if script.committed:
            raise Refused(UNKNOWN, "the disk is full")
        return commit(request)

    script.answers["Snapshots/Commit"] = once
    with pytest.raises(Unknown, match="disk is full"):
        script.unpack(3)
    assert script.committed == {chain(3)[0]}
    keys = [one.key for one in script.of("Snapshots/Prepare")]
    assert [one.key for one in script.of("Snapshots/Remove")] == keys[1:]


@pytest.mark.parametrize("rebase", [False, True])
def test_a_prepare_that_fails(rebase: bool) -> None:
    script = Script(rebase=rebase)
    prepare = script.answers["Snapshots/Prepare"]

    def twice(request: Any) -> Mapping[str, Any]:
        if request.labels[REF] == chain(3)[2]:
            raise Refused(UNKNOWN, "the disk is full")
        return prepare(request)

    script.answers["Snapshots/Prepare"] = twice
    with pytest.raises(Unknown, match="disk is full"):
        script.unpack(3)
    committed = {one.key for one in script.of("Snapshots/Commit")}
    removed = {one.key for one in script.of("Snapshots/Remove")}
    assert committed | removed == {one.key for one in script.of("Snapshots/Prepare")[:2]}
    assert not committed & removed


@pytest.mark.parametrize("rebase", [False, True])
def test_somebody_else_is_quicker(rebase: bool) -> None:
    """With one layer before it is prepared, with another before it is committed."""
    script = Script(rebase=rebase)
    prepare, commit = script.answers["Snapshots/Prepare"], script.answers["Snapshots/Commit"]
    first, second = chain(4)[1:3]

    def prepared(request: Any) -> Mapping[str, Any]:
        if request.labels[REF] == first:
            script.committed.add(first)
            raise Refused(ALREADY_EXISTS, "already exists")
        return prepare(request)

    def committed(request: Any) -> Mapping[str, Any]:
        if request.name == second:
            raise Refused(ALREADY_EXISTS, "already exists")
        return commit(request)

    script.answers |= {"Snapshots/Prepare": prepared, "Snapshots/Commit": committed}
    assert script.unpack(4).top == chain(4)[3]
    asked = script.of("Snapshots/Commit")
    assert [one.name for one in asked] == [chain(4)[0], second, chain(4)[3]]
    if rebase:
        assert [one.parent for one in asked] == ["", first, second]
    (removed,) = script.of("Snapshots/Remove")
    assert removed.key == asked[1].key
    assert layer(1).digest not in {one.diff.digest for one in script.of("Diff/Apply")}


def test_a_snapshot_that_was_made_on_nothing() -> None:
    """By one that has layers without content, and takes its parent at its word: there is none."""
    script = Script(rebase=True)
    prepare = script.answers["Snapshots/Prepare"]

    def prepared(request: Any) -> Mapping[str, Any]:
        if request.labels[REF] == chain(2)[1]:
            script.committed.add(chain(2)[1])
            script.parents[chain(2)[1]] = request.parent
            raise Refused(ALREADY_EXISTS, "already exists")
        return prepare(request)

    script.answers["Snapshots/Prepare"] = prepared
    with pytest.raises(FailedPrecondition, match="has no parent"):
        script.unpack(3)
    (made,) = (one for one in script.of("Snapshots/Prepare") if one.labels[REF] == chain(1)[0])
    assert [one.key for one in script.of("Snapshots/Remove")] == [made.key]


def test_a_snapshot_that_is_there_and_is_not() -> None:
    script = Script(rebase=False)

    def prepare(request: Any) -> Mapping[str, Any]:
        raise Refused(ALREADY_EXISTS, "already exists")

    script.answers["Snapshots/Prepare"] = prepare
    with pytest.raises(Exception, match="3 times in a row"):
        script.unpack(1)
    keys = [one.key for one in script.of("Snapshots/Prepare")]
    assert len({*keys}) == len(keys) == 3


def test_layers_that_the_config_does_not_name() -> None:
    script = Script(rebase=False)
    config = ImageConfig(Platform("linux", "amd64"), (diff_id(0),))
    with script.unpacker(Job()) as unpacker, pytest.raises(InvalidArgument, match="2 layers"):
        unpacker.unpack([layer(0), layer(1)], CONFIG, config)
    assert script.calls == []

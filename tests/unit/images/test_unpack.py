"""What unpacking asks of a daemon, in which order, and what it does when layers fail.

The daemon is a script, so that a snapshot goes, or a layer fails, at a chosen moment.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from containerd_lite.errors import (
    DiffIDMismatch,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unknown,
)
from containerd_lite.images.job import Job
from containerd_lite.images.known_content import KnownContent
from containerd_lite.images.unpack.apply import WaitFor
from containerd_lite.images.unpack.image_unpacking import Need
from containerd_lite.images.unpack.unpack import Unpacked, Unpacker
from containerd_lite.oci import media_types
from containerd_lite.oci.config import ImageConfig
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.platform import Platform
from containerd_lite.services.content import ContentService
from containerd_lite.services.diff import DiffService
from containerd_lite.services.leases import LeaseService
from containerd_lite.services.snapshots import SnapshotService
from containerd_lite.store.daemon import DaemonStore
from tests.unit.services.scripted_daemon import Answer, Calls, Refused, serving

REF = "containerd.io/snapshot.ref"
DIFF_ID = "containerd.io/snapshot/diff-id"
PARENT = "containerd.io/snapshot/parent-chain-id"
REMOTE = "containerd.io/snapshot/remote"
UNCOMPRESSED = "containerd.io/uncompressed"
NOT_FOUND, ALREADY_EXISTS, UNKNOWN, FAILED_PRECONDITION = 5, 6, 2, 9
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


def labels(size: int) -> list[dict[str, str]]:
    """The labels of each snapshot."""
    own = [{REF: name, DIFF_ID: diff_id(place)} for place, name in enumerate(chain(size))]
    return [own[0], *({**own[n], PARENT: chain(size)[n - 1]} for n in range(1, size))]


class Script:
    """A daemon with nothing in it; tests change its answers, by place of the layer.

    It says nothing of the lease ``held``, if there is one.
    """

    def __init__(self, *, rebase: bool, snapshotter: str = "overlayfs", held: str = "") -> None:
        self.snapshotter = snapshotter
        self.calls: Calls = []
        self.capabilities = ["rebase"] if rebase else []
        self.held = held
        self.active: set[str] = set()
        self.committed: set[str] = set()
        #: The places of layers that the store has, and the snapshots that are remote.
        self.content: set[int] = set()
        self.remote: set[str] = set()
        self.parents = dict(zip(chain(10), ["", *chain(9)], strict=True))
        self.apply: Callable[[int], str] = diff_id
        self.answers: dict[str, Answer] = {
            "Introspection/Plugins": lambda request: {
                "plugins": [{"id": snapshotter, "capabilities": self.capabilities}]
            },
            "Snapshots/Stat": self._stat,
            "Snapshots/Prepare": self._prepare,
            "Snapshots/Commit": self._commit,
            "Snapshots/Remove": lambda request: {},
            "Diff/Apply": self._apply,
            "Content/Update": lambda request: {"info": {"digest": request.info.digest}},
            "Content/List": lambda request: {
                "info": [
                    {"digest": layer(place).digest}
                    for place in self.content
                    if f'digest=="{layer(place).digest}"' in request.filters
                ]
            },
            "Content/Info": self._info,
            "Leases/AddResource": lambda request: {},
        }

    def _info(self, request: Any) -> Mapping[str, Any]:
        if request.digest not in {layer(place).digest for place in self.content}:
            raise Refused(NOT_FOUND, "not found")
        return {"info": {"digest": request.digest}}

    def _stat(self, request: Any) -> Mapping[str, Any]:
        if request.key in self.active:
            return {"info": {"name": request.key, "kind": 2}}
        if request.key not in self.committed:
            raise Refused(NOT_FOUND, "not found")
        about = {REMOTE: "yes"} if request.key in self.remote else {}
        parent = self.parents[request.key]
        return {"info": {"name": request.key, "kind": 3, "parent": parent, "labels": about}}

    def _prepare(self, request: Any) -> Mapping[str, Any]:
        self.active.add(request.key)
        return {"mounts": [{"type": "bind", "source": "/s", "options": ["rbind", "rw"]}]}

    def _commit(self, request: Any) -> Mapping[str, Any]:
        if request.parent and request.parent not in self.committed:
            raise Refused(NOT_FOUND, f"parent snapshot {request.parent} does not exist: not found")
        self.active.remove(request.key)
        self.committed.add(request.name)
        return {}

    def _apply(self, request: Any) -> Mapping[str, Any]:
        place = next(n for n in range(200) if layer(n).digest == request.diff.digest)
        return {"applied": {"digest": self.apply(place)}}

    @contextmanager
    def unpacker(self, job: Job, workers: int = 3) -> Iterator[Unpacker]:
        with serving(self.answers, self.calls) as (channel, context):
            leases = LeaseService(channel, context)
            with leases.joining(self.held) if self.held else nullcontext():
                yield Unpacker(
                    KnownContent(DaemonStore(ContentService(channel, context))),
                    SnapshotService(channel, context, self.snapshotter),
                    DiffService(channel, context),
                    leases,
                    job,
                    workers,
                )

    def unpack(self, size: int, workers: int = 3, need: Need = lambda layers: None) -> Unpacked:
        with self.unpacker(Job(), workers) as unpacker:
            return unpack(unpacker, size, need=need)

    def of(self, name: str) -> list[Any]:
        return [message for called, message in self.calls if called == name]

    def names(self) -> list[str]:
        return [called.partition("/")[2] for called, _ in self.calls]


def unpack(
    unpacker: Unpacker,
    size: int,
    wait_for: WaitFor = lambda target: None,
    need: Need = lambda layers: None,
) -> Unpacked:
    layers = [layer(place) for place in range(size)]
    config = ImageConfig(Platform("linux", "amd64"), tuple(diff_id(n) for n in range(size)))
    return unpacker.unpack(layers, CONFIG, config, need, wait_for)


def test_one_after_the_other_each_on_the_one_below() -> None:
    script = Script(rebase=False)
    assert script.unpack(3) == Unpacked(chain(3)[-1])
    first, *names = script.names()
    each = ["Prepare", "Apply", "Commit"]  # the labels come beside
    assert first == "Update"
    assert [one for one in names if one != "Update"] == [
        "Stat", "Stat", "Plugins", *each, *each, *each,
    ]  # fmt: skip
    prepared = script.of("Snapshots/Prepare")
    assert [(one.parent, one.labels[REF]) for one in prepared] == [
        *zip(["", *chain(3)], chain(3), strict=False)
    ]
    for made, committed in zip(prepared, script.of("Snapshots/Commit"), strict=True):
        assert made.key.endswith(f" {committed.name}")
        assert (committed.key, committed.parent) == (made.key, "")
        assert committed.labels == made.labels
    assert [dict(one.labels) for one in prepared] == labels(3)
    assert {one.mounts[0].type for one in script.of("Diff/Apply")} == {"bind"}
    updates = [(one.info.digest, dict(one.info.labels)) for one in script.of("Content/Update")]
    assert updates == [
        (CONFIG.digest, {"containerd.io/gc.ref.snapshot.overlayfs": chain(3)[-1]}),
        *((layer(n).digest, {UNCOMPRESSED: diff_id(n)}) for n in range(3)),
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
    script.content = {*range(4)}
    with script.unpacker(Job()) as unpacker:
        unpack(unpacker, 1)
        assert script.of("Introspection/Plugins") == []
        unpack(unpacker, 4)
        script.committed.clear()
        unpack(unpacker, 4)
        assert len(script.of("Introspection/Plugins")) == 1
        script.calls.clear()
        unpack(unpacker, 4)
        assert script.names() == ["Update", "Stat", *["Info"] * 3]  # all is there
        script.committed.discard(chain(4)[3])
        script.calls.clear()
        unpack(unpacker, 4)
        each = ["Prepare", "Apply", "Commit", "Update"]
        assert script.names() == ["Update", *["Stat"] * 3, *["Info"] * 2, *each]


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
    assert script.names()[:10] == ["Update", "Stat", "Stat", "Plugins", *["Prepare"] * 6]
    prepared, committed = script.of("Snapshots/Prepare"), script.of("Snapshots/Commit")
    assert [(one.parent, one.labels[REF]) for one in prepared] == [("", one) for one in chain(6)]
    assert [(one.parent, one.name) for one in committed] == [
        *zip(["", *chain(6)], chain(6), strict=False)
    ]
    assert [one.key for one in committed] == [one.key for one in prepared]
    assert [dict(one.labels) for one in committed] == labels(6)
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
def test_below_a_layer_that_fails_all_are_committed(
    fail: Callable[[int], str], kind: type[Exception]
) -> None:
    script = Script(rebase=True)
    job, has_failed = Job(), threading.Event()

    def apply(place: int) -> str:
        if place == 1:
            has_failed.set()
            return fail(place)
        assert has_failed.wait(PATIENCE)
        time.sleep(0.3)  # the failure arrives, and the layers above it are given up
        return diff_id(place)

    script.apply = apply
    with script.unpacker(job, 2) as unpacker, pytest.raises(kind) as caught:
        unpack(unpacker, 5)
    assert job.failure is caught.value
    begun = {one.diff.digest for one in script.of("Diff/Apply")}
    assert begun == {layer(0).digest, layer(1).digest}
    keys = [one.key for one in script.of("Snapshots/Prepare")]
    assert [one.key for one in script.of("Snapshots/Commit")] == keys[:1]
    assert [one.key for one in script.of("Snapshots/Remove")] == keys[1:]
    labelled = {one.info.digest for one in script.of("Content/Update")}
    assert labelled == {CONFIG.digest, layer(0).digest}
    assert [one for one in script.names() if one != "Update"][-1] == "Remove"


def test_of_the_layers_that_fail_the_lowest_is_told() -> None:
    script = Script(rebase=True)
    upper_has_failed = threading.Event()

    def apply(place: int) -> str:
        if place == 3:
            upper_has_failed.set()
            return wrong(place)
        if place == 1:
            assert upper_has_failed.wait(PATIENCE)
            time.sleep(0.1)
            return refused(place)
        return diff_id(place)

    script.apply = apply
    with pytest.raises(Unknown, match="disk is full"):
        script.unpack(5, workers=4)
    assert script.committed == {chain(1)[0]}


def test_the_failure_is_told_and_not_what_it_stopped() -> None:
    script = Script(rebase=True)
    job = Job()

    def wait_for(target: Descriptor) -> None:
        if target == layer(1):  # its download failed
            job.fail(ResourceExhausted("the disk is full"))
        assert job.stop.wait(PATIENCE)
        job.check()

    with script.unpacker(job) as unpacker, pytest.raises(ResourceExhausted, match="disk is full"):
        unpack(unpacker, 2, wait_for)
    assert script.of("Diff/Apply") == []
    assert len(script.of("Snapshots/Remove")) == 2


def test_parents_that_go_are_made_again_and_no_layer_twice() -> None:
    script = Script(rebase=True)
    prepare = script.answers["Snapshots/Prepare"]
    script.committed = {*chain(2)}
    job = Job()

    def prepared(request: Any) -> Mapping[str, Any]:
        if request.labels[REF] == chain(4)[2]:  # they were found, and are collected now
            script.committed -= {*chain(2)}
        return prepare(request)

    script.answers["Snapshots/Prepare"] = prepared
    with script.unpacker(job) as unpacker:
        assert unpack(unpacker, 4).top == chain(4)[3]
    assert job.failure is None
    assert script.committed == {*chain(4)}
    applied = [one.diff.digest for one in script.of("Diff/Apply")]
    assert sorted(applied) == sorted(layer(place).digest for place in range(4))
    assert script.of("Snapshots/Remove") == []
    keys = {one.labels[REF]: one.key for one in script.of("Snapshots/Prepare")}
    commits = [(one.name, one.key, one.parent) for one in script.of("Snapshots/Commit")]
    ends = [
        (name, keys[name], below) for name, below in zip(chain(4), ["", *chain(3)], strict=True)
    ]
    assert commits == [ends[2], *ends]


def test_parents_that_go_again_and_again() -> None:
    script = Script(rebase=True)

    def commit(request: Any) -> Mapping[str, Any]:
        raise Refused(NOT_FOUND, "parent snapshot does not exist: not found")

    script.answers["Snapshots/Commit"] = commit
    script.committed = {chain(1)[0]}
    with pytest.raises(NotFound, match="parent snapshot"):
        script.unpack(3)
    assert len(script.of("Diff/Apply")) == 2
    assert len(script.of("Snapshots/Commit")) == 10
    assert len(script.of("Snapshots/Remove")) == 2


def test_what_another_has_made_meanwhile_is_used_and_ours_removed() -> None:
    script = Script(rebase=True)
    commit = script.answers["Snapshots/Commit"]
    script.committed = {chain(1)[0]}

    def committed(request: Any) -> Mapping[str, Any]:
        if len(script.of("Snapshots/Commit")) == 1:
            script.committed |= {*chain(3)}
            raise Refused(NOT_FOUND, "parent snapshot does not exist: not found")
        return commit(request)

    script.answers["Snapshots/Commit"] = committed
    assert script.unpack(4).top == chain(4)[3]
    keys = [one.key for one in script.of("Snapshots/Prepare")]
    assert [one.key for one in script.of("Snapshots/Remove")] == keys[:2]
    assert [one.key for one in script.of("Snapshots/Commit")] == [keys[0], keys[2]]


@pytest.mark.parametrize("size", [2, 10])
def test_what_is_there_is_held_by_two_calls(size: int) -> None:
    script = Script(rebase=True, held="mine")
    script.committed, script.content = {*chain(size)}, {*range(size)}
    needed: list[Descriptor] = []
    assert script.unpack(size, need=needed.extend) == Unpacked(chain(size)[-1])
    assert script.names() == ["Update", "AddResource", "Stat", "Info" if size == 2 else "List"]
    (added,) = script.of("Leases/AddResource")
    assert (added.id, added.resource.id) == ("mine", chain(size)[-1])
    assert added.resource.type == "snapshots/overlayfs"
    assert needed == [layer(place) for place in range(size)]


def test_the_highest_is_held_before_it_is_relied_on() -> None:
    script = Script(rebase=True, held="mine")
    script.committed = {*chain(7)}
    stat = script.answers["Snapshots/Stat"]
    asked: list[str] = []

    def first_it_goes(request: Any) -> Mapping[str, Any]:
        asked.append(request.key)
        if asked.count(chain(7)[6]) == 2:  # collected before it was held
            script.committed -= {*chain(7)[4:]}
        return stat(request)

    script.answers["Snapshots/Stat"] = first_it_goes
    script.unpack(10)
    held = [one.resource.id for one in script.of("Leases/AddResource")]
    assert held == [chain(10)[9], chain(10)[6], chain(10)[3]]
    assert [one.labels[REF] for one in script.of("Snapshots/Prepare")] == chain(10)[4:]


def test_layers_that_the_snapshotter_has() -> None:
    """Since 2.4: only the others are fetched, and applied."""
    script = Script(rebase=True, snapshotter="erofs")
    prepare, staged = script.answers["Snapshots/Prepare"], (0, 2, 3)
    script.content = {3}

    def prepared(request: Any) -> Mapping[str, Any]:
        answer = prepare(request)
        is_staged = request.labels[DIFF_ID] in map(diff_id, staged)
        return {"mounts": [{"type": "erofs", "source": "/c"}]} if is_staged else answer

    script.answers["Snapshots/Prepare"] = prepared
    needed: list[Sequence[Descriptor]] = []
    assert script.unpack(6, need=needed.append) == Unpacked(chain(6)[5], is_lazy=True)
    assert needed == [[layer(3)], [layer(place) for place in (1, 4, 5)]]
    applied = {one.diff.digest for one in script.of("Diff/Apply")}
    assert applied == {layer(place).digest for place in (1, 4, 5)}
    assert [one.name for one in script.of("Snapshots/Commit")] == chain(6)
    labelled = {one.info.digest for one in script.of("Content/Update")}
    assert labelled == {CONFIG.digest, *applied}


@pytest.mark.parametrize("rebase", [False, True])
@pytest.mark.parametrize(
    ("said", "is_staged"),
    [
        ("cannot apply to a read-only snapshot, its content is already populated", True),
        ("the layer is encrypted", False),
    ],
)
def test_a_differ_that_refuses_what_is_staged(rebase: bool, said: str, is_staged: bool) -> None:
    script = Script(rebase=rebase)

    def apply(place: int) -> str:
        raise Refused(FAILED_PRECONDITION, f"{said}: failed precondition")

    script.apply = apply
    if is_staged:
        assert script.unpack(2) == Unpacked(chain(2)[1])
        assert script.committed == {*chain(2)}
        assert [one.info.digest for one in script.of("Content/Update")] == [CONFIG.digest]
    else:
        with pytest.raises(FailedPrecondition, match=said):
            script.unpack(2)
        assert script.committed == set()


def test_what_the_snapshotter_fetches_itself_stays_so() -> None:
    script = Script(rebase=False)
    script.committed = {*chain(4)}
    script.remote, script.content = {chain(4)[1], chain(4)[2]}, {0, 2, 3}
    needed: list[Descriptor] = []
    assert script.unpack(4, need=needed.extend).is_lazy
    assert needed == [layer(0), layer(2), layer(3)]
    assert script.names() == ["Update", "Stat", *["Info"] * 3, "Stat"]


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
            script.committed.add(second)
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

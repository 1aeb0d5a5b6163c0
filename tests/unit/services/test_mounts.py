"""The mount manager, which no Debian daemon has yet: a scripted server answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime, timezone
from typing import Any

import pytest

from containerd_lite.errors import Unimplemented, Unknown
from containerd_lite.schema.plain import plain
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._base import CallContext
from containerd_lite.services._types import Mount
from containerd_lite.services.mounts import Activation, ActiveMount, MountService
from containerd_lite.transport.channel import Channel
from tests.unit.services import scripted_daemon
from tests.unit.services.scripted import Answers, serving
from tests.unit.services.scripted_daemon import Refused
from tests.wire.peer import Peer, Request, Wire, answering, descriptors

pytestmark = pytest.mark.backend

NAME = "containerd.services.mounts.v1.Mounts"
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc)
LOOP = Mount("loop", "/image", "sub", ("ro", "offset=1"))
BIND = Mount("bind", "/a", options=("rbind",))
FULL = Activation(
    "one",
    (ActiveMount(LOOP, "/run/m/1", WHEN, {"device": "/dev/loop0"}), ActiveMount(BIND)),
    (BIND, LOOP),
    {"a": "b"},
)
#: The same, spelled out as the .proto has it.
MESSAGE: dict[str, Any] = {
    "name": "one",
    "active": [
        {
            "mount": {
                "type": "loop",
                "source": "/image",
                "target": "sub",
                "options": ["ro", "offset=1"],
            },
            "mounted_at": WHEN,
            "mount_point": "/run/m/1",
            "data": {"device": "/dev/loop0"},
        },
        {
            "mount": {"type": "bind", "source": "/a", "target": "", "options": ["rbind"]},
            "mounted_at": None,
            "mount_point": "",
            "data": {},
        },
    ],
    "system": [
        {"type": "bind", "source": "/a", "target": "", "options": ["rbind"]},
        {"type": "loop", "source": "/image", "target": "sub", "options": ["ro", "offset=1"]},
    ],
    "labels": {"a": "b"},
}


def full() -> Any:
    """The message, filled field by field."""
    kind = CONTAINERD.message("containerd.types.ActivationInfo")
    active = CONTAINERD.message("containerd.types.ActiveMount")
    loop, bind = MESSAGE["active"]
    made = active(mount=loop["mount"], mount_point=loop["mount_point"], data=loop["data"])
    made.mounted_at.seconds = int(WHEN.timestamp())
    made.mounted_at.nanos = 678_000_000
    return kind(
        name="one",
        active=[made, active(mount=bind["mount"])],
        system=MESSAGE["system"],
        labels=MESSAGE["labels"],
    )


ASKED: list[Any] = []


@pytest.fixture
def mounts() -> Iterator[MountService]:
    before = descriptors()
    ASKED.clear()
    answers: Answers = {
        f"{NAME}/Activate": lambda request: [{"info": full()}],
        f"{NAME}/Deactivate": lambda request: [{}],
        f"{NAME}/Info": lambda request: [{"info": full()}],
        f"{NAME}/Update": lambda request: [{"info": request.info}],
        f"{NAME}/List": lambda request: [{"info": full()}, {"info": {"name": "two"}}],
    }
    with serving(answers, ASKED) as (channel, context):
        yield MountService(channel, context)
    assert descriptors() == before


def asked() -> dict[str, Any]:
    (message,) = ASKED
    return plain(message)


def test_what_is_expected_is_all_there_is() -> None:
    assert plain(full()) == MESSAGE


@pytest.mark.parametrize("temporary", [False, True])
def test_activate(mounts: MountService, temporary: bool) -> None:
    found = mounts.activate("one", [LOOP, BIND], labels={"a": "b"}, temporary=temporary)
    assert found == FULL
    assert found.labels == {"a": "b"}
    assert found.active[0].data == {"device": "/dev/loop0"}
    assert asked() == {
        "name": "one",
        "mounts": [MESSAGE["system"][1], MESSAGE["system"][0]],
        "labels": {"a": "b"},
        "temporary": temporary,
    }


def test_deactivate(mounts: MountService) -> None:
    mounts.deactivate("one")
    assert asked() == {"name": "one"}


def test_info(mounts: MountService) -> None:
    assert mounts.info("one") == FULL
    assert asked() == {"name": "one"}


def test_update(mounts: MountService) -> None:
    assert mounts.update(FULL, fields=["labels.a"]) == FULL
    assert asked() == {"info": MESSAGE, "update_mask": {"paths": ["labels.a"]}}
    ASKED.clear()
    mounts.update(FULL)
    assert asked() == {"info": MESSAGE, "update_mask": None}


def test_list(mounts: MountService) -> None:
    assert list(mounts.list("name==one", "labels.a==b")) == [FULL, Activation("two")]
    assert asked() == {"filters": ["name==one", "labels.a==b"]}


def test_a_daemon_without() -> None:
    version = CONTAINERD.method("containerd.services.version.v1.Version/Version")

    def answer(wire: Wire, request: Request) -> None:
        if request.path == version.path:
            wire.send(
                wire.answer(
                    request.stream_id, version.response(version="v2.1.9").SerializeToString()
                )
            )
        else:
            wire.send(wire.headers(request.stream_id), wire.trailers(request.stream_id, 12))

    with Peer(answering(answer)) as peer, Channel(peer.address) as channel:
        service = MountService(channel, CallContext("ns"))
        calls = (
            lambda: service.activate("a", []),
            lambda: service.deactivate("a"),
            lambda: service.info("a"),
            lambda: service.update(FULL),
            lambda: list(service.list()),
        )
        for call in calls:
            with pytest.raises(Unimplemented) as caught:
                call()
            assert caught.value.remedy == "This is containerd v2.1.9; the method came with 2.2"


GONE = "no such file or directory"


@pytest.mark.parametrize(
    ("said", "is_done"),
    [(GONE, True), (f"{GONE}\n{GONE}", True), (f"{GONE}\ndevice or resource busy", False)],
)
def test_garbage_collection_unmounts_at_the_same_time(said: str, is_done: bool) -> None:
    """A daemon reports it as an error if both unmount, and the mounts are gone."""

    def refuse(message: Any) -> dict[str, Any]:
        raise Refused(2, said.replace("\n", "%0A"))

    answers = {"Mounts/Deactivate": refuse}
    with scripted_daemon.serving(answers, []) as (channel, context):
        service = MountService(channel, context)
        with nullcontext() if is_done else pytest.raises(Unknown, match="busy"):
            service.deactivate("one")

"""Records of events beside the schema; that they come and go is tested with daemons."""

from __future__ import annotations

import pickle
from copy import copy, deepcopy
from dataclasses import FrozenInstanceError, asdict, fields, is_dataclass, replace
from datetime import datetime, timezone

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._events import event_of, payload_fields
from containerd_lite.services._types import AnyValue, Mount
from containerd_lite.services.event_types import (
    TYPES,
    ContainerCreate,
    ContainerRuntime,
    ContentCreate,
    Event,
    Gap,
    TaskCreate,
    TaskExit,
    TaskIO,
    TaskOOM,
)

pytestmark = pytest.mark.backend

_NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc)
OOM = TaskOOM("c")
_ENVELOPE = "containerd.types.Envelope"


def _descriptor(name: str) -> dict[str, object]:
    return dict(CONTAINERD.message(name).DESCRIPTOR.fields_by_name)


def test_there_is_a_record_for_every_type() -> None:
    known = {name for name in CONTAINERD.names() if name.startswith("containerd.events.")}
    images = {f"containerd.services.images.v1.Image{what}" for what in ("Create", "Update")}
    images.add("containerd.services.images.v1.ImageDelete")
    assert set(TYPES) == known - {"containerd.events.TaskIO"} | images
    assert {name.rpartition(".")[2] for name in TYPES} == {kind.__name__ for kind in TYPES.values()}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *TYPES.items(),
        ("containerd.events.TaskIO", TaskIO),
        ("containerd.events.ContainerCreate.Runtime", ContainerRuntime),
        ("containerd.types.Mount", Mount),
    ],
)
def test_a_record_has_the_fields_of_its_type(name: str, kind: type) -> None:
    assert is_dataclass(kind)
    assert {one.name for one in fields(kind)} == set(_descriptor(name))


def _envelope(type_url: str, value: bytes, seconds: int = 1) -> object:
    return CONTAINERD.message(_ENVELOPE)(
        timestamp={"seconds": seconds, "nanos": 1999},
        namespace="n",
        topic="/a/b",
        event={"type_url": type_url, "value": value},
    )


@pytest.mark.parametrize(
    ("type_url", "value"),
    [
        ("nobody.knows.This", b"\xff"),
        ("containerd.events.TaskIO", b""),
        ("", b""),
        ("containerd.events.TaskExit", b"\xff"),
        ("containerd.events.TaskOOM", b"\x0a\x01\xff"),  # no UTF-8
        ("containerd.events.TaskExit", b"\x2a\x07\x08\xff\xff\xff\xff\xff\x7f"),  # no such year
    ],
)
def test_what_cannot_be_read_stays_as_it_came(type_url: str, value: bytes) -> None:
    event = event_of(_envelope(type_url, value))
    assert event.event == AnyValue(type_url, value)
    assert (event.namespace, event.topic) == ("n", "/a/b")


def test_a_field_of_the_future_does_no_harm() -> None:
    known = payload_fields(TaskExit("c", "e", 1, 2, _NOW))
    event = event_of(_envelope(str(known["type_url"]), bytes(known["value"]) + b"\xfa\x3e\x01x"))  # type: ignore[call-overload]
    assert event.event == TaskExit("c", "e", 1, 2, _NOW)


def test_what_is_not_there_is_empty() -> None:
    for name, kind in TYPES.items():
        assert event_of(_envelope(name, b"")).event == kind()
    assert TaskExit().exited_at is None
    assert TaskCreate().io is None
    assert ContainerCreate().runtime is None
    runtime = ContainerCreate("c", "i", ContainerRuntime("r"))
    sent = payload_fields(runtime)
    assert event_of(_envelope(str(sent["type_url"]), bytes(sent["value"]))).event == runtime  # type: ignore[call-overload]


@pytest.mark.parametrize(("seconds", "year"), [(1 << 60, 9999), (-(1 << 60), 1), (0, 1970)])
def test_a_time_that_is_none_ends_no_subscription(seconds: int, year: int) -> None:
    event = event_of(_envelope("a.B", b"", seconds))
    assert (event.timestamp.year, event.timestamp.tzinfo) == (year, timezone.utc)


def test_it_is_as_if_it_had_been_read_at_once() -> None:
    def came() -> Event:
        return event_of(_envelope("containerd.events.TaskOOM", b"\x0a\x01c"))

    made = Event(datetime.fromtimestamp(1, timezone.utc).replace(microsecond=1), "n", "/a/b", OOM)
    assert (came(), hash(came()), repr(came())) == (made, hash(made), repr(made))
    assert pickle.loads(pickle.dumps(came())) == copy(came()) == deepcopy(came()) == made
    assert replace(came(), topic="/c") == replace(made, topic="/c")
    assert asdict(came()) == asdict(made)
    event = came()
    assert event.event is event.event
    assert not hasattr(event, "evnt")
    with pytest.raises(FrozenInstanceError):
        event.topic = "/c"  # type: ignore[misc]


def test_records_pickle_and_hash() -> None:
    events = [event_of(_envelope(name, b"")) for name in TYPES]
    assert pickle.loads(pickle.dumps(events)) == events
    assert len({event.event for event in events}) == len(TYPES)
    gap = Gap(_NOW, _NOW, "why")
    assert pickle.loads(pickle.dumps(gap)) == gap


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Gap(_NOW, _NOW, "why"), "Gap is not an event"),
        (TaskIO(), "TaskIO is not an event"),
        (TaskExit(pid=-1), "pid"),
        (TaskExit(exited_at=datetime(2026, 1, 1)), "exited_at"),  # of which zone?
        (ContentCreate(size=1 << 63), "size"),
    ],
)
def test_what_is_no_event(event: TaskExit, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        payload_fields(event)

"""Events: all types both ways, filters, and beside ``ctr events``."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import DeadlineExceeded, InvalidArgument
from containerd_lite.services._types import AnyValue, Mount
from containerd_lite.services.event_types import (
    TYPES,
    ContainerRuntime,
    Event,
    Gap,
    Payload,
    TaskIO,
    TaskStart,
)
from containerd_lite.services.filters import Filter
from containerd_lite.services.subscription import EventStream
from tests.conftest import Count
from tests.e2e.services.leftovers import nothing_stays
from tests.harness.daemon import Daemon
from tests.harness.process import wait_until

__all__ = ["nothing_stays"]
pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]

_PATIENCE = 10.0
_HOWS = ("create", "update", "delete")
_THEN = datetime(2024, 2, 29, 23, 59, 58, 123456, timezone.utc)
_TIME = re.compile(r"(\d+-\d+-\d+T[\d:]+)(?:\.(\d+))?Z")
_LINE = re.compile(r"(\d+-\d+-\d+ \d+:\d+:\d+)(?:\.(\d+))? \+0000 UTC (\S+) (\S+) (.*)", re.DOTALL)


def _sample(kind: type[Payload], number: int) -> Payload:
    """An event with every field set, each to something that is like no other."""
    values: dict[str, object] = {}
    for n, one in enumerate(fields(kind), 1000 * number):
        options = AnyValue("runc.v1.Options", b"\x08\x01")
        made: dict[str, object] = {
            "str": f"{one.name} {n} é",
            "int": n + 1,
            "dict[str, str]": {f"a.b/{n}": "c", "": "d"},
            "datetime | None": _THEN + timedelta(microseconds=n),
            "tuple[Mount, ...]": (Mount("a", "b", "c", ("d", "e")), Mount("f", "g")),
            "TaskIO | None": TaskIO("i", "o", "e", True),
            "ContainerRuntime | None": ContainerRuntime("r", options),
        }
        values[one.name] = made[str(one.type)]
    return kind(**values)  # type: ignore[arg-type]


@pytest.fixture
def stream(client: Client, namespace: str) -> Iterator[EventStream]:
    """What happens in the test's namespace, all of it."""
    with client.event_service.subscribe(Filter("namespace") == namespace) as stream:
        stream.wait_until_subscribed(_PATIENCE)
        yield stream


@pytest.mark.parametrize("name", TYPES)
def test_every_type_goes_round(
    client: Client, namespace: str, stream: EventStream, name: str
) -> None:
    kind, service = TYPES[name], client.event_service
    for number, event in enumerate((kind(), _sample(kind, 1))):
        before = datetime.now(timezone.utc)
        service.publish(f"/some/topic{number}", event)
        came = stream.receive(_PATIENCE)
        assert came is not None
        assert (came.namespace, came.topic, came.event) == (
            namespace,
            f"/some/topic{number}",
            event,
        )
        # The daemon's clock and ours are one.
        assert before - timedelta(seconds=1) < came.timestamp < datetime.now(timezone.utc)
        sent = Event(_THEN, namespace, "/an/other", event)
        service.forward(sent)
        assert stream.receive(_PATIENCE) == sent
    # Past our own decoder, as the schema has it.
    service.publish("/as/bytes", AnyValue.of(name, _plain(event)))
    came = stream.receive(_PATIENCE)
    assert came is not None
    assert came.event == event


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    "event",
    [
        AnyValue("nobody.knows.This", b"\xff\x00"),
        AnyValue("containerd.events.TaskExit", b"\xff"),
        AnyValue("types.containerd.io/x", b"{}"),
    ],
)
def test_what_cannot_be_read_is_not_lost(
    client: Client, stream: EventStream, event: AnyValue
) -> None:
    client.event_service.publish("/some/topic", event)
    came = stream.receive(_PATIENCE)
    assert came is not None
    assert came.event == event
    client.event_service.forward(came)
    assert stream.receive(_PATIENCE) == came


def test_what_the_daemon_refuses(client: Client, namespace: str) -> None:
    service = client.event_service
    for topic in ("", "tasks", "/", "/a//b"):
        with pytest.raises(InvalidArgument):
            service.publish(topic, TaskStart("c", 1))
    with pytest.raises(InvalidArgument):
        service.forward(Event(_THEN, "", "/a", TaskStart("c", 1)))
    with pytest.raises(InvalidArgument, match="Gap"):
        service.forward(Event(_THEN, namespace, "/a", Gap(_THEN, _THEN, "why")))
    for reconnect in (False, True):
        with (
            service.subscribe("topic==", reconnect=reconnect) as stream,
            pytest.raises(InvalidArgument, match="filter"),
        ):
            next(stream)
        with (
            service.subscribe("topic==", reconnect=reconnect) as stream,
            pytest.raises(InvalidArgument, match="filter"),
        ):
            stream.wait_until_subscribed(_PATIENCE)


def test_filters(client: Client, namespace: str) -> None:
    other = client.in_namespace(f"{namespace}x")
    here = Filter("namespace") == namespace
    wanted = {
        "topic": [here & (Filter("topic") == "/a/b")],
        "either": [here & (Filter("topic") == "/a/b"), here & Filter("topic").matches("^/c/")],
        "field": [here & (Filter("event.container_id") == "two")],
        "elsewhere": [(Filter("namespace") == f"{namespace}x") & "topic"],
    }
    streams = {name: client.event_service.subscribe(*some) for name, some in wanted.items()}
    for one in streams.values():
        one.wait_until_subscribed(_PATIENCE)
    for where, topic, id in (
        (client, "/a/b", "one"),
        (other, "/a/b", "two"),
        (client, "/a/bc", "two"),
        (client, "/c/d", "three"),
    ):
        where.event_service.publish(topic, TaskStart(id, 1))
    for where in (client, other):
        where.event_service.publish("/a/b", TaskStart("two", 9))  # the last that each of them gets
    came: dict[str, list[tuple[str, str]]] = {name: [] for name in wanted}
    for name, one in streams.items():
        with one:
            for event in one:
                assert isinstance(event.event, TaskStart)
                if event.event.pid == 9:
                    break
                came[name].append((event.topic, event.event.container_id))
    assert came == {
        "topic": [("/a/b", "one")],
        "either": [("/a/b", "one"), ("/c/d", "three")],
        "field": [("/a/bc", "two")],
        "elsewhere": [("/a/b", "two")],
    }


def test_none_is_lost(client: Client, stream: EventStream, count: Count) -> None:
    many = count(2000, 20_000)
    for number in range(many):
        client.event_service.publish("/some/topic", TaskStart("c", number + 1))
    pids = []
    for event in stream:
        assert isinstance(event.event, TaskStart)
        pids.append(event.event.pid)
        if len(pids) == many:
            break
    assert pids == list(range(1, many + 1))
    assert stream.poll() is None


def test_it_stands_when_it_says_so(client: Client, namespace: str, count: Count) -> None:
    for number in range(count(100, 1000)):
        topic = f"/round/n{number}"
        with client.event_service.subscribe(Filter("topic") == topic) as stream:
            stream.wait_until_subscribed(_PATIENCE)
            client.event_service.publish(topic, TaskStart("c", number))
            came = stream.receive(_PATIENCE)
            assert came is not None
            assert came.topic == topic


# ---- beside ctr ------------------------------------------------------------------------------


class Ctr:
    """``ctr events`` with a filter, into a file; what it warns of goes beside."""

    def __init__(self, daemon: Daemon, path: Path, filter: str) -> None:
        argv = [*daemon.programs.ctr.argv, "--address", str(daemon.socket), "events", filter]
        self._path = path
        with path.open("wb") as sink, path.with_suffix(".err").open("wb") as warnings:
            self._process = subprocess.Popen(argv, stdout=sink, stderr=warnings)

    def events(self) -> list[tuple[datetime, str, str, dict[str, object]]]:
        found = []
        for line in self._path.read_text().splitlines():
            parts = _LINE.fullmatch(line)
            assert parts is not None, line
            time, fraction, namespace, topic, event = parts.groups()
            found.append((_moment(time, fraction), namespace, topic, json.loads(event)))
        return found

    def has(self, topic: str) -> bool:
        return any(one[2] == topic for one in self.events())

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE)


def _moment(time: str, fraction: str | None) -> datetime:
    whole = datetime.fromisoformat(f"{time.replace('T', ' ')}+00:00")
    return whole + timedelta(microseconds=int(f"{fraction or '':0<6}"[:6]))


@contextmanager
def _ctr_events(daemon: Daemon, client: Client, folder: Path, filter: str) -> Iterator[Ctr]:
    ctr = Ctr(daemon, folder / "events", filter)
    try:

        def stands() -> bool:
            client.event_service.publish("/ctr/stands", TaskStart("ctr", 1))
            return ctr.has("/ctr/stands")

        assert wait_until(stands, _PATIENCE)
        yield ctr
    finally:
        ctr.end()


def _as_json(value: Any) -> Any:
    """A record as the daemon's own JSON has it: what is empty is not there."""
    if is_dataclass(value):
        found = {one.name: _as_json(getattr(value, one.name)) for one in fields(value)}
        return {name: one for name, one in found.items() if one}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return [_as_json(one) for one in value] if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    """Times are text in 1.6, and seconds and nanoseconds later."""
    if isinstance(value, dict) and set(value) <= {"seconds", "nanos"} and value:
        nanos = value.get("nanos", 0)
        return datetime.fromtimestamp(value.get("seconds", 0), timezone.utc) + timedelta(
            microseconds=nanos // 1000
        )
    if isinstance(value, dict):
        found = {name: _from_json(one) for name, one in value.items()}
        return {name: one for name, one in found.items() if one}
    if isinstance(value, list):
        return [_from_json(one) for one in value]
    if isinstance(value, str) and (
        time := re.fullmatch(r"(\d+-\d+-\d+T[\d:]+)(?:\.(\d+))?Z", value)
    ):
        return _moment(time[1], time[2])
    return value


def _live(daemon: Daemon, namespace: str, busybox: str) -> None:
    """A container's life, led by ctr, and that of all that it needs."""

    def ctr(*words: str) -> list[str]:
        return daemon.ctr(*words, namespace=namespace).stdout.decode().split()

    ctr("namespaces", "create", namespace, "a=b")
    ctr("namespaces", "label", namespace, "c=d")
    ctr("images", "pull", "--plain-http", busybox)
    ctr("images", "label", busybox, "e=f")
    ctr("images", "tag", busybox, "other")
    ctr("run", "-d", "--label", "g=h", busybox, "one", "sleep", "1000")
    ctr("containers", "label", "one", "i=j")
    ctr("tasks", "exec", "--exec-id", "more", "one", "true")
    ctr("tasks", "pause", "one")
    ctr("tasks", "resume", "one")
    ctr("tasks", "kill", "-s", "SIGKILL", "one")
    assert wait_until(lambda: "STOPPED" in ctr("tasks", "ls"), _PATIENCE)
    daemon.ctr("tasks", "delete", "one", namespace=namespace, check=False)  # it tells the code, 137
    ctr("containers", "delete", "one")
    ctr("content", "remove", *ctr("content", "ls", "-q"))
    ctr("images", "remove", "--sync", busybox, "other")
    ctr("namespaces", "remove", namespace)


def _topics(daemon: Daemon) -> set[str]:
    """What a container's life gives always.

    A shim ends when its task is deleted, and may take the event that says so with it.
    """
    return {
        *(f"/{what}/{how}" for what in ("namespaces", "images", "containers") for how in _HOWS),
        *(f"/tasks/{how}" for how in ("create", "start", "exit", "paused", "resumed")),
        *(f"/tasks/exec-{how}" for how in ("added", "started")),
        *(f"/snapshot/{how}" for how in ("prepare", "commit", "remove")),
        "/content/delete",
        *(["/content/create"] if daemon.version_info >= (2, 1) else []),
    }


@pytest.mark.registry
def test_what_ctr_says_of_the_same(
    daemon: Daemon, client: Client, namespace: str, busybox: str, tmp_path: Path
) -> None:
    filter = Filter("namespace") == namespace
    with (
        client.event_service.subscribe(filter) as stream,
        _ctr_events(daemon, client, tmp_path, filter) as ctr,
    ):
        stream.wait_until_subscribed(_PATIENCE)
        client.event_service.publish("/it/begins", TaskStart("c", 1))
        _live(daemon, namespace, busybox)
        _until(stream, "/it/begins")
        found, wanted = list[Event](), _topics(daemon)
        with suppress(DeadlineExceeded):  # what shims and the collector have to say may be late
            while not wanted <= {event.topic for event in found}:
                found.append(_received(stream))
        assert {event.topic for event in found} - {"/tasks/delete"} == wanted
        client.event_service.publish("/it/ends", TaskStart("c", 2))
        found += _until(stream, "/it/ends")
        assert wait_until(lambda: ctr.has("/it/ends"), _PATIENCE)
    theirs = ctr.events()
    begin = next(n for n, one in enumerate(theirs) if one[2] == "/it/begins")
    assert [(one.timestamp, one.namespace, one.topic, _as_json(one.event)) for one in found] == [
        (*head, _from_json(event)) for *head, event in theirs[begin + 1 :]
    ]
    assert not [one for one in found if not isinstance(one.event, tuple(TYPES.values()))]


def _received(stream: EventStream) -> Event:
    event = stream.receive(_PATIENCE)
    assert event is not None
    return event


def _until(stream: EventStream, topic: str) -> list[Event]:
    found = [_received(stream)]
    while found[-1].topic != topic:
        found.append(_received(stream))
    return found

"""The everyday methods of containers: list, start, stop, restart, wait, pause, delete."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client, DetachedContainer, Filter
from containerd_lite.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound
from containerd_lite.images.image import Image
from containerd_lite.runtime.io import LogFile, NullIO
from containerd_lite.runtime.restart import STATUS, STOPPED
from containerd_lite.services.event_types import TaskExit, TaskStart
from tests.e2e.runtime.conftest import Make
from tests.harness.process import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.usefixtures("nothing_left")]

_TRAP = ["sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done"]
_SOON = timedelta(seconds=30)
#: How precisely Linux knows when a process started.
_TICK = timedelta(seconds=1 / os.sysconf("SC_CLK_TCK"))


@pytest.mark.generations
def test_the_life_of_a_container(client: Client, make: Make) -> None:
    container = make("sleep", "1000")
    assert (container.status, container.exit_code, container.started_at) == ("created", None, None)
    task = container.start()
    assert container.status == "running"
    assert container.start() == task or container.task().pid == task.pid
    started = container.started_at
    assert started is not None
    assert abs(datetime.now(timezone.utc) - started) < _SOON
    container.pause()
    assert container.status == "paused"
    container.resume()
    with pytest.raises(DeadlineExceeded):
        container.wait(0)
    container.kill()
    assert container.wait(10).exit_status == 137
    assert (container.status, container.exit_code) == ("stopped", 137)
    assert container.started_at == started
    assert container.restart().pid != task.pid
    assert (container.status, container.exit_code) == ("running", None)
    with pytest.raises(FailedPrecondition, match="has a running task"):
        container.delete()
    container.delete(force=True)
    with pytest.raises(NotFound):
        client.load_container(container.id)
    with pytest.raises(NotFound):
        assert container.status
    assert container.exit_code is None


def test_when_the_task_started(client: Client, image: Image) -> None:
    before = datetime.now(timezone.utc)
    container = client.run(image, _TRAP, detach=True)
    after = datetime.now(timezone.utc)
    started = container.started_at
    assert started is not None
    assert before <= started <= after
    container.stop(0)
    assert container.started_at == client.load_container(container.id).started_at == started
    (stopped,) = client.ps(all=True)
    assert (stopped.status, stopped.started_at) == ("stopped", started)
    again = container.start()
    label = next(name for name in container.labels if name.endswith(".started"))
    exact = container.started_at
    container.set_labels({label: ""})  # as if another program had started the task
    found = container.started_at
    assert found is not None
    assert exact is not None
    assert after <= found + _TICK  # in Linux's ticks
    assert found <= exact
    assert again.status().state == "running"
    container.delete(force=True)


def test_stop(make: Make) -> None:
    container = make(*_TRAP)
    assert container.stop() is None
    with pytest.raises(NotFound):
        container.wait()
    container.start()
    time.sleep(0.2)  # until the shell has set its trap
    ended = container.stop(timeout=10)
    assert ended is not None
    assert (ended.exit_status, container.exit_code) == (9, 9)
    assert container.stop() == ended
    container.start()
    ended = container.stop(timeout=0)
    assert ended is not None
    assert ended.exit_status in (9, 137)  # the shell may end before the second signal
    container.start()
    time.sleep(0.2)
    ended = container.stop(signal="TERM")
    assert ended is not None
    assert ended.exit_status == 9
    container.delete()  # the stopped task goes, too


def test_a_created_task_is_started(make: Make) -> None:
    container = make("sleep", "1000")
    task = container.new_task()
    assert container.status == "created"
    with pytest.raises(FailedPrecondition, match="created task"):
        container.start(NullIO())
    with pytest.raises(FailedPrecondition, match="has a created task"):
        container.delete()
    container.start()
    assert task.status().state == "running"
    container.delete(force=True, snapshot=True)


def test_the_output_goes_on_to_the_log(client: Client, image: Image, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    log = tmp_path / "log"
    container = client.run(image, ["sh", "-c", "echo again"], detach=True, streams=LogFile(log))
    with container:
        container.wait(10)
        container.start().wait(10)
        assert wait_until(lambda: log.read_bytes() == b"again\nagain\n", 10)
        container.restart().wait(10)
        assert wait_until(lambda: log.read_bytes() == b"again\n" * 3, 10)


def test_only_what_run_returns_is_a_context_manager(client: Client, image: Image) -> None:
    with client.run(image, _TRAP, detach=True) as container:
        assert isinstance(container, DetachedContainer)
        assert container.status == "running"
        assert container == client.load_container(container.id)
        assert not hasattr(client.load_container(container.id), "__enter__")
    assert client.containers() == []
    with client.run(image, _TRAP, detach=True) as container:
        container.delete(force=True)
    begin = time.monotonic()
    with (
        pytest.raises(ZeroDivisionError),
        client.run(image, ["sh", "-c", "trap '' TERM; sleep 1000"], detach=True),
    ):
        _ = 1 / 0
    assert time.monotonic() - begin < 9  # killed at once
    assert client.containers() == []


@pytest.mark.generations
def test_ps(client: Client, make: Make, image: Image) -> None:
    assert client.ps() == client.ps(all=True) == []
    made = make("sleep", "1000", id="made", labels={"app": "web"})
    ran = make("sh", "-c", "exit 3", id="ran")
    ran.start().wait(10)
    up = make("sleep", "1000", id="up")
    up.start()
    (only,) = client.ps()
    assert (only.id, only.image, only.status) == ("up", image.name, "running")
    assert only.command == ("sleep", "1000")
    assert (only.pid, only.exit_code, only.exited_at) == (up.task().pid, None, None)
    assert only.started_at == up.started_at
    assert len(repr(only)) <= 200
    newest_first = client.ps(all=True)
    assert [each.id for each in newest_first] == ["up", "ran", "made"]
    stopped = newest_first[1]
    assert (stopped.status, stopped.exit_code) == ("stopped", 3)
    assert stopped.exited_at is not None
    assert newest_first[2].labels["app"] == "web"
    assert (newest_first[2].status, newest_first[2].pid) == ("created", 0)
    up.pause()
    assert [each.status for each in client.ps()] == ["paused"]
    up.resume()
    assert client.ps('labels."app"==web') == []
    assert [each.id for each in client.ps('labels."app"==web', all=True)] == [made.id]
    with pytest.raises(InvalidArgument):
        client.ps("labels.(")


def test_waiting_for_several(client: Client, make: Make) -> None:
    slow = make("sleep", "1000", id="slow")
    quick = make("sh", "-c", "sleep 0.3; exit 4", id="quick")
    for container in (slow, quick):
        container.start()
    with pytest.raises(DeadlineExceeded, match="none of the containers slow, quick has ended"):
        client.wait_any([slow, quick], timeout=0.05)
    with pytest.raises(DeadlineExceeded, match="slow"):
        client.wait_all([quick, slow], timeout=0.6)
    container, ended = client.wait_any(iter([slow, quick]))
    assert (container, ended.exit_status) == (quick, 4)
    assert client.wait_any([slow, quick], timeout=0)[0] == quick  # which has ended before
    threading.Timer(0.2, slow.kill).start()
    found = client.wait_all([slow, quick, slow], timeout=10)
    assert {each.id: ended.exit_status for each, ended in found.items()} == {
        "slow": 137,
        "quick": 4,
    }
    for wait in (client.wait_any, client.wait_all):
        with pytest.raises(InvalidArgument, match="no container"):
            wait([])
    none = make("true", id="none")
    with pytest.raises(NotFound):
        client.wait_any([slow, none])


def test_an_interrupt_ends_the_wait(client: Client, make: Make) -> None:
    container = make("sleep", "1000")
    container.start()
    before, main = set(threading.enumerate()), threading.get_ident()
    for wait in (client.wait_any, client.wait_all):
        timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            wait([container])
        timer.join()
    assert set(threading.enumerate()) <= before
    assert container.status == "running"


def test_options_as_texts(client: Client, image: Image, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("text\n")
    done = client.run(
        image,
        ["sh", "-c", "cat /here/file; touch /here/other || echo no"],
        mounts=[f"{tmp_path}:/here:ro"],
        memory="64m",
    )
    assert done.stdout == b"text\nno\n"


@pytest.mark.generations
def test_events_by_keyword(client: Client, make: Make) -> None:
    """Each subscription gets what it asks for, of two containers."""
    wanted: dict[str, dict[str, Any]] = {
        "type": {"type": TaskExit, "namespace": client.namespace},
        "types": {"type": (TaskExit, TaskStart), "container": "b"},
        "prefix": {"topic": "/containers/", "container": "b"},
        "topic": {"topic": "/tasks/start", "namespace": client.namespace},
        "filters": {"topic": "/tasks/exit", "container": "a"},
    }
    filters = {"filters": ["namespace==nowhere", Filter("namespace") == client.namespace]}
    with ExitStack() as stack:
        streams = {
            name: stack.enter_context(client.subscribe(*filters.get(name, ()), **options))
            for name, options in wanted.items()
        }
        for stream in streams.values():
            stream.wait_until_subscribed()
        exits: list[Any] = []
        for id in ("a", "b"):
            container = make("true", id=id)
            container.start().wait(10)
            exits.append(next(streams["type"]).event)  # a deleted shim may take its events with it
            container.delete()
        client.event_service.publish("/tasks/exit", TaskExit("a", "end"))
        exits.append(next(streams["type"]).event)
        both: list[Any] = [next(streams["types"]).event for _ in range(2)]
        filtered: list[Any] = [next(streams["filters"]).event for _ in range(2)]
        topics = [next(streams["prefix"]).topic for _ in range(3)]
        started: list[Any] = [next(streams["topic"]).event for _ in range(2)]
    assert [each.container_id for each in exits] == ["a", "b", "a"]
    assert [type(each) for each in both] == [TaskStart, TaskExit]
    assert [each.container_id for each in filtered] == ["a", "a"]
    assert topics == ["/containers/create", "/containers/update", "/containers/delete"]
    assert [each.container_id for each in started] == ["a", "b"]
    for wrong in (int, (TaskExit, str), "TaskExit"):
        with pytest.raises(InvalidArgument, match="not a type of events"):
            client.subscribe(type=wrong)  # type: ignore[arg-type]


def test_the_restart_monitor_obeys_stop(client: Client, make: Make) -> None:
    container = make("sleep", "1000", restart="always")
    container.start()
    assert container.labels[STATUS] == "running"
    container.stop(timeout=0)
    assert client.load_container(container.id).labels[STATUS] == "stopped"
    assert container.labels[STOPPED] == "true"
    container.start()
    labels = client.load_container(container.id).labels
    assert labels[STATUS] == "running"
    assert STOPPED not in labels
    container.delete(force=True)

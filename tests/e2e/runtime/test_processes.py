"""The life of processes, and how they end: what is known of it, and what is not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    AlreadyExists,
    ContainerdError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from containerd_lite.images.image import Image
from containerd_lite.runtime.container import Container
from containerd_lite.runtime.io import DEVNULL
from containerd_lite.services import cgroups1
from containerd_lite.services.tasks import Exit
from tests.e2e.runtime.conftest import Make, kill_shim
from tests.harness.daemon import Daemon
from tests.harness.interrupts import Interrupt, Tracer
from tests.harness.process import wait_until

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left"),
]
_PATIENCE = 10.0


@pytest.fixture
def sleeping(make: Make) -> Container:
    """A container whose task sleeps."""
    container = make("sleep", "1000")
    container.new_task().start()
    return container


@pytest.mark.generations
def test_from_created_to_deleted(make: Make) -> None:
    container = make("sleep", "1000")
    task = container.new_task()
    assert task.status().state == "created"
    assert task.poll() is None
    task.start()
    assert (task.status().state, task.poll()) == ("running", None)
    assert repr(task) == f"<Task c0 pid={task.pid}>"
    assert container.task().pid == task.pid
    with pytest.raises(FailedPrecondition, match="has a running task"):
        container.delete()
    with pytest.raises(FailedPrecondition, match="cannot be deleted: it is running"):
        task.delete()
    with pytest.raises(AlreadyExists):
        container.new_task()
    with pytest.raises(DeadlineExceeded, match=r"c0 has not ended after 0\.05 s"):
        task.wait(0.05)
    task.kill("KILL")
    ended = task.wait()
    assert ended.exit_status == 137
    assert ended.exited_at is not None
    assert task.poll() == ended
    assert task.wait(0) == ended
    with pytest.raises(NotFound):
        task.kill()
    deleted = task.delete()
    assert deleted is not None
    assert (deleted.exit_status, deleted.exited_at) == (137, ended.exited_at)
    assert task.delete() is None
    with pytest.raises(NotFound):
        container.task()


def test_the_end_is_not_missed_though_somebody_else_deletes(
    daemon: Daemon, namespace: str, make: Make
) -> None:
    container = make("sh", "-c", "exit 7")
    task = container.new_task()
    task.start()
    assert wait_until(lambda: task.status().state == "stopped", _PATIENCE)
    daemon.ctr("tasks", "delete", container.id, check=False, namespace=namespace)
    with pytest.raises(NotFound):
        task.status()
    assert task.wait(_PATIENCE).exit_status == 7
    assert task.delete() is None


def test_what_nobody_waited_for_is_not_known(daemon: Daemon, namespace: str, make: Make) -> None:
    container = make("sleep", "1000")
    container.new_task().start()
    found = container.task()
    daemon.ctr("tasks", "delete", "--force", container.id, namespace=namespace)
    assert found.wait(_PATIENCE) == Exit(None, None)


def test_a_context_leaves_nothing(make: Make) -> None:
    container = make("sleep", "1000")
    with container.new_task() as task:
        task.start()
        assert task.status().state == "running"
    with pytest.raises(NotFound):
        task.status()
    with pytest.raises(KeyError), container.new_task():
        raise KeyError
    with pytest.raises(NotFound):
        container.task()


def test_several_wait_for_one(sleeping: Container) -> None:
    task = sleeping.task()
    with ThreadPoolExecutor(4) as pool:
        waits = [pool.submit(task.wait, _PATIENCE) for _ in range(4)]
        task.kill("KILL")
        assert {wait.result().exit_status for wait in waits} == {137}


@pytest.mark.parametrize("verb", ["poll", "wait"])
def test_an_interrupt_anywhere_leaves_it_free_to_be_waited_for(
    sleeping: Container, verb: str
) -> None:
    task = sleeping.task()
    for at in range(1000):
        with suppress(Interrupt, DeadlineExceeded), Tracer("runtime", at) as tracer:
            getattr(task, verb)(*([0.001] if verb == "wait" else []))
        assert task.poll() is None
        with pytest.raises(DeadlineExceeded):
            task.wait(0.001)
        if not tracer.hit:
            break
    assert at > 5
    assert task.stop(0.001) == Exit(137, task.status().exited_at)


def test_stop_asks_first(client: Client, image: Image) -> None:
    script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    with client.popen(image, ["sh", "-c", script]) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        assert running.stop(_PATIENCE).exit_status == 3


def test_stop_kills_who_does_not_listen(make: Make) -> None:
    with make("sleep", "1000").new_task() as task:  # as the first of its pid namespace, deaf
        task.start()
        assert task.stop(0.05).exit_status == 137
        assert task.stop(0.05).exit_status == 137


# ---- further processes ---------------------------------------------------------------------


def test_a_process_more(sleeping: Container) -> None:
    task = sleeping.task()
    process = task.exec(["sleep", "999"], id="more")
    assert (process.id, process.container_id) == ("more", sleeping.id)
    assert process.status().state == "created"
    with pytest.raises(AlreadyExists):
        task.exec(["true"], id="more")
    process.start()
    assert repr(process) == f"<Process more in {sleeping.id} pid={process.pid}>"
    again = task.process("more")
    assert again.pid == process.pid
    assert {one.pid: one.exec_id for one in task.pids()} == {task.pid: "", process.pid: "more"}
    with pytest.raises(FailedPrecondition, match="more cannot be deleted: it is running"):
        process.delete()
    again.kill(9)
    assert process.wait(_PATIENCE).exit_status == 137
    assert process.delete() is not None
    assert process.delete() is None
    with pytest.raises(NotFound):
        task.process("more")
    assert task.status().state == "running"


@pytest.mark.generations
def test_exec_to_the_end(sleeping: Container) -> None:
    done = sleeping.exec(["sh", "-c", "cat; echo $A; pwd; exit 4"], input=b"in\n", env={"A": "b"})
    assert (done.exit_code, done.stdout, done.stderr) == (4, b"in\nb\n/\n", b"")
    with pytest.raises(ContainerdError, match="false in container c0 ended with code 1"):
        sleeping.exec(["false"], check=True)
    with pytest.raises(DeadlineExceeded, match=r"'sleep'.* has not finished after 0\.1 s"):
        sleeping.exec(["sleep", "1000"], timeout=0.1)
    with pytest.raises(NotFound, match="nosuch"):
        sleeping.exec(["nosuch"])
    with pytest.raises(FailedPrecondition, match="permission denied"):
        sleeping.exec(["/etc/passwd"])
    with pytest.raises(InvalidArgument, match="list of strings"):
        sleeping.exec("true")
    assert [one.exec_id for one in sleeping.task().pids()] == [""]
    sleeping.task().stop(0)
    with pytest.raises(FailedPrecondition, match="stopped"):
        sleeping.exec(["true"])


def test_an_interrupt_anywhere_leaves_no_process(
    sleeping: Container, monkeypatch: pytest.MonkeyPatch, count: Callable[[int, int], int]
) -> None:
    task, hits = sleeping.task(), 0
    for at in range(0, 10_000, count(13, 2)):
        # So that its name is known: of one that was not started nothing else tells.
        monkeypatch.setattr(os, "urandom", lambda size, at=at: at.to_bytes(size, "big"))
        with suppress(Interrupt), Tracer("runtime", at) as tracer:
            sleeping.exec(["sleep", "0.01"], stdout=DEVNULL, stderr=DEVNULL)
        with pytest.raises(NotFound):
            task.process(f"exec-{at:016x}")
        if not tracer.hit:
            break
        hits += 1
    assert hits > 10
    assert [one.pid for one in task.pids()] == [task.pid]


def test_exec_takes_a_task_that_runs(make: Make) -> None:
    container = make("sleep", "1000")
    with pytest.raises(NotFound):
        container.exec(["true"])
    with container.new_task() as task:
        task.start()
        task.kill(9)
        task.wait(_PATIENCE)
        with pytest.raises(ContainerdError):
            container.exec(["true"])


# ---- all of them ---------------------------------------------------------------------------


@pytest.mark.generations
def test_pause_and_resume(sleeping: Container) -> None:
    task = sleeping.task()
    with pytest.raises(FailedPrecondition, match=r"running process.*Pause the container first"):
        task.resume()
    task.pause()
    assert task.status().state == "paused"
    for call in (task.pause, partial(sleeping.exec, ["true"])):
        with pytest.raises(FailedPrecondition, match="Resume the container first"):
            call()
    task.resume()
    assert task.status().state == "running"
    task.stop(0)
    for call in (task.pause, task.resume, partial(sleeping.exec, ["true"])):
        with pytest.raises(FailedPrecondition, match=r"stopped.*Start a new task"):
            call()


def test_what_is_paused_can_be_ended(make: Make) -> None:
    container = make("sleep", "1000")
    with container.new_task() as task:
        task.start()
        task.pause()
        assert task.stop(0.1).exit_status == 137
    with container.new_task() as task:
        task.start()
        task.pause()  # and is deleted so


@pytest.mark.generations
def test_limits_and_what_is_used(sleeping: Container) -> None:
    task = sleeping.task()
    task.update({"pids": {"limit": 77}, "memory": {"limit": 64 << 20}})
    metric = task.metrics()
    assert metric.id == sleeping.id
    assert isinstance(metric.data, cgroups1.Metrics)
    assert metric.data.pids is not None
    assert metric.data.memory is not None
    assert (metric.data.pids.limit, metric.data.memory.hierarchical_memory_limit) == (77, 64 << 20)
    # The spec of the container is still the old one.
    assert "pids" not in json.dumps(sleeping.reload().spec())
    task.delete(force=True)
    with pytest.raises(NotFound, match="no metrics of task"):
        task.metrics()


# ---- when others die -----------------------------------------------------------------------


@pytest.mark.generations
def test_a_shim_that_is_killed_leaves_an_unknown_end(
    daemon: Daemon, namespace: str, make: Make, count: Callable[[int, int], int]
) -> None:
    """containerd says 137 or 255 then, as of one that was killed, or that ended so by itself."""
    number = count(4, 50)
    tasks = [make("sleep", "1000").new_task() for _ in range(number)]
    for task in tasks:
        task.start()
    with ThreadPoolExecutor(number) as pool:
        waits = [pool.submit(task.wait, 60) for task in tasks]
        for task in tasks:
            kill_shim(daemon, namespace, task.container_id)
        assert [wait.result() for wait in waits] == [Exit(None, None)] * number
    for task in tasks:
        deleted = task.delete()
        assert deleted is None or deleted.exit_status is None


@pytest.mark.generations
def test_a_shim_that_is_killed_with_what_it_ran(
    daemon: Daemon, namespace: str, client: Client, image: Image
) -> None:
    with client.popen(image, ["sh", "-c", "echo before; sleep 1000"]) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"before\n"
        kill_shim(daemon, namespace, running.id)
        assert running.wait(_PATIENCE) == Exit(None, None)
        assert running.stdout.read() == b""


def test_all_is_deleted_under_a_run(
    daemon: Daemon, namespace: str, client: Client, image: Image
) -> None:
    with client.popen(image, ["sh", "-c", "echo up; sleep 1000"]) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        daemon.ctr("tasks", "delete", "--force", running.id, namespace=namespace)
        daemon.ctr("containers", "delete", running.id, namespace=namespace)
        assert running.wait(_PATIENCE).exit_status == 137  # it was being waited for
        assert running.stdout.read() == b""
        with pytest.raises(NotFound):
            running.process.status()


@pytest.mark.generations
def test_a_daemon_that_restarts_is_waited_through(own_daemon: Daemon, busybox: str) -> None:
    with Client(own_daemon.address, namespace=own_daemon.namespace) as client:
        client.pull(busybox)
        container = client.new_container("survivor", image=busybox, args=["sleep", "1000"])
        with container.new_task() as task, ThreadPoolExecutor(1) as pool:
            task.start()
            wait = pool.submit(task.wait, 60)
            own_daemon.kill()
            own_daemon.start()
            assert task.status().state == "running"
            task.kill("KILL")
            assert wait.result().exit_status == 137
        container.delete()

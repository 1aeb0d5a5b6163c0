"""Every RPC of the tasks service on a container that runs, beside what ``ctr`` says of it."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    AlreadyExists,
    ContainerdError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unknown,
)
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.services import cgroups1
from containerd_lite.services._types import AnyValue
from containerd_lite.services.tasks import ProcessInfo, Stdio, TaskService
from tests.e2e.services.leftovers import nothing_stays  # noqa: F401
from tests.harness.daemon import Daemon
from tests.harness.leaks import Watch
from tests.harness.process import wait_until

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("only_layers_stay"),
]

_PATIENCE = 10.0
Create = Callable[..., int]


@pytest.fixture
def only_layers_stay(nothing_stays: Watch) -> None:  # noqa: F811
    """The image that the tasks run stays unpacked."""
    nothing_stays.keep_snapshots()


@pytest.fixture
def tasks(client: Client) -> TaskService:
    return client.task_service


@pytest.fixture
def process(client: Client, busybox: str) -> Iterator[dict[str, Any]]:
    """The process of the container "one", which only sleeps; the task is the test's to make."""
    client.pull(busybox)
    container = client.new_container("one", image=busybox, args=["sleep", "1000"])
    assert container.info.spec is not None
    spec = json.loads(container.info.spec.value)
    yield spec["process"]
    with suppress(NotFound):
        container.task().delete(force=True)
    container.delete()


@pytest.fixture
def create(client: Client, process: dict[str, Any]) -> Create:
    """Makes the task, with its root filesystem."""
    rootfs = client.snapshot_service().mounts("one")
    return lambda **options: client.task_service.create("one", rootfs, **options)


@pytest.fixture
def running(create: Create, tasks: TaskService) -> int:
    """The pid of the task, started."""
    create()
    return tasks.start("one")


@pytest.fixture
def told(daemon: Daemon, namespace: str) -> Callable[[], list[list[str]]]:
    """What ``ctr tasks ls`` says: id, pid and state of each."""
    return lambda: [
        line.split()
        for line in daemon.ctr("tasks", "ls", namespace=namespace).stdout.decode().splitlines()[1:]
    ]


def is_running(pid: int, command: bytes) -> bool:
    """Whether a process becomes what was to be run: when it is started, it is still runc's."""
    return wait_until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == command, _PATIENCE)


def test_from_created_to_deleted(
    create: Create, tasks: TaskService, told: Callable[[], list[list[str]]]
) -> None:
    pid = create()
    assert told() == [["one", str(pid), "CREATED"]]
    status = tasks.get("one")
    assert (status.container_id, status.exec_id, status.pid) == ("one", "", pid)
    assert (status.state, status.exit_status, status.exited_at) == ("created", 0, None)
    with pytest.raises(AlreadyExists):
        create()
    assert tasks.start("one") == pid
    assert told() == [["one", str(pid), "RUNNING"]]
    assert is_running(pid, b"sleep\x001000\x00")
    assert [(one.container_id, one.pid, one.state) for one in tasks.list()] == [
        ("one", pid, "running")
    ]
    with pytest.raises(Unknown, match="cannot delete a running process"):
        tasks.delete("one")
    with pytest.raises(DeadlineExceeded):
        tasks.with_options(timeout=0.05).wait("one")
    tasks.kill("one", 9, all=True)
    ended = tasks.wait("one")
    assert ended.exit_status == 137
    assert told() == [["one", str(pid), "STOPPED"]]
    status = tasks.get("one")
    assert (status.state, status.exit_status) == ("stopped", 137)
    assert status.exited_at == ended.exited_at is not None
    with pytest.raises(NotFound):
        tasks.kill("one", 9)
    deleted = tasks.delete("one")
    assert (deleted.exit_status, deleted.exited_at) == (137, ended.exited_at)
    assert (deleted.pid, deleted.exec_id) == (pid, "")
    assert told() == []
    assert tasks.list() == []


def test_a_process_more(
    daemon: Daemon,
    namespace: str,
    tasks: TaskService,
    running: int,
    process: dict[str, Any],
    tmp_path: Path,
) -> None:
    sleep = {**process, "args": ["sleep", "999"]}
    tasks.exec("one", "more", sleep)
    status = tasks.get("one", "more")
    assert (status.container_id, status.exec_id, status.state) == ("one", "more", "created")
    with pytest.raises(AlreadyExists):
        tasks.exec("one", "more", sleep)
    with pytest.raises(InvalidArgument):
        tasks.exec("one", "", sleep)
    pid = tasks.start("one", "more")
    assert is_running(pid, b"sleep\x00999\x00")
    lines = daemon.ctr("tasks", "ps", "one", namespace=namespace).stdout.decode().splitlines()[1:]
    found = tasks.list_pids("one")
    assert {str(one.pid) for one in found} == {line.split()[0] for line in lines}
    details = AnyValue.of("containerd.runc.v1.ProcessDetails", {"exec_id": "more"})
    assert set(found) == {ProcessInfo(running), ProcessInfo(pid, "more", details)}
    with pytest.raises(Unknown, match="cannot delete a running process"):
        tasks.delete_process("one", "more")
    tasks.kill("one", 15, "more")
    ended = tasks.wait("one", "more")
    assert ended.exit_status == 128 + 15
    assert tasks.get("one", "more").state == "stopped"
    assert tasks.get("one").state == "running"
    deleted = tasks.delete_process("one", "more")
    assert (deleted.exec_id, deleted.pid, deleted.exit_status) == ("more", pid, 143)
    with pytest.raises(NotFound):
        tasks.get("one", "more")
    out = tmp_path / "out"
    args = ["sh", "-c", "echo $A; exit 7"]
    echo = AnyValue.of(
        "types.containerd.io/opencontainers/runtime-spec/1/Process",
        {**process, "args": args, "env": ["PATH=/bin", "A=b"]},
    )
    tasks.exec("one", "echo", echo, Stdio("", f"file://{out}", f"file://{out}"))
    assert tasks.get("one", "echo").stdio == Stdio("", f"file://{out}", f"file://{out}")
    tasks.start("one", "echo")
    assert tasks.wait("one", "echo").exit_status == 7
    assert tasks.delete_process("one", "echo").exit_status == 7
    assert out.read_text() == "b\n"


def test_pause_and_resume(
    tasks: TaskService, running: int, told: Callable[[], list[list[str]]]
) -> None:
    tasks.pause("one")
    assert told() == [["one", str(running), "PAUSED"]]
    assert tasks.get("one").state == "paused"
    tasks.resume("one")
    assert told() == [["one", str(running), "RUNNING"]]
    with pytest.raises(FailedPrecondition, match="cannot resume a running process"):
        tasks.resume("one")


def test_update(daemon: Daemon, namespace: str, tasks: TaskService, running: int) -> None:
    def limit() -> str:
        lines = daemon.ctr("tasks", "metrics", "one", namespace=namespace).stdout.decode()
        return next(line.split()[1] for line in lines.splitlines() if "pids.limit" in line)

    assert limit() == "0"
    tasks.update("one", {"pids": {"limit": 77}})
    assert limit() == "77"
    tasks.update("one", {}, {"an": "annotation"})
    kind = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
    tasks.update("one", AnyValue.of(kind, {"pids": {"limit": 78}}), {"an": "annotation"})
    assert limit() == "78"
    with pytest.raises(Unknown, match="cannot unmarshal"):
        tasks.update("one", {"pids": {"limit": "many"}})
    assert tasks.get("one").state == "running"


def test_metrics(daemon: Daemon, namespace: str, tasks: TaskService, running: int) -> None:
    tasks.update("one", {"pids": {"limit": 77}, "memory": {"limit": 64 << 20}})
    tasks.pause("one")  # so that nothing changes between our look and ctr's
    (found,) = tasks.metrics()
    assert found.id == "one"
    assert isinstance(found.data, cgroups1.Metrics)
    text = daemon.ctr("tasks", "metrics", "one", namespace=namespace).stdout.decode()
    rows = [line.split(maxsplit=1) for line in text.splitlines() if line]
    theirs = {row[0]: row[1].strip() for row in rows}
    pids, cpu, memory = found.data.pids, found.data.cpu, found.data.memory
    assert pids is not None
    assert (theirs["pids.current"], theirs["pids.limit"]) == (str(pids.current), "77")
    assert pids.limit == 77
    assert cpu is not None
    assert cpu.usage is not None
    assert theirs["cpuacct.usage"] == str(cpu.usage.total) != "0"
    assert theirs["cpuacct.usage_percpu"] == f"[{' '.join(map(str, cpu.usage.per_cpu))}]"
    assert memory is not None
    assert memory.usage is not None
    # The kernel keeps some of what is used back, by CPU: two looks at it need not agree.
    assert 0 < memory.usage.usage <= memory.usage.max <= 64 << 20
    assert theirs["memory.limit_in_bytes"] == str(memory.usage.limit) == str(64 << 20)
    assert memory.hierarchical_memory_limit == 64 << 20
    assert [one.id for one in tasks.metrics("id==one", "id==two")] == ["one"]
    assert tasks.metrics("id==two") == []
    with pytest.raises(Unknown, match="parse error"):  # daemons do not say InvalidArgument
        tasks.metrics("==")
    tasks.resume("one")


def read_until(fifo: FileIO, wanted: bytes) -> bytes:
    """What comes up to ``wanted``, or within a while."""
    found = b""
    while wanted not in found and select.select([fifo], [], [], _PATIENCE)[0]:
        found += fifo.read(65536) or b""
    return found


@pytest.fixture
def fifos(tmp_path: Path) -> Iterator[tuple[Stdio, FileIO, FileIO]]:
    """Where a process's stdin and stdout go, and our ends of them."""
    names = [tmp_path / name for name in ("stdin", "stdout")]
    for name in names:
        os.mkfifo(name)
    ends = [FileIO(os.open(name, os.O_RDWR | os.O_NONBLOCK), "r+") for name in names]
    stdin, stdout = map(str, names)
    yield Stdio(stdin, stdout, stdout), ends[0], ends[1]
    for end in ends:
        end.close()


def test_a_terminal_is_resized(
    tasks: TaskService,
    running: int,
    process: dict[str, Any],
    fifos: tuple[Stdio, FileIO, FileIO],
) -> None:
    stdio, stdin, stdout = fifos
    terminal = Stdio(stdio.stdin, stdio.stdout, "", True)
    shell = {**process, "terminal": True, "args": ["sh", "-c", "read x; stty size; read x"]}
    tasks.exec("one", "tty", shell, terminal)
    tasks.start("one", "tty")
    assert tasks.get("one", "tty").stdio == terminal
    tasks.resize_pty("one", 132, 43, "tty")
    stdin.write(b"\n")
    assert b"43 132" in read_until(stdout, b"43 132")
    stdin.write(b"\n")
    assert tasks.wait("one", "tty").exit_status == 0
    tasks.delete_process("one", "tty")


def test_stdin_is_closed(
    tasks: TaskService,
    running: int,
    process: dict[str, Any],
    fifos: tuple[Stdio, FileIO, FileIO],
) -> None:
    stdio, stdin, stdout = fifos
    tasks.exec("one", "cat", {**process, "args": ["cat"]}, stdio)
    tasks.start("one", "cat")
    stdin.write(b"something")
    assert read_until(stdout, b"something") == b"something"
    stdin.close()
    tasks.close_io("one", "cat", stdin=False)  # the shim has the FIFO open, too
    with pytest.raises(DeadlineExceeded):
        tasks.with_options(timeout=0.05).wait("one", "cat")
    tasks.close_io("one", "cat")
    assert tasks.with_options(timeout=_PATIENCE).wait("one", "cat").exit_status == 0
    tasks.delete_process("one", "cat")


def test_what_a_task_is_made_with(daemon: Daemon, create: Create, tasks: TaskService) -> None:
    """Each field does what it is for, if it is only to be refused."""
    with pytest.raises(Unknown, match=r'unsupported checkpoint type "a/b"'):
        create(checkpoint=Descriptor("a/b", f"sha256:{'0' * 64}", 1))
    with pytest.raises(ContainerdError, match="/nowhere/containerd-shim-x-v2"):
        create(runtime_path="/nowhere/containerd-shim-x-v2")
    options = AnyValue.of("containerd.runc.v1.Options", {"binary_name": "/nowhere/runc"})
    with pytest.raises(ContainerdError, match="/nowhere/runc"):
        create(options=options)
    create(runtime_path=str(daemon.folder / "bin" / "containerd-shim-runc-v2"))
    tasks.start("one")
    assert tasks.get("one").state == "running"


def test_checkpoint(tasks: TaskService, running: int) -> None:
    """It takes CRIU, which the daemon says itself where there is none."""
    options = AnyValue.of("containerd.runc.v1.CheckpointOptions", {"exit": False})
    try:
        saved = tasks.checkpoint("one", options)
    except Unknown as error:
        assert "criu" in str(error).lower()  # noqa: PT017 - with CRIU, nothing is raised
    else:
        assert saved[0].media_type.endswith(".criu.checkpoint.criu.tar")
    with pytest.raises(ContainerdError):
        tasks.checkpoint("one", AnyValue("containerd.runc.v1.Options", b""))
    assert tasks.get("one").state == "running"


def test_no_such_task(tasks: TaskService) -> None:
    calls: list[Callable[[], object]] = [
        lambda: tasks.create("none"),
        lambda: tasks.exec("none", "x", {}),
        lambda: tasks.start("none"),
        lambda: tasks.wait("none"),
        lambda: tasks.delete("none"),
        lambda: tasks.delete_process("none", "x"),
        lambda: tasks.get("none"),
        lambda: tasks.list_pids("none"),
        lambda: tasks.kill("none", 9),
        lambda: tasks.pause("none"),
        lambda: tasks.resume("none"),
        lambda: tasks.resize_pty("none", 80, 25),
        lambda: tasks.close_io("none"),
        lambda: tasks.update("none", {}),
        lambda: tasks.checkpoint("none"),
    ]
    for call in calls:
        with pytest.raises(NotFound, match='"none"'):
            call()
    assert tasks.list("id==none") == []

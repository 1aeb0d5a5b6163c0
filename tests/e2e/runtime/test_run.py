"""Running containers for real, and what is left of them: nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    ContainerdError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ProcessFailed,
    ResourceExhausted,
)
from containerd_lite.images.image import Image
from containerd_lite.runtime.io import DEVNULL, PIPE, STDOUT, LogFile, NullIO
from containerd_lite.runtime.run import CompletedContainer
from containerd_lite.runtime.spec.host import cpu_paths
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.interrupts import Interrupt, Tracer
from tests.harness.registry import Registry

_PATIENCE = 10.0
Count = Callable[[int, int], int]

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left"),
]


@pytest.mark.generations
@pytest.mark.backend
@pytest.mark.dependencies
def test_output_and_exit_code(client: Client, image: Image) -> None:
    done = client.run(image, ["sh", "-c", "echo hello; echo oops >&2; exit 3"])
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"hello\n", b"oops\n")


def test_input_is_read_to_its_end(client: Client, image: Image) -> None:
    data = bytes(range(256)) * 4096  # 1 MiB: more than a FIFO holds
    assert client.run(image, ["cat"], input=data).stdout == data
    assert client.run(image, ["wc", "-c"], input=b"").stdout.strip() == b"0"
    assert client.run(image, ["true"], input=data).exit_code == 0  # nobody reads it


def test_much_output(client: Client, image: Image) -> None:
    done = client.run(image, ["sh", "-c", "head -c 20000000 /dev/zero; head -c 9 /dev/zero >&2"])
    assert (len(done.stdout), len(done.stderr)) == (20_000_000, 9)


def test_output_goes_where_it_is_told(client: Client, image: Image) -> None:
    file = io.BytesIO()
    parts: list[bytes] = []
    done = client.run(image, ["sh", "-c", "echo a; echo b >&2"], stdout=file, stderr=parts.append)
    assert (file.getvalue(), b"".join(parts)) == (b"a\n", b"b\n")
    assert (done.stdout, done.stderr) == (b"", b"")


def test_too_much_output_kills(client: Client, image: Image) -> None:
    with pytest.raises(ResourceExhausted, match="more than the 1000 bytes"):
        client.run(image, ["sh", "-c", "cat /dev/zero"], max_output="1000b")


def test_a_sink_that_fails_kills(client: Client, image: Image) -> None:
    def fail(data: bytes) -> None:
        raise KeyError(data[:5])

    with pytest.raises(KeyError, match="hello"):
        client.run(image, ["sh", "-c", "echo hello; sleep 1000"], stdout=fail)


@pytest.mark.generations
def test_timeout_kills(client: Client, image: Image) -> None:
    with pytest.raises(DeadlineExceeded, match=r"has not finished after 0\.3 s"):
        client.run(image, ["sleep", "1000"], timeout=0.3)
    with pytest.raises(TimeoutError):  # which is what Python's users catch
        client.run(image, ["sh", "-c", "trap '' TERM INT; while :; do :; done"], timeout=0.3)


def test_env_cwd_and_user(client: Client, image: Image) -> None:
    script = 'echo "$A|$(pwd)|$(id -u):$(id -g)|$HOME_SWEET"; cat /proc/self/status | grep Groups'
    done = client.run(image, ["sh", "-c", script], env={"A": "b=c d"}, cwd="/tmp", user="1234:5678")
    assert done.stdout.splitlines() == [b"b=c d|/tmp|1234:5678|", b"Groups:\t5678 "]


def test_the_image_says_what_to_run(client: Client, registry: Registry) -> None:
    built = images.busybox(
        cmd=["hello"], config={"Entrypoint": ["echo", "-n"], "WorkingDir": "/tmp"}
    )
    image = client.pull(images.push(built, registry.host, "entrypoint", "latest"))
    assert client.run(image).stdout == b"hello"
    assert client.run(image, ["other"]).stdout == b"other"


@pytest.mark.generations
@pytest.mark.backend
@pytest.mark.dependencies
def test_the_spec_is_the_one_that_ctr_makes(
    daemon: Daemon, namespace: str, client: Client, image: Image
) -> None:
    def info(id: str) -> Any:
        return json.loads(daemon.ctr("containers", "info", id, namespace=namespace).stdout)

    daemon.ctr("containers", "create", image.name, "theirs", "echo", "hi", namespace=namespace)
    ours = client.new_container("ours", image=image, args=["echo", "hi"])
    a, b = info("ours"), info("theirs")
    assert a["Spec"]["linux"]["cgroupsPath"] == f"/{namespace}/ours"
    a["Spec"]["linux"]["cgroupsPath"] = b["Spec"]["linux"]["cgroupsPath"]
    # The version is that of the library that each was built with; every runc here reads both.
    assert a["Spec"].pop("ociVersion") == "1.0.2"
    assert b["Spec"].pop("ociVersion").startswith("1.")
    # 1.6 does not hide the power meters yet, nor all clients the interrupts and temperatures.
    hidden = {"/sys/devices/virtual/powercap", "/proc/interrupts", *cpu_paths()}
    masked = set(a["Spec"]["linux"].pop("maskedPaths"))
    assert masked == hidden.union(b["Spec"]["linux"].pop("maskedPaths"))
    assert a["Spec"] == b["Spec"]
    for field in ("Image", "Labels", "Snapshotter"):
        assert a[field] == b[field]
    assert a["Runtime"]["Name"] == b["Runtime"]["Name"]
    assert ours.info.snapshot_key == "ours"
    ours.delete()
    daemon.ctr("containers", "rm", "theirs", namespace=namespace)


@pytest.mark.generations
def test_what_ctr_pulled_runs(daemon: Daemon, namespace: str, client: Client, busybox: str) -> None:
    local = () if daemon.version_info < (1, 7) else ("--local",)
    daemon.ctr("images", "pull", *local, "--plain-http", busybox, namespace=namespace)
    assert client.run(busybox, ["echo", "hi"]).stdout == b"hi\n"


@pytest.mark.generations
def test_no_such_command(client: Client, image: Image) -> None:
    with pytest.raises(ContainerdError, match="nosuch"):
        client.run(image, ["nosuch"])


def test_bad_requests(client: Client, image: Image) -> None:
    with pytest.raises(InvalidArgument, match="list of strings"):
        client.run(image, "echo hi")
    with pytest.raises(InvalidArgument, match="cannot be an id"):
        client.run(image, ["true"], id="../x")
    with pytest.raises(InvalidArgument, match="environment"):
        client.run(image, ["true"], env={"A=B": "c"})
    for user in ("4294967296", "2147483648", "10000000000", "-1", "0x1", "1:2:3"):
        with pytest.raises(
            InvalidArgument, match=r"not a number up to|is not valid|more than one colon"
        ):
            client.run(image, ["true"], user=user)
    with pytest.raises(NotFound, match="no users found"):
        client.run(image, ["true"], user="somebody")
    with pytest.raises(NotFound, match="not found"):
        client.run("nowhere/nothing", ["true"])


@pytest.mark.generations
def test_paths_and_runtimes_that_do_not_exist(client: Client, image: Image, tmp_path: Path) -> None:
    run = partial(client.run, image, ["true"])
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("no", "no/x", "link"):
        with pytest.raises(InvalidArgument, match=f"^mounts: the source '{tmp_path}/{name}'"):
            run(mounts=[f"{tmp_path}/{name}:/b"], pull="always")
    for path, why in ((tmp_path, "is a folder"), (tmp_path / "no/x", "does not exist")):
        for start in (partial(run, detach=True), partial(client.popen, image)):
            with pytest.raises(InvalidArgument, match=f"log file '{path}' {why}"):
                start(streams=LogFile(path))
    assert os.listdir(tmp_path) == ["link"]
    assert run(mounts=[f"{tmp_path}:/b", "type=tmpfs,dst=/c"]).exit_code == 0
    for runtime, kind in (
        ("nosuch", InvalidArgument),
        ("io.containerd.nosuch.v2", NotFound),
        ("/no/such", NotFound),
    ):
        with pytest.raises(kind, match="an installed runtime as runtime="):
            run(runtime=runtime)


def test_a_child_that_holds_the_streams_does_not_hold_us(client: Client, image: Image) -> None:
    # The shell ends; what it left in the background is killed with its pid namespace.
    done = client.run(image, ["sh", "-c", "sleep 1000 & echo done"])
    assert (done.exit_code, done.stdout) == (0, b"done\n")


def test_check(client: Client, image: Image) -> None:
    with pytest.raises(ProcessFailed, match="ended with code 3: oops") as caught:
        client.run(image, ["sh", "-c", "echo out; echo oops >&2; exit 3"], check=True)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.exit_code, error.stdout, error.stderr) == (3, b"out\n", b"oops\n")
    assert client.run(image, ["true"], check=True).exit_code == 0


def test_output_as_it_comes(client: Client, image: Image) -> None:
    came: list[tuple[str, bytes]] = []
    done = client.run(
        image,
        ["sh", "-c", "echo a; echo b >&2"],
        stream=lambda name, data: came.append((name, data)),
    )
    assert sorted(came) == [("stderr", b"b\n"), ("stdout", b"a\n")]
    assert (done.stdout, done.stderr) == (b"", b"")


def test_both_outputs_in_one(client: Client, image: Image) -> None:
    done = client.run(image, ["sh", "-c", "echo a; echo b >&2; echo c"], stderr=STDOUT)
    # In which order they come, the shim says, which reads two pipes.
    assert (sorted(done.stdout.split()), done.stderr) == ([b"a", b"b", b"c"], b"")


def test_a_container_that_stays(client: Client, image: Image) -> None:
    assert (
        client.run(image, ["sh", "-c", "echo x > /tmp/x"], remove=False, id="stays").exit_code == 0
    )
    container = client.load_container("stays")
    with pytest.raises(NotFound):
        container.task()
    container.delete()


@pytest.mark.generations
def test_detached(client: Client, image: Image, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = ["sh", "-c", "echo logged; exit 6"]
    container = client.run(image, script, detach=True, id="away", streams=LogFile(log))
    task = container.task()
    assert task.wait(_PATIENCE).exit_status == 6
    task.delete()
    container.delete()
    assert log.read_bytes() == b"logged\n"
    silent = client.run(image, ["sleep", "1000"], detach=True, streams=NullIO())
    silent.task().delete(force=True)
    silent.delete()
    with pytest.raises(InvalidArgument, match="detach=True excludes"):
        client.run(image, ["true"], detach=True, check=True)  # type: ignore[call-overload]


def test_what_cannot_be_started_is_not_left_detached(client: Client, image: Image) -> None:
    with pytest.raises(ContainerdError, match="nosuch"):
        client.run(image, ["nosuch"], detach=True)


@pytest.mark.parametrize("remove", [True, False])
def test_what_is_gone_before_its_start_leaves_nothing(
    daemon: Daemon, namespace: str, client: Client, image: Image, remove: bool
) -> None:
    running = client.popen(image, ["true"], start=False, remove=remove)
    assert running.process.status().state == "created"
    daemon.ctr("tasks", "delete", "--force", running.id, namespace=namespace)
    with pytest.raises(NotFound):
        running.start()
    assert client.containers() == []


# ---- while it runs -------------------------------------------------------------------------


@pytest.mark.generations
def test_talking_to_it(client: Client, image: Image) -> None:
    with client.popen(image, ["cat"], stdin=PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for word in (b"one\n", b"two\n"):
            running.stdin.write(word)
            assert running.stdout.readline() == word
        assert running.poll() is None
        running.stdin.close()
        assert running.stdout.read() == b""
        ended = running.wait(_PATIENCE)
        assert ended.exit_status == 0
        assert running.poll() == ended


def test_communicate(client: Client, image: Image) -> None:
    data = bytes(range(256)) * 4096
    with client.popen(image, ["sh", "-c", "cat; echo e >&2; exit 2"], stdin=PIPE) as running:
        assert running.communicate(data, _PATIENCE) == (data, b"e\n")
        assert running.wait().exit_status == 2
    with client.popen(image, ["true"], stdin=PIPE) as running:
        assert running.communicate(data, _PATIENCE) == (b"", b"")
    with client.popen(image, ["cat"], stdin=PIPE) as running:
        assert running.communicate(timeout=_PATIENCE) == (b"", b"")
    with client.popen(image, ["sleep", "1000"]) as running:
        with pytest.raises(FailedPrecondition, match="not a pipe"):
            running.communicate(b"x")
        with pytest.raises(DeadlineExceeded):
            running.communicate(timeout=0.1)
    with client.popen(image, ["cat", "/dev/zero"]) as running, pytest.raises(ResourceExhausted):
        running.communicate(timeout=_PATIENCE, limit=1 << 20)


def test_output_that_nobody_reads_holds_nobody_up(client: Client, image: Image) -> None:
    """The shim would wait for it to be read, from 2.0 on for ten seconds."""
    script = "cat /dev/zero & cat /dev/zero >&2"
    with client.popen(image, ["sh", "-c", script]) as running:
        assert running.stdout is not None
        assert running.stdout.read(4) == bytes(4)
        begun = time.monotonic()
        running.close()
        assert time.monotonic() - begun < 5


def test_a_deletion_that_is_refused_loses_no_output(client: Client, image: Image) -> None:
    with client.popen(image, ["sh", "-c", "echo one; read x; echo two"], stdin=PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        with pytest.raises(FailedPrecondition, match="it is running"):
            running.process.delete()
        running.stdin.write(b"\n")
        assert running.stdout.read() == b"one\ntwo\n"


def test_signals(client: Client, image: Image) -> None:
    script = "trap 'exit 4' TERM; echo ready; while :; do sleep 0.01; done"
    with client.popen(image, ["sh", "-c", script]) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        assert repr(running) == f"<Running {running.id} pid={running.pid}>"
        running.terminate()
        assert running.wait(_PATIENCE).exit_status == 4
        running.kill()  # which has nothing to do any more
    with client.popen(image, ["sleep", "1000"], remove=False, id="kept") as running:
        running.kill()
        assert running.wait(_PATIENCE).exit_status == 137
    client.load_container("kept").delete()


def test_bad_streams_leave_no_container(client: Client, image: Image) -> None:
    with pytest.raises(InvalidArgument):
        client.popen(image, ["true"], stdout=9999)
    with pytest.raises(InvalidArgument):
        client.run(image, ["true"], stdout=9999)
    assert client.containers() == []


# ---- many ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "few", "many"), [("runtime", 71, 7), ("services/containers", 3, 1)]
)
def test_an_interrupt_anywhere_leaves_nothing(
    client: Client, image: Image, count: Count, part: str, few: int, many: int
) -> None:
    hits = []
    for at in range(0, 10_000, count(few, many)):
        try:
            with Tracer(part, at) as tracer:
                client.run(image, ["true"], stdout=DEVNULL, stderr=DEVNULL)
        except Interrupt:
            hits.append(at)
        assert client.containers() == []
        if not tracer.hit:
            break
    assert len(hits) > 5


@pytest.mark.turns(3)
def test_many_in_a_row(client: Client, image: Image, count: Count) -> None:
    for n in range(count(20, 1000)):
        done = client.run(image, ["sh", "-c", f"echo {n}; echo e{n} >&2; exit {n % 128}"])
        assert (done.exit_code, done.stdout, done.stderr) == (n % 128, b"%d\n" % n, b"e%d\n" % n)


@pytest.mark.turns(3)
def test_many_at_once(client: Client, image: Image, count: Count) -> None:
    number = count(16, 50)

    def run(n: int) -> CompletedContainer:
        return client.run(image, ["sh", "-c", f"cat; echo {n}; exit {n}"], input=b"%d " % n)

    with ThreadPoolExecutor(number) as pool:
        found = list(pool.map(run, range(number)))
    assert [(d.exit_code, d.stdout) for d in found] == [
        (n, b"%d %d\n" % (n, n)) for n in range(number)
    ]


def test_much_output_takes_no_memory(client: Client, image: Image, count: Count) -> None:
    """A GiB goes through; what is held meanwhile does not grow with it."""
    size = count(64, 1024) << 20
    digest, wanted = hashlib.sha256(), hashlib.sha256()
    tracemalloc.start()
    try:
        done = client.run(image, ["head", "-c", str(size), "/dev/zero"], stdout=digest.update)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for _ in range(size >> 20):
        wanted.update(bytes(1 << 20))
    assert done.exit_code == 0
    assert digest.digest() == wanted.digest()
    assert peak < 8 << 20

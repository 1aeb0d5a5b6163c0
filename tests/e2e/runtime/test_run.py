"""Running containers for real, and what is left of them: nothing."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    AlreadyExists,
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from containerd_lite.images.image import Image
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def image(client: Client, busybox: str) -> Image:
    return client.pull(busybox)


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
        client.run(image, ["sh", "-c", "cat /dev/zero"], max_output=1000)


def test_a_sink_that_fails_kills(client: Client, image: Image) -> None:
    def fail(data: bytes) -> None:
        raise KeyError(data[:5])

    with pytest.raises(KeyError, match="hello"):
        client.run(image, ["sh", "-c", "echo hello; sleep 1000"], stdout=fail)


def test_timeout_kills(client: Client, image: Image) -> None:
    with pytest.raises(DeadlineExceeded, match=r"still ran after 0\.3 s"):
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


def test_labels_of_the_image_do_not_become_the_containers(
    client: Client, registry: Registry
) -> None:
    """CVE-2026-53488."""
    built = images.busybox(config={"Labels": {"containerd.io/restart.status": "running", "a": "b"}})
    image = client.pull(images.push(built, registry.host, "labels", "latest"))
    with client.lease():
        container = client.new_container("labels", image=image, labels={"mine": "yes"})
        assert container.labels == {
            "mine": "yes",
            "io.containerd.image.config.stop-signal": "SIGTERM",
        }
        container.delete()


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
    # 1.6 does not hide the power meters yet; we do, whatever the daemon.
    masked = set(a["Spec"]["linux"].pop("maskedPaths"))
    assert masked == {*b["Spec"]["linux"].pop("maskedPaths"), "/sys/devices/virtual/powercap"}
    assert a["Spec"] == b["Spec"]
    for field in ("Image", "Labels", "Snapshotter"):
        assert a[field] == b[field]
    assert a["Runtime"]["Name"] == b["Runtime"]["Name"]
    assert ours.info.snapshot_key == "ours"
    ours.delete()
    daemon.ctr("containers", "rm", "theirs", namespace=namespace)


def test_what_ctr_pulled_runs(daemon: Daemon, namespace: str, client: Client, busybox: str) -> None:
    local = () if daemon.suite == "bookworm" else ("--local",)
    daemon.ctr("images", "pull", *local, "--plain-http", busybox, namespace=namespace)
    assert client.run(busybox, ["echo", "hi"]).stdout == b"hi\n"


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
    for user in ("4294967296", "2147483648", "10000000000", "daemon", "-1", "0x1", "1:2:3"):
        with pytest.raises(InvalidArgument, match="not made of numbers"):
            client.run(image, ["true"], user=user)
    with pytest.raises(NotFound, match="no image"):
        client.run("nowhere/nothing", ["true"])


def test_an_id_is_taken_once(client: Client, image: Image) -> None:
    container = client.new_container("once", image=image)
    with pytest.raises(AlreadyExists):
        client.run(image, ["true"], id="once")
    assert client.load_container("once").info == container.info  # nothing was taken from it
    assert [found.id for found in client.containers()] == ["once"]
    container.delete()
    with pytest.raises(NotFound):
        client.load_container("once")


def test_a_task_by_hand(client: Client, image: Image) -> None:
    container = client.new_container("hand", image=image, args=["sleep", "1000"])
    task = container.new_task()
    try:
        assert task.status().state == "created"
        task.start()
        assert task.status().state == "running"
        assert container.task().pid == task.pid
        with pytest.raises(ContainerdError, match="has a task, which is running"):
            container.delete()
        with pytest.raises(DeadlineExceeded):
            task.wait(0.05)
        task.kill("KILL")
        assert task.wait().exit_status == 137
        ended = task.delete()
        assert ended is not None
        assert ended.exit_status == 137
        assert task.delete() is None
    finally:
        task.delete(force=True)
        container.delete()


def test_a_child_that_holds_the_streams_does_not_hold_us(client: Client, image: Image) -> None:
    # The shell ends; what it left in the background is killed with its pid namespace.
    done = client.run(image, ["sh", "-c", "sleep 1000 & echo done"])
    assert (done.exit_code, done.stdout) == (0, b"done\n")


def test_many_at_once(client: Client, image: Image) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(
            lambda n: client.run(image, ["sh", "-c", f"echo {n}; exit {n}"]), range(16)
        )
    assert [(d.exit_code, d.stdout) for d in found] == [(n, b"%d\n" % n) for n in range(16)]

"""Containers saved and made again, by us and by ``ctr``, with what runs in them by CRIU."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import AlreadyExists, ContainerdError, InvalidArgument, NotFound
from containerd_lite.images.image import Image
from containerd_lite.runtime.container import Container
from tests.e2e.runtime.conftest import Make
from tests.harness import Unavailable, criu
from tests.harness.daemon import Daemon

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.usefixtures("nothing_left")]
_PATIENCE = 30.0
#: Counts in memory; says how far it is, once a file tells it to.
_COUNTER = "n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); sleep 0.01; done; echo $n > /tmp/count"


@pytest.fixture
def changed(make: Make) -> Container:
    """A container that has run once and changed its root filesystem."""
    container = make("sh", "-c", "echo hi > /tmp/left; rm /etc/group", id="changed")
    with container.new_task() as task:
        task.start()
        assert task.wait(_PATIENCE).exit_status == 0
    return container


def test_what_does_not_run_is_saved(client: Client, changed: Container, image: Image) -> None:
    saved = changed.checkpoint("saved", task=False)
    assert saved.name == "saved"
    assert client.get_image("saved").target == saved.target
    with pytest.raises(AlreadyExists, match="image saved already exists"):
        changed.checkpoint("saved", task=False)
    changed.delete()
    again = client.restore("changed", saved)
    assert (again.image(), again.info.spec) == (image, changed.info.spec)
    assert (again.info.runtime, again.info.snapshotter) == (
        changed.info.runtime,
        changed.info.snapshotter,
    )
    again.update(spec=_says(again, "cat /tmp/left; ls /etc"))
    assert _output(client, again) == b"hi\npasswd\n"
    again.delete()
    plain = client.restore("changed", "saved", rw=False)
    plain.update(spec=_says(plain, "ls /tmp /etc"))
    assert _output(client, plain) == b"/etc:\ngroup\npasswd\n\n/tmp:\n"
    with pytest.raises(AlreadyExists):
        client.restore("changed", "saved")
    plain.delete()
    saved.delete(sync=True)


def _says(container: Container, script: str) -> dict[str, object]:
    spec: Any = container.spec()
    spec["process"]["args"] = ["sh", "-c", script]
    return spec  # type: ignore[no-any-return]


def _output(client: Client, container: Container) -> bytes:
    from containerd_lite.runtime.io import Capture, Streams

    capture = Capture(1 << 20)
    with container.new_task(Streams(None, capture, capture)) as task:
        task.start()
        assert task.wait(_PATIENCE).exit_status == 0
        assert task.streams is not None
        assert task.streams.wait(_PATIENCE)
    return capture.data


def test_an_image_that_is_no_checkpoint(client: Client, image: Image, changed: Container) -> None:
    with pytest.raises(InvalidArgument, match="is not a checkpoint"):
        client.restore("x", image)
    with pytest.raises(NotFound):
        client.restore("x", "nosuch")
    saved = changed.checkpoint("bare", task=False, rw=False)
    with pytest.raises(NotFound, match="does not contain the changes"):
        client.restore("x", saved)
    with pytest.raises(NotFound, match="does not contain processes"):
        changed.new_task(checkpoint=saved)
    saved.delete(sync=True)


@pytest.mark.generations
def test_what_ctr_saves_is_restored(
    daemon: Daemon, namespace: str, client: Client, changed: Container
) -> None:
    # It saves the spec with the processes alone; so this is what can be looked at without CRIU.
    daemon.ctr(
        "containers", "checkpoint", "--rw", "--image", "changed", "theirs", namespace=namespace
    )
    ours = changed.checkpoint("ours", task=False)
    theirs = client.get_image("theirs")

    def parts(image: Image) -> set[tuple[str, str]]:
        body = client.content_store.reader(image.target.digest).read()
        index = json.loads(body)
        assert index["annotations"] == {
            "org.opencontainers.image.ref.name": changed.info.image,
            "io.containerd.checkpoint.runtime": changed.info.runtime,
            "io.containerd.checkpoint.snapshotter": changed.info.snapshotter,
        }
        return {
            (one["mediaType"], changes(one) if "layer" in one["mediaType"] else one["digest"])
            for one in index["manifests"]
        }

    def changes(layer: dict[str, str]) -> str:
        """Without the times: a whiteout has that at which the layer was made."""
        body = client.content_store.reader(layer["digest"]).read()
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            return str([(one.name, one.type, one.mode, one.size) for one in archive])

    (spec,) = parts(ours) - parts(theirs)
    assert spec[0].endswith("checkpoint.config.v1+proto")
    assert parts(theirs) < parts(ours)
    for image in (ours, theirs):
        image.delete(sync=True)


@pytest.mark.generations
def test_the_folder_of_an_earlier_checkpoint(daemon: Daemon, make: Make, tmp_path: Path) -> None:
    """CRIU writes what changed since only where the kernel tracks memory: runc's call is seen."""
    runc, said = tmp_path / "runc", tmp_path / "said"
    save = f"""case " $* " in *" checkpoint "*) printf '%s\\n' "$@" > {said}; exit 0; esac"""
    runc.write_text(f'#!/bin/sh\n{save}\nexec {daemon.programs.runc.path} "$@"\n')
    runc.chmod(0o755)
    options = {"binary_name": str(runc)}
    with make("sleep", "1000", id="tracked", runtime_options=options).new_task() as task:
        task.start()
        folder = str(tmp_path / "second")
        assert task.checkpoint({"image_path": folder, "parent_path": "../first"}) == ()
        words = said.read_text().splitlines()
        assert folder in words
        assert ("--parent-path" in words) is ("../first" in words)
        assert ("../first" in words) is (daemon.version_info >= (2, 4))  # older shims ignore it
        assert task.status().state == "running"
        task.kill("SIGKILL")


# ---- with CRIU -----------------------------------------------------------------------------


@pytest.fixture
def counting(daemon: Daemon, make: Make) -> Container:
    """A container whose process counts, on a daemon that has CRIU."""
    try:
        criu.give(daemon)
    except Unavailable as reason:
        pytest.skip(str(reason))
    container = make("sh", "-c", _COUNTER, id="counting")
    # CRIU locks a network of its own with iptables, which not every machine has.
    spec: Any = container.spec()
    kinds = [one for one in spec["linux"]["namespaces"] if one["type"] != "network"]
    spec["linux"]["namespaces"] = kinds
    container.update(spec=spec)
    container.new_task().start()
    return container


def test_what_runs_goes_on(client: Client, counting: Container) -> None:
    saved = counting.checkpoint("counted", exit=True)
    task = counting.task()
    task.wait(_PATIENCE)
    task.delete()
    counting.delete()
    # The container has the network of the machine.
    again = client.restore("counting", saved, trust=True)
    with again.new_task(checkpoint=saved) as task:
        task.start()
        # The first process sees the file, and with its end the other may be killed.
        assert again.exec(["touch", "/tmp/stop"]).exit_code in (0, 137)
        assert task.wait(_PATIENCE).exit_status == 0
    again.update(spec=_says(again, "cat /tmp/count"))
    assert int(_output(client, again)) > 0
    again.delete()
    saved.delete(sync=True)


@pytest.mark.generations
def test_ctr_restores_what_we_saved(
    daemon: Daemon, namespace: str, client: Client, counting: Container
) -> None:
    saved = counting.checkpoint("counted", exit=True)
    counting.task().delete(force=True)
    counting.delete()
    daemon.ctr(
        "containers", "restore", "--rw", "--live", "counting", "counted", namespace=namespace
    )
    task = client.load_container("counting").task()
    status = task.status()
    assert status.state == "running"
    task.delete(force=True)
    shutil.rmtree(Path(status.stdio.stdout).parent)  # ctr ends, and leaves its FIFOs
    client.load_container("counting").delete()
    saved.delete(sync=True)


@pytest.mark.generations
def test_without_criu_it_says_so(client: Client, own_daemon: Daemon, busybox: str) -> None:
    with Client(own_daemon.address, namespace=own_daemon.namespace) as client:
        client.pull(busybox)
        container = client.new_container("c", image=busybox, args=["sleep", "1000"])
        with container.new_task() as task:
            task.start()
            with pytest.raises(ContainerdError, match=r"(?i)criu"):
                container.checkpoint("none")
            assert task.status().state == "running"
        container.delete()
        with pytest.raises(NotFound):
            client.get_image("none")

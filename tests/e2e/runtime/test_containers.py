"""Containers as records: what they are made of, what may change, what they refuse."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    AlreadyExists,
    ContainerdError,
    InvalidArgument,
    NoMatchingPlatform,
    NotFound,
    Unimplemented,
)
from containerd_lite.images.files import remapped_name
from containerd_lite.images.image import Image
from containerd_lite.runtime.io import NullIO, Streams
from containerd_lite.services._types import AnyValue
from containerd_lite.services.containers import ContainerRecord
from tests.e2e.runtime.conftest import Make
from tests.harness import debian, images
from tests.harness.daemon import Daemon
from tests.harness.process import wait_until
from tests.harness.registry import Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left"),
]


def told(daemon: Daemon, namespace: str, id: str) -> Any:
    return json.loads(daemon.ctr("containers", "info", id, namespace=namespace).stdout)


@pytest.mark.generations
def test_the_record(daemon: Daemon, namespace: str, image: Image, make: Make) -> None:
    value = AnyValue("example.com/thing", b"{}")
    container = make("true", labels={"a": "b"}, extensions={"thing": value})
    theirs = told(daemon, namespace, "c0")
    assert theirs["Labels"] == container.labels
    assert container.labels == {"a": "b", "io.containerd.image.config.stop-signal": "SIGTERM"}
    assert container.spec() == theirs["Spec"]
    assert container.spec() is not container.spec()
    assert container.image() == image
    assert theirs["Image"] == image.name
    assert container.extensions == {"thing": value}
    assert theirs["SnapshotKey"] == "c0"
    assert repr(container) == "<Container c0>"


def test_it_is_found_again(client: Client, make: Make) -> None:
    made = make("true", labels={"a": "b"})
    other = make("true")
    assert client.load_container("c0") == made
    assert {client.load_container("c0"), made} == {made}
    assert client.containers() == [made, other]
    assert client.containers('labels."a"==b') == [made]
    assert client.containers("id==c1", "id==c2") == [other]
    with pytest.raises(NotFound):
        client.load_container("c2")


def test_labels_are_set_one_by_one(daemon: Daemon, namespace: str, make: Make) -> None:
    container = make("true", labels={"a": "1", "b": "2"})
    found = container.set_labels({"a": "", "b": "3", "c/d.e": "4"})
    assert found == container.labels == told(daemon, namespace, "c0")["Labels"]
    assert {key: found.get(key) for key in ("a", "b", "c/d.e")} == {
        "a": None,
        "b": "3",
        "c/d.e": "4",
    }
    assert container.set_labels({}) == found


def test_a_record_changes(daemon: Daemon, namespace: str, client: Client, make: Make) -> None:
    container = make("echo", "old")
    spec: Any = container.spec()
    spec["process"]["args"] = ["sh", "-c", "exit 9"]
    value = AnyValue("example.com/thing", b"x")
    assert container.update(spec=spec, extensions={"thing": value}) is container
    assert told(daemon, namespace, "c0")["Spec"] == spec == container.spec()
    assert client.load_container("c0").extensions == {"thing": value}
    with container.new_task() as task:
        task.start()
        assert task.wait(10).exit_status == 9
    container.update()
    stale = client.load_container("c0")
    container.set_labels({"x": "y"})
    assert "x" not in stale.labels
    assert stale.reload().labels["x"] == "y"


def test_labels_of_an_image_are_copied_if_they_may_be(client: Client, registry: Registry) -> None:
    """CVE-2026-53488: of the reserved names none, on no way."""
    evil = {
        "containerd.io/restart.status": "running",
        "containerd.io/restart.loguri": "binary:///bin/sh",
        "io.cri-containerd.kind": "container",
        "io.containerd.image.config.stop-signal": "SIGKILL",
        "nerdctl/log-uri": "binary:///bin/sh",
        "nerdctl/state-dir": "/etc",
    }
    built = images.busybox(config={"Labels": {**evil, "a": "b", "mine": "no"}})
    image = client.pull(images.push(built, registry.host, "labels", "latest"))
    own = {"io.containerd.image.config.stop-signal": "SIGTERM", "mine": "yes"}
    for copy, wanted in ((False, own), (True, {**own, "a": "b"})):
        container = client.new_container(
            "labels", image=image, args=["true"], labels={"mine": "yes"}, image_labels=copy
        )
        assert container.labels == wanted
        container.delete()


@pytest.mark.generations
def test_restarted_by_the_daemon(daemon: Daemon, client: Client, image: Image) -> None:
    daemon_knows = daemon.version_info >= (1, 7)
    container = client.new_container(
        "phoenix", image=image, args=["sleep", "1000"], restart="always"
    )
    assert container.labels["containerd.io/restart.status"] == "running"
    assert container.labels["containerd.io/restart.policy"] == "always"

    def runs() -> bool:
        try:
            return container.task().status().state == "running"
        except NotFound:
            return False

    assert wait_until(runs, 60)  # the monitor looks every 10 s
    with pytest.raises(InvalidArgument, match="policy"):
        container.set_restart("sometimes")
    container.set_restart("no")
    container.task().delete(force=True)
    container.delete()
    if daemon_knows:
        made = client.new_container("once", image=image, args=["true"], restart="on-failure:3")
        assert made.labels["containerd.io/restart.policy"] == "on-failure:3"
        made.delete()
    else:
        with pytest.raises(Unimplemented, match="does not support the policy 'on-failure'"):
            client.new_container("once", image=image, args=["true"], restart="on-failure:3")


def test_no_policy(client: Client, image: Image) -> None:
    for policy in ("", "sometimes", "on-failure:", "on-failure:0", "always:3", "ALWAYS"):
        with pytest.raises(InvalidArgument, match="invalid restart policy"):
            client.new_container("c", image=image, args=["true"], restart=policy)
    with pytest.raises(InvalidArgument, match="restart_log"):
        client.new_container("c", image=image, args=["true"], restart_log="file:///tmp/x")


# ---- root file systems ---------------------------------------------------------------------


def test_a_view_cannot_be_written_to(client: Client, registry: Registry) -> None:
    # runc makes no mount points in what it cannot write to.
    points = images.layer(dict.fromkeys(("proc", "dev", "sys", "run"), None))
    built = images.build([images.busybox_layer(), points], env=["PATH=/bin"])
    image = client.pull(images.push(built, registry.host, "points", "latest"))
    script = "touch /tmp/x && echo written"
    assert client.run(image, ["sh", "-c", script]).stdout == b"written\n"
    done = client.run(image, ["sh", "-c", script], view=True)
    assert (done.exit_code, done.stdout) == (1, b"")
    assert b"Read-only file system" in done.stderr


def test_a_snapshot_that_is_there(client: Client, image: Image) -> None:
    snapshots = client.snapshot_service()
    with client.lease():
        snapshots.prepare("kept", image.unpack())
        client.run(
            image, ["sh", "-c", "echo hi > /tmp/left"], snapshot="kept", remove=False, id="a"
        )
        client.load_container("a").delete(snapshot=False)
        done = client.run(image, ["cat", "/tmp/left"], snapshot="kept", id="b")
        assert done.stdout == b"hi\n"
        with pytest.raises(NotFound):  # it went with the second container
            snapshots.stat("kept")
        with pytest.raises(NotFound):
            client.new_container("c", image=image, args=["true"], snapshot="nowhere")


def test_a_folder_of_ones_own(client: Client, image: Image, tmp_path: Path) -> None:
    program = debian.program("busybox").path
    (tmp_path / "bin").mkdir()
    shutil.copy(program, tmp_path / "bin" / "sh")
    container = client.new_container(
        "own", args=["/bin/sh", "-c", "echo hi > /left; exit 4"], rootfs=tmp_path
    )
    assert (container.info.image, container.info.snapshot_key) == ("", "")
    with pytest.raises(NotFound, match="has no image"):
        container.image()
    with container.new_task() as task:
        task.start()
        assert task.wait(10).exit_status == 4
    container.delete()
    assert (tmp_path / "left").read_text() == "hi\n"
    for bad in ({"rootfs": "here"}, {"rootfs": "/x", "image": image}, {}):
        with pytest.raises(InvalidArgument):
            client.new_container("bad", args=["true"], **bad)


@pytest.mark.generations
def test_mounts_of_ones_own(client: Client, image: Image, make: Make) -> None:
    """What Go's client does with WithRootFS: a snapshot that no container's record names."""
    snapshots = client.snapshot_service()
    with client.lease():
        mounts = snapshots.prepare("loose", image.unpack())
        argv = ["sh", "-c", "echo hi > /left"]
        container = client.new_container("loose", args=argv, rootfs="", env={"PATH": "/bin"})
        assert container.info.snapshot_key == ""
        for wrong in (5, "x", ["x"], mounts[0]):
            with pytest.raises(InvalidArgument, match="rootfs cannot be"):
                container.new_task(rootfs=wrong)  # type: ignore[arg-type]
        with container.new_task(rootfs=mounts) as task:
            task.start()
            assert task.wait(10).exit_status == 0
        container.delete()
        done = client.run(image, ["cat", "/left"], snapshot="loose")
        assert done.stdout == b"hi\n"


@pytest.mark.generations
def test_options_of_a_task_override_those_of_the_container(
    daemon: Daemon, make: Make, tmp_path: Path
) -> None:
    runc, said = tmp_path / "runc", tmp_path / "said"
    note = f"""case " $* " in *" create "*) printf '%s\\n' "$@" > {said};; esac"""
    runc.write_text(f'#!/bin/sh\n{note}\nexec {daemon.programs.runc.path} "$@"\n')
    runc.chmod(0o755)
    options = {"binary_name": str(runc), "no_new_keyring": True}
    container = make("true", runtime_options=options)
    for changes, words in (
        (None, {"--no-new-keyring"}),
        ({"no_pivot_root": True}, {"--no-new-keyring", "--no-pivot"}),
        ({"no_new_keyring": False}, set()),
    ):
        with container.new_task(runtime_options=changes):
            found = {*said.read_text().split()}
            assert found & {"--no-new-keyring", "--no-pivot"} == words
            said.unlink()
    program = str(daemon.programs.runc.path)
    replacing = AnyValue.of("containerd.runc.v1.Options", {"binary_name": program})
    with container.new_task(runtime_options=replacing):
        assert not said.exists()
    with pytest.raises(InvalidArgument):
        container.new_task(runtime_options={"nosuch": True})


def test_streams_and_spec_agree_on_a_terminal(client: Client, image: Image, make: Make) -> None:
    with pytest.raises(InvalidArgument, match="has a terminal, but its streams have no terminal"):
        client.run(image, ["true"], terminal=True, detach=True, streams=NullIO())
    with pytest.raises(InvalidArgument, match="has no terminal, but its streams have a terminal"):
        make("true").new_task(Streams(terminal=True))
    with client.popen(image, ["tty"], terminal=True) as running:
        assert running.stdout is not None
        assert running.stdout.read() == b"/dev/pts/0\r\n"
    done = client.run(image, ["sh", "-c", "tty; tty >&2"], terminal=True)
    assert (done.stdout, done.stderr) == (b"/dev/pts/0\r\n" * 2, b"")
    container = make("sleep", "1000")
    with container.new_task() as task:
        task.start()
        assert container.exec(["tty"], terminal=True).stdout == b"/dev/pts/0\r\n"


def test_another_snapshotter(client: Client, image: Image) -> None:
    done = client.run(image, ["cat", "/proc/mounts"], snapshotter="native")
    assert b"overlay / " not in done.stdout
    assert image.is_unpacked("native")


# ---- what cannot be ------------------------------------------------------------------------


def test_a_name_that_is_taken(client: Client, image: Image, make: Make) -> None:
    made = make("true")
    with pytest.raises(AlreadyExists, match="container c0 exists"):
        client.run(image, ["true"], id="c0")
    with pytest.raises(AlreadyExists, match="container c0 exists"):
        client.new_container("c0", image=image, args=["true"])
    assert client.load_container("c0").info == made.info  # nothing was taken from it
    client.snapshot_service().stat("c0")


def test_a_name_whose_snapshot_alone_is_there(client: Client, image: Image) -> None:
    with client.lease():
        client.snapshot_service().prepare("half", image.unpack())
        with pytest.raises(AlreadyExists, match=r"snapshot.*half.*remove the snapshot"):
            client.run(image, ["true"], id="half")
        client.snapshot_service().stat("half")
        client.snapshot_service().remove("half")


def test_a_container_deleted_under_us(
    daemon: Daemon, namespace: str, client: Client, make: Make
) -> None:
    container = make("sleep", "1000")
    daemon.ctr("containers", "rm", "c0", namespace=namespace)
    for act in (container.new_task, container.task, container.reload, container.delete):
        with pytest.raises(NotFound):
            act()
    with pytest.raises(NotFound):
        container.set_labels({"a": "b"})


def test_an_image_of_another_platform(client: Client, registry: Registry) -> None:
    built = images.busybox(platform="linux/s390x")
    image = client.pull(
        images.push(built, registry.host, "foreign", "latest"), platform="linux/s390x"
    )
    with pytest.raises(NoMatchingPlatform, match="s390x"):
        client.run(image.name, ["true"])
    # Whoever asked for that platform gets it: the machine may be able to emulate it.
    client.new_container("foreign", image=image, args=["true"]).delete()
    index = images.index_of({"linux/s390x": built})
    ref = images.push(index, registry.host, "foreign", "index")
    client.pull(ref, platform="linux/s390x")
    with pytest.raises(NoMatchingPlatform):
        client.run(ref, ["true"])


def test_bad_requests(client: Client, image: Image) -> None:
    with pytest.raises(InvalidArgument, match="cannot be an id"):
        client.run(image, ["true"], id="../x")
    with pytest.raises(TypeError, match="unknown option nosuch"):
        client.run(image, ["true"], nosuch=1)  # type: ignore[call-overload]
    with pytest.raises(NotFound, match="not found"):
        client.run("nowhere/nothing", ["true"])
    with pytest.raises(ContainerdError):
        client.run(image, ["true"], runtime="io.containerd.nosuch.v9")
    with pytest.raises(InvalidArgument):
        client.new_container("c", image=image, args=["true"], runtime_options={"nosuch": True})


def test_a_record_without_a_spec(client: Client) -> None:
    with pytest.raises(NotFound, match="has no image"):
        client.load_container(_bare(client)).image()
    client.container_service.delete("bare")


def _bare(client: Client) -> str:
    record = ContainerRecord("bare", runtime="io.containerd.runc.v2", spec=AnyValue("x", b"{}"))
    return client.container_service.create(record).id


# ---- user namespaces -----------------------------------------------------------------------


@pytest.mark.generations
def test_a_user_namespace(daemon: Daemon, client: Client, image: Image) -> None:
    maps: Any = {"uid_map": [(0, 100_000, 65_536)], "gid_map": [(0, 200_000, 65_536)]}
    script = "cat /proc/self/uid_map /proc/self/gid_map; id -u; ls -ln /etc/passwd"
    daemon.folder.chmod(0o711)  # whoever is root in there comes by
    done = client.run(image, ["sh", "-c", script], check=True, **maps)
    uids, gids, who, file = [line.split() for line in done.stdout.decode().splitlines()]
    assert (uids, gids, who) == (["0", "100000", "65536"], ["0", "200000", "65536"], ["0"])
    assert file[2:4] == ["0", "0"]  # the snapshotter shows root's files as the container's root's
    with pytest.raises(InvalidArgument, match="does not map id 0"):
        client.run(image, ["true"], uid_map=[(1, 100_000, 10)], gid_map=[(0, 1000, 10)])


#: Several ranges. The larger ids on the machine do not fit into the fields of a plain tar header.
RANGES: Any = {
    "uid_map": [(0, 100_000, 1000), (1000, 3_000_000, 10)],
    "gid_map": [(0, 200_000, 1000), (1000, 4_000_000, 10)],
}
LONG = "a" * 120
#: All of the first 32 capabilities, as a file has them (struct vfs_cap_data). No text is such.
CAPABILITY = b"\1\0\0\2" + b"\xff" * 4 + b"\0" * 12


@pytest.fixture
def owned(client: Client, registry: Registry) -> Image:
    """An image whose files belong to several users."""
    app = images.Entry(b"#!/bin/sh\n", mode=0o755, uid=1000, gid=5, capability=CAPABILITY)
    files: images.Files = {
        "data": images.Entry(mode=0o755, uid=1000, gid=1001, kind=tarfile.DIRTYPE),
        "data/app": app,
        "data/hard": replace(app, data=b"", kind=tarfile.LNKTYPE, target="data/app"),
        "data/soft": "app",
        f"data/{LONG}": images.Entry(b"x", mode=0o4711, uid=7, gid=1009),
    }
    built = images.build([images.busybox_layer(), images.layer(files)], env=["PATH=/bin"])
    return client.pull(images.push(built, registry.host, "owned", "latest"))


@pytest.mark.generations
@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
def test_a_user_namespace_of_several_ranges(
    daemon: Daemon, client: Client, owned: Image, snapshotter: str
) -> None:
    """The snapshotter maps them, or the files are copied once for all containers with the map."""
    daemon.folder.chmod(0o711)
    snapshots, parent = client.snapshot_service(snapshotter), owned.unpack(snapshotter)
    before = {info.name for info in snapshots.list()}
    script = (
        "cat /proc/self/uid_map; cd /data; stat -c '%u:%g %a' / . app a*a; stat -c %h app;"
        " cat soft; touch x"
    )
    said = """\
         0     100000       1000
      1000    3000000         10
0:0 755
1000:1001 755
1000:5 755
7:1009 4711
2
#!/bin/sh
"""
    options: Any = {"snapshotter": snapshotter, "user": "1000:1001", **RANGES}
    with client.lease():  # without a container that uses it, a copy goes at the next collection
        for _ in range(2):
            done = client.run(owned, ["sh", "-c", script], check=True, **options)
            assert done.stdout.decode() == said
        copies = {info.name for info in snapshots.list()} - before
        assert snapshots.can_remap(several=True) is not bool(copies)
        if snapshotter == "overlayfs" and daemon.version_info >= (2, 1):
            assert copies == set()
            return
        assert copies == {remapped_name(parent, RANGES["uid_map"], RANGES["gid_map"])}
        (mount,) = snapshots.view("look", copies.pop())
        app = f"{mount.source}/data/app"
        assert (os.stat(app).st_uid, os.stat(app).st_gid) == (3_000_000, 200_005)
        assert os.getxattr(app, "security.capability") == CAPABILITY
        snapshots.remove("look")


@pytest.mark.generations
def test_a_copy_that_ctr_made(daemon: Daemon, namespace: str, client: Client, image: Image) -> None:
    if daemon.version_info < (2, 1):
        return  # its ctr takes one range, and names the copy in another way
    # ctr maps a file twice that has two names: this image has no such file.
    daemon.folder.chmod(0o711)
    snapshots, parent = client.snapshot_service("native"), image.unpack("native")
    flags = [
        f"--{name[:3]}map={inside}:{outside}:{size}"
        for name, ranges in RANGES.items()
        for inside, outside, size in ranges
    ]
    flags = ["--snapshotter", "native", *flags]
    daemon.ctr("run", *flags, image.name, "theirs", "true", namespace=namespace)
    names = {info.name for info in snapshots.list()}
    assert names >= {parent, remapped_name(parent, RANGES["uid_map"], RANGES["gid_map"])}
    done = client.run(image, ["id", "-u"], snapshotter="native", check=True, **RANGES)
    assert done.stdout == b"0\n"
    assert {info.name for info in snapshots.list()} == names
    daemon.ctr("containers", "rm", "theirs", namespace=namespace)


def test_an_owner_that_is_not_mapped(client: Client, owned: Image) -> None:
    few: Any = {"uid_map": [(0, 100_000, 1000)], "gid_map": [(0, 200_000, 2000)]}
    with pytest.raises(InvalidArgument, match="data' belongs to uid 1000, which uid_map") as told:
        client.run(owned, ["true"], snapshotter="native", **few)
    assert told.value.remedy == "Add an item for 1000 to uid_map"
    assert {info.kind for info in client.snapshot_service("native").list()} == {"committed"}

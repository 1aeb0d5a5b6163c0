"""The mount manager of the daemons that have one, beside what the kernel lists as mounted."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import AlreadyExists, NotFound, Unimplemented, Unknown
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.services._types import Mount
from containerd_lite.services.containers import ContainerRecord
from containerd_lite.services.mounts import Activation, MountService
from tests.e2e.services.leftovers import lacks, nothing_stays  # noqa: F401
from tests.harness.daemon import Daemon
from tests.harness.process import wait_until

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]

#: Says of what an activation is: as long as that lives, it stays.
REFERENCE = "containerd.io/gc.bref"
ROOT = {"containerd.io/gc.root": "x"}


@pytest.fixture
def mounts(daemon: Daemon, client: Client) -> MountService:
    if daemon.version_info < (2, 2):
        pytest.skip("containerd before 2.2 has no mount manager")
    return client.mount_service


def bind(source: object, *options: str, type: str = "bind") -> Mount:
    return Mount(type, str(source), options=("rbind", *options))


def layered(folders: tuple[Path, Path]) -> list[Mount]:
    """A writable overlay of both folders, whose own folders the daemon is to make."""
    upper, work = (folders[0].parent / name for name in ("upper", "work"))
    made = (f"X-containerd.mkdir.path={folder}:0750" for folder in (upper, work))
    options = ("lowerdir={{ overlay 0 1 }}", f"upperdir={upper}", f"workdir={work}", *made)
    overlay = Mount("format/mkdir/overlay", "overlay", options=options)
    return [bind(folders[0], "ro"), bind(folders[1], "ro"), overlay]


def mounted() -> list[str]:
    """What the mount managers of all daemons have mounted."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if "mount-manager" in line.split()[4]]


def names(mounts: MountService) -> list[str]:
    return sorted(activation.name for activation in mounts.list())


def collect(client: Client) -> None:
    """Deletes a lease, and waits for the collection that this brings."""
    service = client.lease_service
    service.delete(service.create().id, sync=True)


def test_templates_and_folders(
    client: Client, mounts: MountService, folders: tuple[Path, Path]
) -> None:
    labels = {"a": "b"}
    begin = datetime.now(timezone.utc)
    with client.lease() as lease:
        found = mounts.activate("one", layered(folders), labels=labels)
        assert client.lease_service.list_resources(lease) == []
        first, second = found.active
        assert (first.mount, second.mount) == tuple(layered(folders)[:2])
        assert [active.mount_point for active in found.active] == sorted(mounted(), reverse=True)
        for active, folder in zip(found.active, folders, strict=True):
            assert os.listdir(active.mount_point) == [folder.name]
            assert active.mounted_at is not None
            assert abs(active.mounted_at - begin) < timedelta(seconds=30)
        upper, work = (folders[0].parent / name for name in ("upper", "work"))
        options = (
            f"lowerdir={first.mount_point}:{second.mount_point}",
            f"upperdir={upper}",
            f"workdir={work}",
        )
        assert found.system == (Mount("overlay", "overlay", options=options),)
        assert [oct(folder.stat().st_mode)[-3:] for folder in (upper, work)] == ["750", "750"]
        assert (found.name, found.labels) == ("one", labels)
        mounts.deactivate("one")
        assert mounted() == names(mounts) == []


def test_temporary(
    daemon: Daemon, client: Client, mounts: MountService, folders: tuple[Path, Path]
) -> None:
    """The daemon makes all mounts, and one bind mount gives access to the last of them."""
    given = {"plain": [bind(folders[0], "ro")]}
    if daemon.version_info >= (2, 4):  # others panic: "index out of range"
        given["all"] = layered(folders)
    with client.lease():
        for name, each in given.items():
            found = mounts.activate(name, each, temporary=True)
            assert len(mounted()) == len(found.active) == len(each)
            assert found.system == (bind(found.active[-1].mount_point),)
            assert [one.mount.type for one in found.active] == ["bind", "bind", "overlay"][
                : len(each)
            ]
            shown = ["a", "b"] if name == "all" else ["a"]
            assert sorted(os.listdir(found.system[0].source)) == shown
            mounts.deactivate(name)
            assert mounted() == []


def test_info_and_list(client: Client, mounts: MountService, folders: tuple[Path, Path]) -> None:
    """What the daemon keeps of the mounts that it made is little."""
    with client.lease():
        made = mounts.activate("one", layered(folders), labels={"a": "b"})
        found = mounts.info("one")
        assert (found.name, found.system) == ("one", made.system)
        assert found.labels == {"a": "b"}
        for stored, active in zip(found.active, made.active, strict=True):
            assert stored.mount == Mount(active.mount.type, "")
            assert stored.mount_point == active.mount_point
            assert stored.mounted_at == active.mounted_at
        mounts.activate("two", [bind(folders[0])], temporary=True)
        assert names(mounts) == ["one", "two"]
        assert [one for one in mounts.list() if one.name == "one"] == [found]
        assert len([*mounts.list("name==one")]) == 2  # it ignores all filters
        assert len([*mounts.list("no filter at all!")]) == 2
        other = client.in_namespace(f"{client.namespace}x").mount_service
        assert list(other.list()) == []
        with pytest.raises(NotFound):
            other.info("one")
        with pytest.raises(AlreadyExists):
            mounts.activate("one", [bind(folders[0])], temporary=True)
        assert mounts.info("one") == found
        for name in ("one", "two"):
            mounts.deactivate(name)


def test_update(client: Client, mounts: MountService, folders: tuple[Path, Path]) -> None:
    with client.lease():
        made = mounts.activate("one", [bind(folders[0])], temporary=True)
        with pytest.raises(Unimplemented) as caught:
            mounts.update(made, fields=["labels"])
        assert "no daemon up to 2.4" in caught.value.remedy
        mounts.deactivate("one")


def test_what_is_not_there(mounts: MountService) -> None:
    for call in (mounts.info, mounts.deactivate):
        with pytest.raises(NotFound):
            call("none")
    assert list(mounts.list()) == []


@pytest.mark.parametrize("temporary", [False, True])
def test_nothing_to_do(mounts: MountService, folders: tuple[Path, Path], temporary: bool) -> None:
    """The kernel can make these mounts, or there are none."""
    given = [] if temporary else [bind(folders[0])]
    with pytest.raises(Unimplemented) as caught:
        mounts.activate("one", given, temporary=temporary)
    assert "with the system's mount" in caught.value.remedy
    assert names(mounts) == []


def test_what_the_daemon_refuses(
    client: Client, mounts: MountService, folders: tuple[Path, Path]
) -> None:
    """It says so by the same status."""
    outside = f"X-containerd.mkdir.path=/nowhere-{os.urandom(8).hex()}/a"
    refused = (bind(folders[0], outside, type="mkdir/bind"), bind(folders[0], type="nope/bind"))
    with client.lease():
        for mount in refused:
            with pytest.raises(Unimplemented) as caught:
                mounts.activate("one", [mount])
            assert "unless a type contains a transform" in caught.value.remedy
        assert names(mounts) == mounted() == []


@pytest.mark.parametrize("source", ["{{ mount 7 }}", "{{ mount", "{{ no 0 }}", "/no/folder"])
def test_mounts_that_fail(
    client: Client, mounts: MountService, folders: tuple[Path, Path], source: str
) -> None:
    """What was mounted before is unmounted."""
    failing = bind(source, type="format/bind")
    with client.lease():
        with pytest.raises(Unknown):
            mounts.activate(
                "one", [bind(folders[0]), failing, bind(folders[1], type="format/bind")]
            )
        assert names(mounts) == mounted() == []
        with pytest.raises(Unknown):
            mounts.activate("one", [bind(folders[0]), bind("/no/folder")], temporary=True)
        assert names(mounts) == mounted() == []


def test_a_lease_keeps_it(client: Client, mounts: MountService, folders: tuple[Path, Path]) -> None:
    with client.lease():
        mounts.activate("one", [bind(folders[0])], temporary=True)
        collect(client)
        assert names(mounts) == ["one"]
    collect(client)
    assert names(mounts) == mounted() == []


@pytest.mark.parametrize("kind", ["snapshot.native", "snapshot.native/x", "container", "image.y"])
def test_a_back_reference_keeps_it(
    client: Client, mounts: MountService, folders: tuple[Path, Path], kind: str
) -> None:
    remove: Callable[[str], None]
    if kind == "container":
        client.container_service.create(ContainerRecord("target", runtime="io.containerd.runc.v2"))
        remove = client.container_service.delete
    elif kind == "image.y":
        target = Descriptor("application/vnd.oci.image.manifest.v1+json", "sha256:" + "1" * 64, 17)
        client.image_service.create("target", target)
        remove = client.image_service.delete
    else:
        client.snapshot_service("native").prepare("target", labels=ROOT)
        remove = client.snapshot_service("native").remove
    labels = {f"{REFERENCE}.{kind}": "target"}
    with client.lease():
        mounts.activate("one", [bind(folders[0])], labels=labels, temporary=True)
    collect(client)
    assert names(mounts) == ["one"]
    remove("target")
    collect(client)
    assert names(mounts) == mounted() == []


def test_nothing_keeps_it(mounts: MountService, client: Client, folders: tuple[Path, Path]) -> None:
    labels = {**ROOT, f"{REFERENCE}.snapshot.native": "none"}
    mounts.activate("one", [bind(folders[0])], labels=labels, temporary=True)
    collect(client)
    assert wait_until(lambda: names(mounts) == mounted() == [], 5)


def test_a_restart_keeps_it(
    own_daemon: Daemon, mounts: MountService, folders: tuple[Path, Path]
) -> None:
    with Client(own_daemon.address, namespace=own_daemon.namespace) as client, client.lease():
        made = client.mount_service.activate("one", [bind(folders[0])], temporary=True)
        own_daemon.restart()
        assert os.listdir(made.active[0].mount_point) == ["a"]
        assert names(client.mount_service) == ["one"]
        client.mount_service.deactivate("one")


def test_daemons_without(daemon: Daemon, client: Client) -> None:
    service = client.mount_service
    calls = (
        lambda: service.activate("a", []),
        lambda: service.deactivate("a"),
        lambda: service.info("a"),
        lambda: service.update(Activation("a")),
        lambda: list(service.list()),
    )
    if daemon.version_info >= (2, 2):
        pytest.skip("it has the mount manager")
    for call in calls:
        with pytest.raises(Unimplemented) as caught:
            call()
        assert lacks(caught.value, daemon, "2.2")

"""Root filesystems of snapshots, mounted by the client, beside what the kernel lists as mounted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Barrier

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    ContainerdError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unimplemented,
)
from containerd_lite.images.image import Image
from containerd_lite.services._types import Mount
from containerd_lite.services.snapshots import SnapshotService
from tests.conftest import Count
from tests.e2e.services.leftovers import lacks
from tests.harness import kernel
from tests.harness.daemon import Daemon
from tests.harness.interrupts import Interrupt, Tracer
from tests.harness.leaks import open_files

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_mounted"),
]

ROOT = Path(__file__).resolve().parents[3]
KEEP = {"containerd.io/gc.root": "x"}


def left() -> list[str]:
    """What is mounted on a temporary folder or by a mount manager, and the temporary folders."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    folders = map(str, Path(tempfile.gettempdir()).glob("containerd-lite-*"))
    return [*(p for p in points if "containerd-lite-" in p or "mount-manager" in p), *folders]


@pytest.fixture
def nothing_mounted(
    daemon: Daemon, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    """Fails a test that leaves a mount, a folder, an activation, a lease or an open file."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files = open_files()
    yield
    assert left() == []
    assert [*client.lease_service.list()] == []
    if daemon.version_info >= (2, 2):
        assert [*client.mount_service.list()] == []
    added = [file for number, file in open_files().items() if number not in files]
    assert [file for file in added if not file.startswith("socket:")] == []


@pytest.fixture
def image(client: Client, busybox: str) -> Image:
    return client.pull(busybox)


def bind(source: object, *options: str, target: str = "", type: str = "bind") -> Mount:
    return Mount(type, str(source), target, ("rbind", *options))


def layered(folders: tuple[Path, Path], *, made: bool = True) -> list[Mount]:
    """A writable overlay of both folders, which the daemon must prepare."""
    upper, work = (folders[0].parent / name for name in ("upper", "work"))
    options = ["lowerdir={{ overlay 0 1 }}", f"upperdir={upper}", f"workdir={work}"]
    if made:
        options += [f"X-containerd.mkdir.path={folder}:0755" for folder in (upper, work)]
    overlay = Mount("format/mkdir/overlay", "overlay", options=tuple(options))
    return [bind(folders[0], "ro"), bind(folders[1], "ro"), overlay]


def refuses_writes(path: Path) -> bool:
    with pytest.raises(OSError, match="Read-only file system"):
        (path / "new").write_text("x")
    return True


@contextmanager
def prepared(snapshots: SnapshotService, parent: str, *, view: bool = False) -> Iterator[str]:
    (snapshots.view if view else snapshots.prepare)("look", parent, KEEP)
    try:
        yield "look"
    finally:
        snapshots.remove("look")


@pytest.mark.registry
@pytest.mark.parametrize("name", ["overlayfs", "native"])
def test_the_snapshots_of_an_image(client: Client, image: Image, name: str) -> None:
    snapshots = client.snapshot_service(name)
    top = image.unpack(name)
    with prepared(snapshots, top, view=True) as key:
        with client.temp_mount(snapshots.mounts(key)) as path:
            assert (path / "bin/busybox").stat().st_size > 100_000
            assert refuses_writes(path)
        assert not path.exists()
    with prepared(snapshots, top) as key:
        mounts = snapshots.mounts(key)
        with client.temp_mount(mounts) as path:
            (path / "bin/new").write_text("kept")
            (path / "bin/busybox").unlink()
            assert path.parent.stat().st_mode & 0o077 == 0  # others may not use what is setuid
        for _ in range(2):  # also while it is mounted
            with client.temp_mount(mounts, read_only=True) as path:
                assert (path / "bin/new").read_text() == "kept"
                assert not (path / "bin/busybox").exists()
                assert refuses_writes(path)
        with (
            client.temp_mount(mounts) as path,
            client.temp_mount(mounts, read_only=True) as other,
        ):
            assert refuses_writes(other)
            (path / "bin/new").write_text("changed")


@pytest.mark.registry
def test_several_threads(client: Client, image: Image) -> None:
    snapshots = client.snapshot_service("overlayfs")
    barrier = Barrier(4)

    def look(number: int) -> str:
        barrier.wait(10)
        with client.temp_mount(mounts, read_only=bool(number % 2)) as path:
            barrier.wait(10)
            assert (path / "bin/busybox").exists()
            return str(path)

    with prepared(snapshots, image.unpack("overlayfs"), view=True) as key:
        mounts = snapshots.mounts(key)
        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(look, range(4)))) == 4


def test_an_overlay_with_many_layers(client: Client) -> None:
    """Its options do not fit into a page of memory."""
    snapshots, parent, most = client.snapshot_service("overlayfs"), "", 100
    with client.lease():
        for number in range(most):
            (mount,) = snapshots.prepare("key", parent)
            with client.temp_mount([mount]) as path:
                (path / str(number)).touch()
            parent = f"layer-{number}"
            snapshots.commit(parent, "key")
        (mount,) = snapshots.prepare("key", parent)
        assert len(",".join(mount.options)) > os.sysconf("SC_PAGE_SIZE")
        for read_only in (False, True):
            with client.temp_mount([mount], read_only=read_only) as path:
                assert len(os.listdir(path)) == most
        long = Mount("overlay", "overlay", "", (*mount.options, "x" * 4096))
        with pytest.raises(FailedPrecondition, match="more than"):
            client.temp_mount([long]).__enter__()


def test_mounts_that_need_the_daemon(
    daemon: Daemon, client: Client, folders: tuple[Path, Path]
) -> None:
    if daemon.version_info < (2, 2):
        with pytest.raises(Unimplemented) as caught, client.temp_mount(layered(folders)):
            pytest.fail("it was mounted")
        assert lacks(caught.value, daemon, "2.2")
        assert "overlay" in str(caught.value)
        return
    with client.temp_mount(layered(folders)) as path:
        assert sorted(os.listdir(path)) == ["a", "b"]
        (path / "c").write_text("new")
        client.lease_service.delete(client.lease_service.create().id, sync=True)  # collects
        assert (path / "c").read_text() == "new"
    with client.temp_mount(layered(folders), read_only=True) as path:
        assert sorted(os.listdir(path)) == ["a", "b", "c"]
        assert refuses_writes(path)
    templates = [bind(folders[0]), bind("{{ mount 0 }}", type="format/bind")]
    with client.temp_mount(templates) as path:
        assert os.listdir(path) == ["a"]
    with client.temp_mount(templates, read_only=True) as path:
        assert refuses_writes(path)


def test_ids_that_are_mapped(daemon: Daemon, client: Client, folders: tuple[Path, Path]) -> None:
    """The kernel would ignore the options, and a daemon would delete the source in the end."""
    mapped = bind(folders[0], "uidmap=0:5000:1000", "gidmap=0:5000:1000")
    given = [[mapped]]
    if daemon.version_info >= (2, 2):
        given.append([mapped, bind("{{ mount 0 }}", type="format/bind")])
    for mounts in given:
        with pytest.raises(Unimplemented) as caught:
            client.temp_mount(mounts).__enter__()
        assert "read_only=True" in caught.value.remedy
        with client.temp_mount(mounts, read_only=True) as path:
            assert (path / "a").stat().st_uid == 0
        assert os.listdir(folders[0]) == ["a"]


@pytest.mark.parametrize("read_only", [False, True])
def test_a_loop_device(
    daemon: Daemon, client: Client, folders: tuple[Path, Path], tmp_path: Path, read_only: bool
) -> None:
    disk = Mount("ext4", str(tmp_path / "disk"), options=("loop",))
    make = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin")
    if daemon.version_info < (2, 2) or make is None:
        with pytest.raises(Unimplemented), client.temp_mount([disk], read_only=read_only):
            pytest.fail("it was mounted")
        return
    subprocess.run([make, "-q", disk.source, "4M"], check=True)
    with client.temp_mount([disk], read_only=read_only) as path:
        assert os.listdir(path) == ["lost+found"]
        if read_only:
            assert refuses_writes(path)
        else:
            (path / "new").touch()


def test_what_the_daemon_refuses(client: Client, folders: tuple[Path, Path]) -> None:
    """Nothing of it is mounted as it is: the kernel would take ``nope/bind`` for a bind mount."""
    outside = f"X-containerd.mkdir.path=/nowhere-{os.urandom(8).hex()}/a"
    for mount in (
        bind(folders[0], outside, type="mkdir/bind"),
        bind(folders[0], type="nope/bind"),
    ):
        with pytest.raises(Unimplemented) as caught, client.temp_mount([mount]):
            pytest.fail("it was mounted")
        assert mount.type in str(caught.value)
        assert caught.value.remedy
    for type in ("loop", "fuse3.nothing"):
        with pytest.raises(ContainerdError), client.temp_mount([Mount(type, "/nothing/is/here")]):
            pytest.fail("it was mounted")


def test_after_a_failure(daemon: Daemon, client: Client, folders: tuple[Path, Path]) -> None:
    with pytest.raises(NotFound) as caught:
        client.temp_mount([bind(folders[0]), bind("/nothing/is/here")]).__enter__()
    assert "/nothing/is/here" in str(caught.value)
    assert "daemon's machine" in caught.value.remedy
    with pytest.raises(InvalidArgument):
        client.temp_mount([]).__enter__()
    with pytest.raises(FailedPrecondition):
        client.temp_mount([Mount("nothing", "x")]).__enter__()
    if daemon.version_info >= (2, 2):  # the daemon mounts, and this process cannot
        with pytest.raises(NotFound):
            client.temp_mount(layered(folders, made=False)).__enter__()
    given = [[bind(folders[0])]]
    given += [layered(folders)] if daemon.version_info >= (2, 2) else []
    for mounts in given:
        with client.lease():
            with pytest.raises(ZeroDivisionError), client.temp_mount(mounts):
                raise ZeroDivisionError
            assert left() == []


def test_a_busy_mount_is_detached(client: Client, folders: tuple[Path, Path]) -> None:
    with client.temp_mount([bind(folders[0])]) as path:
        file = (path / "a").open()
    with file:
        assert left() == []
        assert file.read() == "a"


def test_targets(client: Client, folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "sub/deep").mkdir(parents=True)
    (folders[0] / "link").symlink_to(tmp_path)
    mounts = [bind(folders[0]), bind(folders[1], target="/sub//./deep")]
    for read_only in (False, True):
        with client.temp_mount(mounts, read_only=read_only) as path:
            assert os.listdir(path / "sub/deep") == ["b"]
            if read_only:
                assert refuses_writes(path / "sub/deep")
    for target in ("..", "sub/../..", "link", "link/x", "sub/none", "a", "\0"):
        with pytest.raises((InvalidArgument, NotFound)):
            client.temp_mount([bind(folders[0]), bind(folders[1], target=target)]).__enter__()
        assert left() == []


def test_what_is_mounted_below_the_source_stays(
    client: Client, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """A mount of a shared mount is its peer: what is unmounted below one goes below both."""
    (folders[0] / "disk").mkdir()
    with kernel.small_disk(folders[0], 1 << 20):
        subprocess.run(["mount", "--make-shared", folders[0]], check=True)
        (folders[0] / "disk").mkdir()
        with kernel.small_disk(folders[0] / "disk", 1 << 20):
            (folders[0] / "disk/x").touch()
            with client.temp_mount([bind(folders[0])]) as path:
                assert os.listdir(path / "disk") == ["x"]
            assert os.listdir(folders[0] / "disk") == ["x"]


def test_not_root(
    client: Client, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tempfile.mkdtemp(dir="/tmp")
    os.chmod(place, 0o777)
    monkeypatch.setattr(tempfile, "tempdir", place)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionDenied) as caught:
            client.temp_mount([bind("/")]).__enter__()
    finally:
        os.seteuid(0)
        os.rmdir(place)
    assert "as root" in caught.value.remedy


def test_a_restart_in_the_block(own_daemon: Daemon, folders: tuple[Path, Path]) -> None:
    if own_daemon.version_info < (2, 2):
        return
    mounts = [bind(folders[0]), bind("{{ mount 0 }}", type="format/bind")]
    with (
        Client(own_daemon.address, namespace=own_daemon.namespace) as client,
        client.temp_mount(mounts) as path,
    ):
        own_daemon.restart()
        assert os.listdir(path) == ["a"]


IN_ANOTHER_NAMESPACE = """
import sys
from containerd_lite import Client
from containerd_lite.errors import FailedPrecondition
from containerd_lite.services._types import Mount
from tests.harness import kernel
kernel.own_run()
address, namespace, source = sys.argv[1:]
with Client(address, namespace=namespace) as client:
    one = Mount("bind", source, options=("rbind",))
    with client.temp_mount([one]) as path:
        print(*[file.name for file in path.iterdir()])
    try:
        client.temp_mount([one, Mount("format/bind", "{{ mount 0 }}", "", ("rbind",))]).__enter__()
    except FailedPrecondition as error:
        print(error.remedy)
"""


def test_another_mount_namespace(
    daemon: Daemon, namespace: str, folders: tuple[Path, Path]
) -> None:
    """There the daemon's mount is an empty folder."""
    if daemon.version_info < (2, 2):
        return
    argv = [sys.executable, "-c", IN_ANOTHER_NAMESPACE, daemon.address, namespace, str(folders[0])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(ROOT)])}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=50)
    first, second = done.stdout.splitlines() or [done.stderr, ""]
    assert first == "a"
    assert "nsenter" in second


@pytest.mark.parametrize("part", ["services/kernel_mounts", "services/temporary_mounts"])
def test_an_interrupt_anywhere_leaves_nothing(
    daemon: Daemon, client: Client, folders: tuple[Path, Path], count: Count, part: str
) -> None:
    is_daemons = daemon.version_info >= (2, 2)
    mounts = layered(folders) if is_daemons else [bind(folders[0])]
    hits = 0
    for at in range(0, 10_000, count(3, 1)):
        with suppress(Interrupt), Tracer(part, at) as tracer, client.temp_mount(mounts):
            pass
        assert left() == []
        assert not is_daemons or [*client.mount_service.list()] == []
        if not tracer.hit:
            break
        hits += 1
    assert hits > 2

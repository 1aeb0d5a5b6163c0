"""Who does it: this process, the daemon's transfer service, or that where it can."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client, ContainerdError, Layout, ProgressEvent
from containerd_lite.errors import (
    FailedPrecondition,
    InvalidArgument,
    NoMatchingPlatform,
    NotFound,
    Unimplemented,
)
from containerd_lite.images.via import Via
from containerd_lite.services.lifetimes import expires
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.generations,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left"),
]


@pytest.fixture
def sees_transfers(monkeypatch: pytest.MonkeyPatch, client: Client) -> list[str]:
    """Names of the transfers that the client had the daemon do."""
    from containerd_lite.images.daemon.by_daemon import DaemonTransfers

    seen: list[str] = []
    for name in ("pull", "push", "import_stream", "export_stream"):
        whole = getattr(DaemonTransfers, name)

        def see(self: object, *args: Any, _name: str = name, _whole: Any = whole, **kw: Any) -> Any:
            seen.append(_name)
            return _whole(self, *args, **kw)

        monkeypatch.setattr(DaemonTransfers, name, see)
    return seen


def has_transfer(daemon: Daemon) -> bool:
    return daemon.version_info >= (1, 7)


def test_all_by_the_daemon(
    daemon: Daemon, namespace: str, client: Client, busybox: str, registry: Registry, tmp_path: Path
) -> None:
    if daemon.version_info < (2,):  # 1.7 has it, for registries that speak TLS alone
        with pytest.raises(Unimplemented, match=r"1\.7|TLS"):
            client.pull(busybox, via="daemon")
        return
    events: list[ProgressEvent] = []
    image = client.pull(busybox, via="daemon", labels={"team": "a"}, progress=events.append)
    assert image == client.get_image(busybox)
    assert image.is_unpacked()
    assert image.labels == {"team": "a"}
    assert client.check(busybox).is_complete
    assert events[-1].stage == "done"
    target = f"{registry.host}/by-daemon:1"
    assert client.push(target, image, via="daemon") == image.target
    client.export_images(tmp_path / "archive.tar", image, via="daemon")
    image.delete(sync=True)
    assert list(client.content_store.walk()) == []
    (again,) = client.import_images(tmp_path / "archive.tar", via="daemon", unpack=True)
    assert (again.name, again.target.digest) == (busybox, image.target.digest)
    assert again.is_unpacked()


def test_the_daemon_does_what_it_can(
    daemon: Daemon, client: Client, busybox: str, sees_transfers: list[str]
) -> None:
    expected = ["pull"] if has_transfer(daemon) else []
    assert client.pull(busybox, via="auto").is_unpacked()
    assert sees_transfers == expected
    client.pull(busybox, via="auto", handlers=[lambda descriptor: ()], resume=True)
    client.pull(busybox, via="client")
    assert sees_transfers == expected


def test_the_daemon_fetches_the_same_metadata(
    daemon: Daemon, client: Client, registry: Registry
) -> None:
    platforms = ("linux/amd64", "linux/arm64", "linux/s390x")
    index = images.index_of(
        {
            name: images.random_image([700 + number], seed=95, platform=name)
            for number, name in enumerate(platforms)
        }
    )
    ref = images.push(index, registry.host, "metadata", "latest")
    found = []
    for via in ("client", "daemon") if daemon.version_info >= (2,) else ("client",):
        image = client.pull(ref, platform="linux/arm64", all_metadata=True, unpack=False, via=via)
        found.append({info.digest for info in client.content_store.walk()})
        image.delete(sync=True)
    assert found[0] == found[-1]
    assert len(found[0]) == 1 + 2 * len(platforms) + 1


def test_a_push_of_a_part_by_the_daemon(daemon: Daemon, client: Client, registry: Registry) -> None:
    """The error says which platforms are missing, as that of a push by the client does."""
    if daemon.version_info < (2,):
        pytest.skip("1.7 pushes only to registries that speak TLS")
    index = images.index_of(
        {
            name: images.random_image([700 + number], seed=97, platform=name)
            for number, name in enumerate(("linux/amd64", "linux/arm64", "linux/s390x"))
        }
    )
    source = images.push(index, registry.host, "part", "latest")
    image = client.pull(source, platform=["linux/amd64", "linux/s390x"], unpack=False)
    target = f"{registry.host}/part-by-daemon:1"
    errors = {}
    for via in ("client", "daemon"):
        with pytest.raises(NotFound, match="the content of linux/arm64") as caught:
            client.push(target, image, via=via)
        errors[via] = caught.value
    assert errors["daemon"].message == errors["client"].message
    assert errors["daemon"].remedy.startswith(errors["client"].remedy)
    assert 'via="client"' in errors["daemon"].remedy


def failing(stage: str, after: float = 0.0) -> Callable[[ProgressEvent], None]:
    """A progress function that fails at a stage, some seconds late."""

    def tell(event: ProgressEvent) -> None:
        if event.stage == stage:
            time.sleep(after)
            raise ValueError("enough")

    return tell


def test_platforms_that_the_daemon_skips_are_unpacked_all_the_same(
    daemon: Daemon, client: Client, registry: Registry, tmp_path: Path
) -> None:
    """Since 2.3, it unpacks only for its own operating system, and says so in its log."""
    if daemon.version_info < (2,):
        pytest.skip("the daemon pulls only from registries that speak TLS")
    platforms = ["linux/s390x", "windows/amd64"]
    parts = {
        name: images.random_image([1000 + n], seed=60 + n, platform=name)
        for n, name in enumerate(platforms)
    }
    ref = images.push(images.index_of(parts), registry.host, "skipped", "1")
    image = client.pull(ref, via="daemon", platform=platforms)
    archive = tmp_path / "archive.tar"
    client.export_images(archive, image, platform=platforms)
    for _ in range(2):
        report = client.check(ref, platform=platforms)
        assert [each.is_unpacked for each in report.platforms] == [True, True]
        client.get_image(ref).delete(sync=True)
        client.import_images(archive, via="daemon", platform=platforms, unpack=True)
    client.get_image(ref).delete(sync=True)


@pytest.mark.parametrize("chosen", ["by the client", "by the namespace"])
def test_the_daemon_unpacks_where_the_client_looks(
    daemon: Daemon, busybox: str, sees_transfers: list[str], tmp_path: Path, chosen: str
) -> None:
    """Or, as here, it does not, because it is not configured to."""
    if daemon.version_info < (2,):
        pytest.skip("the daemon pulls only from registries that speak TLS")
    snapshotter = "native" if chosen == "by the client" else None
    with Client(
        daemon.address, namespace=daemon.new_namespace(), snapshotter=snapshotter
    ) as client:
        if snapshotter is None:
            labels = {"containerd.io/defaults/snapshotter": "native"}
            client.namespace_service.create(client.namespace, labels)
        with pytest.raises(Unimplemented, match="unpack=False"):
            client.pull(busybox, via="daemon")
        assert client.list_images() == []
        image = client.pull(busybox, via="auto")
        assert image.is_unpacked()
        assert image.is_unpacked("native")
        assert sees_transfers == ["pull", "pull"]
        client.export_images(tmp_path / "archive.tar", image)
        image.delete(sync=True)
        (again,) = client.import_images(tmp_path / "archive.tar", via="auto", unpack=True)
        assert again.is_unpacked("native")
        again.delete(sync=True)


@pytest.mark.parametrize("via", ["client", "daemon"])
def test_a_pull_makes_a_temporary_name_last(
    daemon: Daemon, client: Client, busybox: str, via: Via
) -> None:
    if via == "daemon" and daemon.version_info < (2,):
        pytest.skip("the daemon pulls only from registries that speak TLS")
    image = client.pull(busybox, unpack=False)
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    client.image_service.update(busybox, image.target, expires(tomorrow))
    assert client.pull(busybox, via=via, unpack=False).labels == {}


@pytest.mark.parametrize(
    ("stage", "after"), [("resolving", 0), ("downloaded", 0), ("waiting", 0.5), ("done", 0)]
)
def test_a_pull_that_fails_changes_no_name(
    daemon: Daemon, client: Client, busybox: str, registry: Registry, stage: str, after: float
) -> None:
    """Though the daemon names the image before the pull has ended."""
    if daemon.version_info < (2,):
        pytest.skip("the daemon pulls only from registries that speak TLS")
    with pytest.raises(ValueError, match="enough"):
        client.pull(busybox, via="daemon", progress=failing(stage, after))
    assert client.list_images() == []
    earlier = client.tag(client.pull(busybox), f"{registry.host}/moved:1")
    other = images.push(images.random_image([300_000], seed=9), registry.host, "moved", "1")
    with pytest.raises(ValueError, match="enough"):
        client.pull(other, via="daemon", progress=failing(stage, after), unpack=False)
    assert client.get_image(other).target == earlier.target


def test_an_import_that_fails_changes_no_name(
    daemon: Daemon, client: Client, busybox: str, tmp_path: Path
) -> None:
    if not has_transfer(daemon):
        pytest.skip("containerd imports by itself since 1.7")
    image = client.pull(busybox)
    client.export_images(tmp_path / "archive.tar", image)
    image.delete(sync=True)
    with pytest.raises(ValueError, match="enough"):
        client.import_images(tmp_path / "archive.tar", via="daemon", progress=failing("done"))
    assert client.list_images() == []


def test_what_it_cannot_is_told(client: Client, busybox: str) -> None:
    with pytest.raises(InvalidArgument, match="does not support handlers, resume"):
        client.pull(busybox, via="daemon", handlers=[lambda descriptor: ()], resume=True)
    with pytest.raises(InvalidArgument, match="'server'"):
        client.pull(busybox, via="server")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="does not support sparse"):
        client.push(busybox, via="daemon", sparse=True)


def test_an_image_for_others_is_refused(daemon: Daemon, client: Client, registry: Registry) -> None:
    other = images.random_image([100], seed=7, platform="linux/s390x")
    ref = images.push(other, registry.host, "of-others", "latest")
    with pytest.raises((NoMatchingPlatform, ContainerdError)):
        client.pull(ref, via="daemon", unpack=False)
    with pytest.raises(NoMatchingPlatform):
        client.pull(ref, via="auto", unpack=False)
    assert client.list_images() == []


def test_a_layout_has_no_daemon(tmp_path: Path, busybox: str) -> None:
    with pytest.raises(FailedPrecondition, match="no daemon"):
        Layout(tmp_path).pull(busybox, via="daemon")
    assert Layout(tmp_path).pull(busybox, via="auto").name == busybox

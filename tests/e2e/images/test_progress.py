"""The progress of whole operations, on a daemon and in a folder, with cuts and repetitions."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import (
    Client,
    Image,
    Layout,
    ProgressEvent,
    Via,
    log_progress,
    rich_progress,
    tqdm_progress,
)
from containerd_lite.errors import Cancelled, ConnectionLost
from containerd_lite.images.resolver import RegistryResolver
from tests.e2e.registry.relay import DOWN, UP, Relay
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.overall import Told, sizes_of
from tests.harness.registry import Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left"),
]

MOVING = ("downloading", "uploading")
#: Three failures in a row would be too many for a blob of which nothing arrives between them.
CUTS = [1 << 20, 2 << 20]
SEEDS = itertools.count(9100, 2)


class Stored:
    """An index in a registry, of which no daemon has anything yet."""

    def __init__(self, registry: Registry) -> None:
        seed = next(SEEDS)
        self.ours = images.random_image([3_000_000, 4_000_000, 5], seed=seed)
        theirs = images.random_image([2_000_000], seed=seed + 1, platform="linux/s390x")
        index = images.index_of({images.machine_platform(): self.ours, "linux/s390x": theirs})
        self.index = index
        self.ref = images.push(index, registry.host, f"progress{seed}", "1")
        self.whole = sizes_of(index)
        #: What a pull for this machine brings.
        self.own = [*sizes_of(self.ours), len(index.blobs[index.digest])]


@pytest.fixture
def relay(registry: Registry) -> Iterator[Callable[..., Relay]]:
    with ExitStack() as stack:
        yield lambda way, *after: stack.enter_context(Relay(registry.host, way, after))


@pytest.fixture
def stored(registry: Registry) -> Stored:
    return Stored(registry)


@pytest.fixture(params=["daemon", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client | Layout]:
    if request.param == "daemon":
        yield request.getfixturevalue("client")
        return
    with Layout(tmp_path / "layout") as layout:
        yield layout


def test_pulls(place: Client | Layout, stored: Stored, relay: Callable[..., Relay]) -> None:
    cut = relay(DOWN, *CUTS)
    told = Told()
    name = f"{cut.host}/{stored.ref.partition('/')[2]}"
    place.pull(name, progress=told)
    assert cut.cuts == len(CUTS)
    assert "retrying" in {event.stage for event in told.events}
    told.check_end(*stored.own)
    assert told.known_at < sum(stored.own) / 2
    again = Told()
    place.pull(name, progress=again)
    again.check_end(*stored.own)
    assert "downloading" not in {event.stage for event in again.events}
    more = Told()
    place.pull(
        name, all_platforms=True, unpack=False, progress=more
    )  # the other platform comes, too
    more.check_end(*stored.whole)


def test_a_mirror_that_goes_away(registry: Registry, stored: Stored, tmp_path: Path) -> None:
    told = Told()
    with Registry() as mirror, Layout(tmp_path / "layout") as layout:
        images.push(stored.index, mirror.host, stored.ref.split("/")[1].partition(":")[0], "1")
        folder = tmp_path / "certs.d" / registry.host
        folder.mkdir(parents=True)
        (folder / "hosts.toml").write_text(f'[host."{mirror.url}"]\ncapabilities = ["pull"]\n')

        stopped: list[ProgressEvent] = []

        def watch(event: ProgressEvent) -> None:
            told(event)
            if not stopped and event.stage == "downloading" and event.overall.done > 1 << 20:
                mirror.stop()
                stopped.append(event)

        with RegistryResolver(hosts_dirs=[tmp_path / "certs.d"]) as resolver:
            layout.pull(stored.ref, resolver=resolver, progress=watch)
        assert stopped
    told.check_end(*stored.own)


@pytest.mark.generations
@pytest.mark.turns(2)
def test_operations_by_the_daemon(
    daemon: Daemon, client: Client, stored: Stored, registry: Registry, tmp_path: Path
) -> None:
    if daemon.version_info < (2,):
        pytest.skip("1.7 pulls from registries that speak TLS alone")
    told, again = Told(), Told()
    for each in (told, again):
        client.pull(stored.ref, via="daemon", progress=each)
        each.check_end(*stored.own)
    assert "exists" in {event.stage for event in again.events}
    pushed, exported, imported = Told(), Told(), Told()
    name, archive = f"{registry.host}/by-the-daemon:1", tmp_path / "archive.tar"
    client.tag(stored.ref, name)
    client.fetch_missing(stored.ref, all_platforms=True)
    client.push(name, name, via="daemon", progress=pushed)
    client.export_images(archive, name, via="daemon", progress=exported)
    client.import_images(archive, via="daemon", progress=imported)
    for last in (each.events[-1] for each in (pushed, exported, imported)):
        assert (last.stage, last.overall.done) == ("done", last.overall.total)


def imported(place: Client | Layout, stored: Stored, folder: Path) -> Image:
    """An image that does not say where it comes from, so that no registry can mount its blobs."""
    given = images.write_layout(stored.index, folder / "given", stored.ref)
    (image,) = place.import_images(given, all_platforms=True)
    return image


def test_pushes_and_copies(
    place: Client | Layout,
    registry: Registry,
    stored: Stored,
    relay: Callable[..., Relay],
    tmp_path: Path,
) -> None:
    image = imported(place, stored, tmp_path)
    cut, told = relay(UP, *CUTS), Told()
    place.push(f"{cut.host}/pushed:1", image, progress=told)
    assert cut.cuts == len(CUTS)
    told.check_end(*stored.whole)
    there = Told()
    place.push(f"{registry.host}/pushed:1", image, progress=there)
    there.check_end(*stored.whole)
    copied = Told()
    place.copy(stored.ref, f"{relay(UP, 1 << 20).host}/copied:1", progress=copied)
    copied.check_end(*stored.whole)


def test_archives_and_upkeep(place: Client | Layout, stored: Stored, tmp_path: Path) -> None:
    name = place.pull(stored.ref).name
    exported, archive = Told(), tmp_path / "archive.tar"
    place.export_images(archive, name, progress=exported)
    exported.check_end(*stored.own)
    sources: dict[str, Any] = {"file": archive, "stream": io.BytesIO(archive.read_bytes())}
    for kind, source in sources.items():
        told = Told()
        place.import_images(source, progress=told)
        assert told.events[-1].overall.total == sum(stored.own)
        if kind == "file":
            told.check_end(*stored.own)
            assert told.is_known_at_once
    for check in (place.verify, place.repair):
        verified = Told()
        check(name, progress=verified)
        verified.check_end(*stored.own)
        assert verified.known_at < sum(stored.own) / 2
    gone = stored.ours.layers[1]["digest"]
    for act in (place.fetch_missing, place.repair):
        place.content_store.delete(gone)
        fetched = Told()
        act(name, progress=fetched)
        fetched.check_end(*stored.own)
        assert [e.name for e in fetched.events if e.stage == "downloaded"] == [gone]


@pytest.mark.generations
@pytest.mark.turns(2)
def test_ready_callbacks(
    daemon: Daemon,
    client: Client,
    stored: Stored,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("rich", reason="rich is not installed")
    package = pytest.importorskip("tqdm", reason="tqdm is not installed")
    monkeypatch.setattr(package.tqdm, "monitor_interval", 0)  # a thread that never ends
    from rich.console import Console

    caplog.set_level("INFO", "containerd_lite.progress")
    ways: list[Via] = ["client"] if daemon.version_info < (2,) else ["client", "daemon"]
    size = f"{sum(stored.own) / (1 << 20):.1f}"
    for via in ways:
        bars, bar = io.StringIO(), io.StringIO()
        with (
            rich_progress(Console(file=bars, force_terminal=True, width=120)) as rich,
            tqdm_progress(bar) as tqdm,
            log_progress() as log,
        ):
            client.pull(
                stored.ref, via=via, progress=lambda event: [rich(event), tqdm(event), log(event)]
            )
        rows = bars.getvalue().rpartition(stored.ref)[2]
        assert f"{size}/{size} MiB" in rows.partition("\n")[0]
        assert all(digest[:19] in rows for digest in stored.ours.blobs)
        assert bar.getvalue().rpartition("\r")[2].startswith(f"{stored.ref}: 100%|")
        assert caplog.messages[-1].startswith(f"{size} MiB of {size} MiB")


class Enough(Exception):
    """Raised by a callback that has seen enough."""


@pytest.mark.parametrize("error", [Enough, Cancelled])
def test_a_callback_that_raises_cancels(
    error: type[BaseException],
    place: Client | Layout,
    registry: Registry,
    stored: Stored,
    tmp_path: Path,
) -> None:
    raised: list[BaseException] = []

    def stop(event: ProgressEvent) -> None:
        if not raised and event.stage in MOVING and event.overall.done > 1 << 20:
            raised.append(error("enough"))
            raise raised[0]  # once only: what is tried again would succeed

    with pytest.raises(error) as caught:
        place.pull(stored.ref, progress=stop)
    assert caught.value is raised.pop()
    assert place.list_images() == []
    if isinstance(place, Client):  # a folder keeps the blobs that have come whole
        assert list(place.content_store.walk()) == []
    assert list(place.content_store.statuses()) == []
    image = imported(place, stored, tmp_path)
    with pytest.raises(error) as caught:
        place.push(f"{registry.host}/cancelled:1", image, progress=stop)
    assert caught.value is raised.pop()
    assert place.push(f"{registry.host}/cancelled:1", image).digest


def test_what_a_callback_raises_is_no_loss_of_the_daemon(client: Client, stored: Stored) -> None:
    raised: list[BaseException] = []

    def stop(event: ProgressEvent) -> None:
        if not raised and event.stage == "downloading":
            raised.append(ConnectionLost("of a daemon that the callback called"))
            raise raised[0]

    with pytest.raises(ConnectionLost) as caught:
        client.pull(stored.ref, progress=stop)
    assert caught.value is raised[0]

"""Layers that the EROFS snapshotter has in its cache, which are neither fetched nor applied.

The cache came with 2.4. containerd's own client fetches all layers above the first that is missing
there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.oci.config import chain_ids
from tests.e2e.recorder import Recorder
from tests.e2e.registry.rounds import asked
from tests.harness import Unavailable, erofs, images
from tests.harness.daemon import Daemon
from tests.harness.generations import NEWEST
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry]

CACHED = "io.containerd.erofs.v1/blob.ref"
UNCOMPRESSED = "containerd.io/uncompressed"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def caching(cache: Path) -> Iterator[Daemon]:
    """A daemon whose EROFS snapshotter looks into the cache."""
    try:
        with erofs.daemon(NEWEST, f'layer_content_caches = ["{cache}"]') as daemon:
            yield daemon
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def channel(caching: Daemon) -> Iterator[Recorder]:
    channel = Recorder(caching.address)
    with channel:
        yield channel


@pytest.fixture
def client(caching: Daemon, channel: Recorder) -> Client:
    return Client(channel=channel, namespace=caching.new_namespace(), snapshotter=erofs.SNAPSHOTTER)


def build_cache(daemon: Daemon, cache: Path, name: str, layers: list[str]) -> None:
    """Have ``ctr`` convert the image's layers, and put those with these diff IDs into the cache."""
    all_of_it = cache.parent / "all"
    with Client(daemon.address, namespace=daemon.new_namespace()) as client:
        client.pull(name, unpack=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(daemon.folder / "bin"), prepend=":")
            where = client.namespace
            daemon.ctr("images", "build-erofs-cache", name, str(all_of_it), namespace=where)
        client.image_service.delete(name, sync=True)  # or a write would find the content there
    for diff_id in layers:
        algorithm, _, digits = diff_id.partition(":")
        place = Path(algorithm, digits[:2], f"{digits}.erofs")
        (cache / place).parent.mkdir(parents=True, exist_ok=True)
        (all_of_it / place).rename(cache / place)


@contextmanager
def mounted(daemon: Daemon, namespace: str, name: str, target: Path) -> Iterator[Path]:
    """Have ``ctr`` mount the image, with the help of the daemon."""
    options = ("--snapshotter", erofs.SNAPSHOTTER)
    daemon.ctr("images", "mount", *options, name, str(target), namespace=namespace)
    try:
        yield target
    finally:
        daemon.ctr("images", "unmount", "--rm", *options, str(target), namespace=namespace)


@pytest.mark.parametrize("cached", [[0, 1, 2, 3, 4], [0, 2, 4], [1, 3], [4], []])
def test_only_the_layers_that_are_not_cached_are_fetched_and_applied(
    caching: Daemon,
    cache: Path,
    client: Client,
    channel: Recorder,
    registry: Registry,
    tmp_path: Path,
    cached: list[int],
) -> None:
    said = [f"{cached} {n}".encode() for n in range(5)]
    # From a compressed layer, ctr makes an archive that no lease holds: it may be collected.
    files = [{"all": text, str(n): text} for n, text in enumerate(said)]
    image = images.build([images.layer(each, "none") for each in files])
    name = images.push(image, registry.host, f"cached-{len(cached)}", "1")
    diff_ids, layers = image.config["rootfs"]["diff_ids"], [one["digest"] for one in image.layers]
    build_cache(caching, cache, name, [diff_ids[place] for place in cached])
    missing = [place for place in range(5) if place not in cached]
    begin = len(asked(registry))

    def fetched() -> list[int]:
        lines = [line for line, _ in asked(registry)[begin:] if line.startswith("GET ")]
        return [n for n, digest in enumerate(layers) if any(digest in line for line in lines)]

    pulled = client.pull(name)
    assert fetched() == missing
    assert channel.called.count("Diff/Apply") == len(missing)
    assert pulled.is_lazy is bool(cached)
    assert pulled.is_unpacked()
    snapshots = client.snapshot_service()
    found = [snapshots.stat(chain_id) for chain_id in chain_ids(diff_ids)]
    assert [n for n, info in enumerate(found) if CACHED in info.labels] == cached
    labelled = {info.digest for info in client.content_store.walk() if UNCOMPRESSED in info.labels}
    assert labelled == {layers[place] for place in missing}
    with mounted(caching, client.namespace, name, tmp_path) as root:
        assert {path.name: path.read_bytes() for path in root.iterdir()} == {
            "all": said[4],
            **{str(n): text for n, text in enumerate(said)},
        }
    channel.called.clear()
    assert client.pull(name).is_lazy is bool(cached)
    assert fetched() == missing
    assert not {"Diff/Apply", "Snapshots/Prepare"} & {*channel.called}
    assert [blob.digest for blob in client.check(name).missing] == [layers[n] for n in cached]
    client.image_service.delete(name, sync=True)

"""Registries that serve what no image may be: a typed error, and nothing half-made left.

Each case on a folder and on a real daemon, by a resolver that serves any bytes.
"""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client, ContainerdError, Layout
from containerd_lite.errors import (
    DigestMismatch,
    InvalidArgument,
    NotFound,
    RegistryUnavailable,
    SizeMismatch,
)
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.manifest import MAX_DEPTH
from tests.conftest import ROOT
from tests.e2e.client.test_pull import content_labels
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.images import Image, Json
from tests.unit.images.own import OwnResolver

GOOD = images.random_image([40_000, 50_000], seed=90)


class Endless(OwnResolver):
    """Makes up, for every index, another one below it."""

    def __init__(self, width: int = 1) -> None:
        self.asked: list[tuple[str, int]] = []
        self.made: dict[str, bytes] = {}
        self.width = width
        super().__init__(Image(self._make("x" * MAX_DEPTH * 3), {}))

    def _make(self, name: str) -> Json:
        """An index; made from the deepest up, for digests cannot be known before their content."""
        entries: list[Json] = [self._make(name[1:])] if len(name) > 1 else [GOOD.manifest]
        blob = images.encode(
            {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": entries}
        )
        self.made[images.digest_of(blob)] = blob
        return images.descriptor(images.OCI_INDEX, blob)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Any:
        self.image = Image(self.image.manifest, {**GOOD.blobs, **self.made})
        return super().fetch(descriptor, offset)


def with_manifest(change: Callable[[Json], None]) -> Image:
    """The good image, with another manifest."""
    manifest = json.loads(GOOD.blobs[GOOD.digest])
    change(manifest)
    blob = images.encode(manifest)
    return Image(
        images.descriptor(images.OCI_MANIFEST, blob),
        {**GOOD.blobs, images.digest_of(blob): blob},
    )


def with_blob(place: int, change: Callable[[bytes], bytes]) -> Image:
    """The good image, one of whose layers has other bytes."""
    digest = GOOD.layers[place]["digest"]
    return Image(GOOD.manifest, {**GOOD.blobs, digest: change(GOOD.blobs[digest])})


def _layer(**changes: object) -> Callable[[Json], None]:
    def change(manifest: Json) -> None:
        manifest["layers"][0].update(changes)

    return change


def _many_layers(manifest: Json) -> None:
    manifest["layers"] = manifest["layers"] * 500_000


def _layers_and_manifests(manifest: Json) -> None:
    manifest["manifests"] = []


def _no_config(manifest: Json) -> None:
    del manifest["config"]


_CASES: Mapping[str, tuple[Callable[[], OwnResolver], type[ContainerdError]]] = {
    "a flipped byte": (
        lambda: OwnResolver(with_blob(0, lambda body: body[:-1] + bytes([body[-1] ^ 1]))),
        DigestMismatch,
    ),
    "a truncated layer": (lambda: OwnResolver(with_blob(1, lambda b: b[:-1])), SizeMismatch),
    "an empty layer": (lambda: OwnResolver(with_blob(0, lambda b: b"")), SizeMismatch),
    "a longer layer": (lambda: OwnResolver(with_blob(0, lambda b: b + b"!")), SizeMismatch),
    "a size too small": (lambda: OwnResolver(with_manifest(_layer(size=10))), SizeMismatch),
    "a size too large": (lambda: OwnResolver(with_manifest(_layer(size=10**6))), SizeMismatch),
    "a size no disk has": (
        lambda: OwnResolver(with_manifest(_layer(size=(1 << 63) - 1))), SizeMismatch
    ),
    "a negative size": (lambda: OwnResolver(with_manifest(_layer(size=-1))), InvalidArgument),
    "a size beyond Go": (lambda: OwnResolver(with_manifest(_layer(size=1 << 63))), InvalidArgument),
    "an unknown algorithm": (
        lambda: OwnResolver(with_manifest(_layer(digest="md5:" + "0" * 32))), InvalidArgument
    ),
    "CVE-2024-3727 a path for a digest": (
        lambda: OwnResolver(with_manifest(_layer(digest="sha256:../../../canary"))),
        InvalidArgument,
    ),
    "a media type with a newline": (
        lambda: OwnResolver(with_manifest(_layer(mediaType="a/b\nc"))), InvalidArgument
    ),
    "CVE-2021-41190 layers and manifests": (
        lambda: OwnResolver(with_manifest(_layers_and_manifests)), InvalidArgument
    ),
    "no config": (lambda: OwnResolver(with_manifest(_no_config)), InvalidArgument),
    "a million layers": (lambda: OwnResolver(with_manifest(_many_layers)), SizeMismatch),
    "indexes without end": (Endless, InvalidArgument),
}  # fmt: skip


@pytest.mark.parametrize("case", _CASES)
def test_into_a_folder(tmp_path: Path, case: str) -> None:
    resolver, kind = _CASES[case]
    canary = tmp_path / "canary"
    canary.write_text("untouched")
    layout = Layout(tmp_path / "inner" / "layout")
    with pytest.raises(kind):
        layout.pull("Own Name!", resolver=resolver(), all_platforms=True)
    assert canary.read_text() == "untouched"
    assert layout.list_images() == []
    assert layout.content_store.statuses() == []
    assert {path.name for path in tmp_path.rglob("*")} <= {
        "canary", "inner", "layout", "oci-layout", "index.json", "blobs", "sha256",
        *(info.digest[7:] for info in layout.content_store.walk()),
    }  # fmt: skip
    for info in layout.content_store.walk():
        with layout.content_store.reader(info.digest) as file:
            assert images.digest_of(file.read()) == info.digest


@pytest.mark.daemon
@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("case", _CASES)
def test_into_a_daemon(daemon: Daemon, namespace: str, client: Client, case: str) -> None:
    resolver, kind = _CASES[case]
    with pytest.raises(kind):
        client.pull("Own Name!", resolver=resolver(), all_platforms=True)
    assert client.list_images() == []
    assert content_labels(daemon, namespace) == {}


def test_the_same_content_again_and_again_is_fetched_once(tmp_path: Path) -> None:
    """An index may name one manifest as often as it fits in: it is walked once."""
    entries = [GOOD.manifest] * 10_000
    blob = images.encode({"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": entries})
    index = Image(
        images.descriptor(images.OCI_INDEX, blob), {**GOOD.blobs, images.digest_of(blob): blob}
    )
    resolver = OwnResolver(index)
    Layout(tmp_path).pull("Own Name!", resolver=resolver, all_platforms=True)
    assert len(resolver.asked) == len(index.blobs)


# ---- what may happen to the best of images -----------------------------------------------------


@pytest.mark.daemon
def test_the_registry_goes_half_way(daemon: Daemon, namespace: str, client: Client) -> None:
    image = images.random_image([2_500_000, 3_500_000], seed=91)
    resolver = OwnResolver(image, cuts=[10**9] * 2 + [0] * 9)
    with pytest.raises(RegistryUnavailable):
        client.pull("Own Name!", resolver=resolver)
    assert client.list_images() == []
    assert content_labels(daemon, namespace) == {}


def test_a_layer_that_the_registry_lost(tmp_path: Path) -> None:
    class Lost(OwnResolver):
        def fetch(self, descriptor: Descriptor, offset: int = 0) -> Any:
            if descriptor.digest == GOOD.layers[1]["digest"]:
                raise NotFound(f"no {descriptor.digest}")
            return super().fetch(descriptor, offset)

    layout = Layout(tmp_path)
    with pytest.raises(NotFound, match=GOOD.layers[1]["digest"]):
        layout.pull("Own Name!", resolver=Lost(GOOD))
    assert layout.list_images() == []


FULL = """
import resource, sys
from containerd_lite import Layout
from containerd_lite.errors import ResourceExhausted
from tests.unit.images.own import OwnResolver
from tests.harness import images

resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
layout = Layout(sys.argv[1])
try:
    layout.pull("Own Name!", resolver=OwnResolver(images.random_image([100, 3_000_000])))
except ResourceExhausted as error:
    print(error.__cause__.errno)
print(layout.content_store.statuses(), layout.list_images())
"""


def test_a_folder_that_is_full(tmp_path: Path) -> None:

    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""
    assert done.stdout.decode() == f"{errno.EFBIG}\n[] []\n"


@pytest.fixture
def small_daemon(daemon: Daemon, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of the same generation, with little room for content."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], check=True)
    try:
        with Daemon(daemon.generation) as own:
            own.stop()
            content = own.root / "io.containerd.content.v1.content"
            content.mkdir(exist_ok=True)
            subprocess.run(["mount", "--bind", str(place), str(content)], check=True)
            try:
                own.start()
                yield own
                own.stop()
            finally:
                subprocess.run(["umount", str(content)], check=True)
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.daemon
@pytest.mark.generations
def test_a_disk_that_is_full(small_daemon: Daemon) -> None:
    image = images.random_image([3_000_000, 20_000_000, 3_000_000], seed=92)
    namespace = small_daemon.new_namespace()
    with Client(small_daemon.address, namespace=namespace) as client:
        with pytest.raises(ContainerdError, match="no space left"):
            client.pull("Own Name!", resolver=OwnResolver(image))
        assert client.list_images() == []
        assert client.content_store.statuses() == []
        assert list(client.content_store.walk()) == []
        left = [one for one in small_daemon.leftovers(namespace) if not one.startswith("mount r/")]
        assert left == []
        small = images.random_image([2_000_000], seed=93)
        assert client.pull("Own Name!", resolver=OwnResolver(small), unpack=False)

"""Archives and folders whose names, annotations and lists are meant to mislead or to overload."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from containerd_lite import Client, Layout
from containerd_lite.errors import (
    ContainerdError,
    DigestMismatch,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from containerd_lite.oci.descriptor import Descriptor
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.unit.images import archives

OURS = images.random_image([1000], docker=True, compression="none")
OTHER = images.random_image([1001], docker=True, compression="none")
NAME = "docker.io/library/app:1"
AT_OURS = f"docker.io/library/busybox@{OURS.digest}"
MIB = 1 << 20


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture(params=["layout", "daemon"])
def store(request: pytest.FixtureRequest, layout: Layout) -> Client | Layout:
    found = layout if request.param == "layout" else request.getfixturevalue("client")
    assert isinstance(found, Client | Layout)
    return found


def of_index(*entries: archives.Json) -> io.BytesIO:
    return io.BytesIO(archives.oci(entries, OURS, OTHER))


def annotated(image: images.Image, name: str, **annotations: str) -> archives.Json:
    entry = archives.named(image, name)
    return {**entry, "annotations": {**entry["annotations"], **annotations}}


def names_of(store: Client | Layout) -> dict[str, str]:
    return {image.name: image.target.digest for image in store.list_images()}


def cpu_of(action: Callable[[], object]) -> float:
    start = time.process_time()
    with pytest.raises(ContainerdError):
        action()
    return time.process_time() - start


# ---- names that hold a digest ----------------------------------------------------------------


@pytest.mark.daemon
@pytest.mark.usefixtures("no_leftovers")
def test_an_archive_lets_a_name_with_a_digest_stand_for_other_content(
    store: Client | Layout,
) -> None:
    with pytest.raises(DigestMismatch, match="holds a digest"):
        store.import_images(of_index(archives.named(OTHER, AT_OURS)))
    assert names_of(store) == {}
    store.import_images(of_index(archives.named(OURS, AT_OURS)))
    assert store.get_image(AT_OURS).target.digest == OURS.digest


@pytest.mark.daemon
@pytest.mark.usefixtures("no_leftovers")
def test_an_archive_lets_a_digest_stand_for_other_content(store: Client | Layout) -> None:
    store.import_images(of_index(archives.named(OTHER, OURS.digest), archives.named(OTHER, NAME)))
    assert names_of(store) == {NAME: OTHER.digest}
    with pytest.raises(NotFound):
        store.get_image(OURS.digest)


@pytest.mark.daemon
@pytest.mark.usefixtures("no_leftovers")
def test_the_daemon_imports_names_that_hold_other_digests(client: Client) -> None:
    if not client.capabilities().transfer:
        pytest.skip("this daemon has no transfer service")
    with pytest.raises(DigestMismatch, match="holds a digest"):
        client.import_images(of_index(archives.named(OTHER, AT_OURS)), via="daemon")
    assert names_of(client) == {}
    entries = [archives.named(OTHER, OURS.digest), archives.named(OTHER, NAME)]
    client.import_images(of_index(*entries), via="daemon")
    assert names_of(client) == {NAME: OTHER.digest}
    entry = annotated(OURS, NAME, padding="x" * 9 * MIB)
    client.import_images(of_index(entry), via="daemon")
    assert "padding" not in client.get_image(NAME).target.annotations


@pytest.mark.daemon
@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("name", [AT_OURS, OURS.digest])
def test_a_tag_lets_a_digest_stand_for_other_content(store: Client | Layout, name: str) -> None:
    store.import_images(of_index(archives.named(OTHER, NAME), archives.named(OURS, f"{NAME}0")))
    with pytest.raises(DigestMismatch, match="holds a digest"):
        store.tag(NAME, name)
    store.tag(f"{NAME}0", name)
    assert store.get_image(name).target.digest == OURS.digest


@pytest.mark.daemon
@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("name", [AT_OURS, OURS.digest])
def test_another_client_lets_a_digest_stand_for_other_content(
    daemon: Daemon, namespace: str, client: Client, name: str
) -> None:
    client.import_images(of_index(archives.named(OTHER, NAME)))
    target = client.get_image(NAME).target
    client.image_service.create(name, target, {})
    for verb in (client.get_image, client.check, lambda name: client.tag(name, "app:2")):
        with pytest.raises(DigestMismatch, match="holds a digest"):
            verb(name)


@pytest.mark.daemon
@pytest.mark.usefixtures("no_leftovers")
def test_the_cri_plugin_names_an_image_after_its_config(client: Client) -> None:
    """Such a name is right, although the target has another digest."""
    client.import_images(of_index(archives.named(OURS, NAME)))
    config = OURS.json()["config"]["digest"]
    client.image_service.create(config, client.get_image(NAME).target, {})
    assert client.get_image(config).target.digest == OURS.digest


@pytest.mark.daemon
@pytest.mark.usefixtures("no_leftovers")
def test_a_failed_import_of_the_daemon_keeps_the_names_of_the_cri_plugin(client: Client) -> None:
    """Their records are written again as they were, although ``put`` would refuse them."""
    if not client.capabilities().transfer:
        pytest.skip("this daemon has no transfer service")
    client.import_images(of_index(archives.named(OURS, NAME)))
    config = OURS.json()["config"]["digest"]
    client.image_service.create(config, client.get_image(NAME).target, {"a": "b"})
    entries = [archives.named(OTHER, config), archives.named(OTHER, AT_OURS)]
    with pytest.raises(DigestMismatch, match="holds a digest"):
        client.import_images(of_index(*entries), via="daemon")
    assert names_of(client) == {NAME: OURS.digest, config: OURS.digest}
    assert client.get_image(config).labels == {"a": "b"}


@pytest.mark.parametrize("name", [AT_OURS, OURS.digest])
def test_a_folder_lets_a_digest_stand_for_other_content(layout: Layout, name: str) -> None:
    layout.import_images(of_index(archives.named(OTHER, NAME)))
    path = layout.path / "index.json"
    path.write_text(path.read_text().replace(NAME, name))
    with pytest.raises(DigestMismatch, match="holds a digest"):
        layout.get_image(name)
    (image,) = layout.list_images()  # so that the name can be deleted
    image.delete()
    assert layout.list_images() == []


def test_a_repository_that_is_called_sha256(layout: Layout) -> None:
    """A digest is never read as the tag of this repository."""
    tag = f"docker.io/library/{OURS.digest}"
    layout.import_images(of_index(archives.named(OTHER, tag)))
    assert names_of(layout) == {tag: OTHER.digest}
    with pytest.raises(NotFound):
        layout.get_image(OURS.digest)


# ---- annotations -----------------------------------------------------------------------------


@pytest.mark.daemon
@pytest.mark.usefixtures("no_leftovers")
def test_annotations_that_make_a_listing_too_large(store: Client | Layout) -> None:
    """A daemon sends all images of a namespace in one message of at most 16 MiB."""
    entries = [annotated(OURS, f"{NAME}{n}", padding="x" * 9 * MIB) for n in range(2)]
    with pytest.raises(InvalidArgument, match="4194304 are allowed"):
        store.import_images(of_index(*entries))
    few = [annotated(OURS, f"{NAME}{n}", padding="x" * MIB, kept="y") for n in range(3)]
    store.import_images(of_index(*few))
    for image in store.list_images():
        assert image.target.annotations == {"kept": "y"}
    many = {f"padding{n}": "x" * 4000 for n in range(20)}
    with pytest.raises(InvalidArgument, match=r"app:many.*65536 allowed"):
        store.import_images(of_index(annotated(OURS, "docker.io/library/app:many", **many)))
    assert len(store.list_images()) == 3


@pytest.mark.daemon
@pytest.mark.usefixtures("no_leftovers")
def test_a_folder_has_such_annotations(client: Client, layout: Layout) -> None:
    layout.import_images(of_index(archives.named(OURS, NAME)))
    path = layout.path / "index.json"
    index = json.loads(path.read_text())
    index["manifests"][0]["annotations"]["padding"] = "x" * 3 * MIB
    path.write_text(json.dumps(index))
    client.import_images(layout.path)
    assert client.get_image(NAME).target.annotations == {}


@pytest.mark.turns(3, "heavy")
def test_an_index_that_could_not_be_read_again(layout: Layout) -> None:
    """One limit holds for reading and for writing."""
    layout.import_images(of_index(archives.named(OURS, NAME)))
    target = layout.get_image(NAME).target
    padding = {f"padding{n}": "x" * 4000 for n in range(15)}
    large = Descriptor(target.media_type, target.digest, target.size, padding)
    told: list[ResourceExhausted] = []
    for number in range(100):
        try:
            layout.tag(large, f"app:{number}")
        except ResourceExhausted as error:
            told.append(error)
    assert "Delete names" in told[0].remedy
    assert 60 < len(layout.list_images()) < 100
    layout.get_image(NAME).delete()


# ---- counts ----------------------------------------------------------------------------------


def with_docker(entries: object, files: dict[str, bytes | str] | None = None) -> io.BytesIO:
    body = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return io.BytesIO(archives.packed({**(files or {}), "manifest.json": body}.items()))


def test_two_thousand_tags(layout: Layout) -> None:
    """The index is written once for all of them."""
    files, saved = archives.docker_files(OURS, *(f"app:{n}" for n in range(2000)))
    start = time.process_time()
    layout.import_images(with_docker([saved], dict(files)))
    assert time.process_time() - start < 2
    path = layout.path / "index.json"
    before = path.stat().st_ino
    layout.import_images(with_docker([saved], dict(files)))
    assert path.stat().st_ino == before  # nothing has changed, so nothing is written
    assert len(layout.list_images()) == 2000


def test_more_names_than_an_index_can_hold(layout: Layout) -> None:
    files, saved = archives.docker_files(OURS, *(f"a:{n}" for n in range(10_001)))
    with pytest.raises(InvalidArgument, match="more than 10000 names"):
        layout.import_images(with_docker([saved], dict(files)))
    assert layout.list_images() == []


@pytest.mark.parametrize(
    ("item", "end"), [(b"[]", b""), (b"{}", b""), (b"1", b""), (b'{"a":[]}', b""), (b"[", b"]")]
)
@pytest.mark.parametrize("name", ["manifest.json", "index.json", "oci-layout"])
def test_documents_of_tiny_values(layout: Layout, name: str, item: bytes, end: bytes) -> None:
    """Four MiB of them, or 4 KB of gzip, would take hundreds of MiB of memory."""
    count = 4 * MIB // (len(item) + 1 + len(end)) - 100
    body = b"[" + b",".join([item] * count) + end * count + b"]"
    body = body if name == "manifest.json" else b'{"a":' + body[: 4 * MIB - 10] + b"}"
    files: list[tuple[str, bytes | str]] = [(name, body)]
    files += [("oci-layout", archives.LAYOUT)] if name == "index.json" else []
    archive = gzip.compress(archives.packed(files), 9)
    assert len(archive) < 32 << 10
    with pytest.raises(InvalidArgument, match=r"too many values"):
        layout.import_images(io.BytesIO(archive))


@pytest.mark.turns(3, "heavy")
@pytest.mark.once
def test_one_config_under_many_names(layout: Layout) -> None:
    """Four hundred images that have two configs of 3 MiB: the archive has a few KB."""
    files, saved = archives.docker_files(OURS, "app:1")
    config = json.loads(files.pop(saved["Config"]))
    config["padding"] = [{"a": 1}] * 250_000
    body = json.dumps(config).encode()
    entries = [
        {**saved, "RepoTags": None, "Config": "./" * n + f"{m}.json"}
        for n in range(200)
        for m in ("a", "b")
    ]
    both: dict[str, bytes | str] = {**files, "a.json": body, "b.json": body[:-1] + b" }"}
    assert cpu_of(lambda: layout.import_images(with_docker(entries, both))) < 4


def test_one_layer_under_many_names(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer's first bytes are read once, however often images list the layer."""
    files, saved = archives.docker_files(OURS, "app:1")
    (place,) = saved["Layers"]
    config = json.loads(files.pop(saved["Config"]))
    config["rootfs"]["diff_ids"] *= 5000
    body = json.dumps(config).encode()
    links: dict[str, bytes | str] = {f"l{n}": f"l{n + 1}" for n in range(38)}
    every = {**files, **links, "l38": place, "a.json": body}
    entries = [{"Config": "a.json", "RepoTags": ["a:1"], "Layers": ["l0"] * 5000}] * 20
    opened = 0
    reader = type(layout.content_store).reader

    def counting(self: object, digest: str) -> object:
        nonlocal opened
        opened += 1
        return reader(self, digest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(layout.content_store), "reader", counting)
    start = time.process_time()
    layout.import_images(with_docker(entries, every))
    assert time.process_time() - start < 4
    assert opened < 50
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert layout.get_image("a:1").manifest().config.digest == digest

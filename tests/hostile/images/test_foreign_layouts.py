"""Folders that somebody else has made: nothing outside of them is read or written."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from containerd_lite import Layout, ProgressEvent
from containerd_lite.errors import ContainerdError, DigestMismatch, InvalidArgument, SizeMismatch
from containerd_lite.images.resolver import Fetcher, Pusher
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.openers import Opener
from containerd_lite.registry.upload import Outcome
from containerd_lite.store.folder import UntrustedFolder
from containerd_lite.store.layout_store import LayoutStore
from tests.harness import images
from tests.harness.special_files import make_socket
from tests.unit.images import archives

IMAGE = images.random_image([40_000, 2_000_000])
OTHER = images.random_image([1000])
NAME = "docker.io/library/app:1"
LAYER = IMAGE.layers[1]["digest"]
SIZE = IMAGE.layers[1]["size"]
#: Another file of the victim, of the very size of the layer.
CANARY = b"canary" * (SIZE // 6) + b"c" * (SIZE % 6)
#: Seconds after which a call counts as hanging.
HANGING = 20.0


class Recorder:
    """A resolver and pusher that records all bytes that it is given."""

    def __init__(self) -> None:
        self.pushed: dict[str, bytes] = {}

    def resolve(self, ref: str) -> tuple[str, Descriptor]:
        raise AssertionError(ref)

    def fetcher(self, ref: str) -> Fetcher:
        raise AssertionError(ref)

    def pusher(self, ref: str) -> Pusher:
        return self

    def push(self, descriptor: Descriptor, open_at: Opener, **options: object) -> Outcome:
        self.pushed[descriptor.digest] = b""
        with open_at(0) as file:
            while piece := file.read(65536):
                self.pushed[descriptor.digest] += piece
        return Outcome.UPLOADED

    def name(self, descriptor: Descriptor, body: bytes, **options: object) -> Outcome:
        self.pushed[descriptor.digest] = body
        return Outcome.UPLOADED


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "canary"
    path.write_bytes(CANARY)
    yield path
    assert path.read_bytes() == CANARY


@pytest.fixture
def folder(tmp_path: Path, canary: Path) -> Path:
    return images.write_layout(IMAGE, tmp_path / "layout", NAME)


def blob(folder: Path, digest: str = LAYER) -> Path:
    return folder / "blobs" / digest.replace(":", "/")


def push(layout: Layout, recorder: Recorder, *events: list[ProgressEvent]) -> None:
    report = events[0].append if events else None
    layout.push("registry.example/app:1", NAME, resolver=recorder, progress=report)


def hashed(events: list[ProgressEvent]) -> set[str]:
    return {event.name for event in events if event.stage == "verifying"}


# ---- push ------------------------------------------------------------------------------------


def test_a_blob_is_a_link_to_a_file_outside(folder: Path, canary: Path) -> None:
    blob(folder).unlink()
    blob(folder).symlink_to(canary)
    recorder = Recorder()
    with pytest.raises(InvalidArgument, match="not a regular file"):
        push(Layout(folder), recorder)
    assert CANARY not in recorder.pushed.values()


def test_a_folder_of_blobs_is_a_link(folder: Path, tmp_path: Path) -> None:
    (folder / "blobs").rename(tmp_path / "blobs")
    (folder / "blobs").symlink_to(tmp_path / "blobs")
    recorder = Recorder()
    with pytest.raises(InvalidArgument, match="behind a link"):
        push(Layout(folder), recorder)
    assert recorder.pushed == {}


def test_a_blob_is_another_file(folder: Path, canary: Path) -> None:
    """A hard link to a file of the victim, which has the right size."""
    blob(folder).unlink()
    os.link(canary, blob(folder))
    recorder = Recorder()
    with pytest.raises(DigestMismatch, match=LAYER):
        push(Layout(folder), recorder)
    assert not recorder.pushed.get(LAYER)
    blob(folder).unlink()


@pytest.mark.parametrize("size", [0, SIZE - 1, SIZE + 1])
def test_a_blob_of_another_size(folder: Path, size: int) -> None:
    blob(folder).write_bytes(CANARY[:size].ljust(size))
    recorder = Recorder()
    with pytest.raises(SizeMismatch, match=LAYER):
        push(Layout(folder), recorder)
    assert not recorder.pushed.get(LAYER)


def test_a_blob_is_hashed_once(folder: Path) -> None:
    for wanted in ({layer["digest"] for layer in IMAGE.layers}, set[str]()):
        recorder, events = Recorder(), list[ProgressEvent]()
        push(Layout(folder), recorder, events)
        assert recorder.pushed == IMAGE.blobs
        assert wanted <= hashed(events) if wanted else not hashed(events)


def test_a_blob_that_this_process_wrote_is_not_hashed_again(tmp_path: Path, canary: Path) -> None:
    layout = Layout(tmp_path / "own")
    layout.import_images(io.BytesIO(archives.oci([archives.named(IMAGE, NAME)], IMAGE)))
    events = list[ProgressEvent]()
    push(layout, Recorder(), events)
    assert not hashed(events)


@pytest.mark.parametrize("how", ["written over", "renamed over"])
def test_a_blob_changes_after_it_was_hashed(folder: Path, how: str) -> None:
    push(Layout(folder), Recorder())
    if how == "written over":
        blob(folder).write_bytes(CANARY)
    else:
        (folder / "new").write_bytes(CANARY)
        (folder / "new").rename(blob(folder))
    recorder = Recorder()
    with pytest.raises(DigestMismatch, match=LAYER):
        push(Layout(folder), recorder)
    assert not recorder.pushed.get(LAYER)


# ---- pull ------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_the_file_of_a_write_is_a_link_to_a_file_outside(
    folder: Path, canary: Path, link: str
) -> None:
    ref = f"layer-{LAYER}"
    (folder / ".ingest").mkdir()
    place = folder / ".ingest" / f"ref-{ref.replace(':', '%3A')}"
    if link == "symbolic":
        place.symlink_to(canary)
    else:
        os.link(canary, place)
    with pytest.raises(InvalidArgument):
        LayoutStore(folder).writer(ref, size=SIZE)
    with pytest.raises(InvalidArgument):
        LayoutStore(folder).replacing_writer(ref, size=SIZE, expected=LAYER)
    place.unlink()


@pytest.mark.parametrize("name", ["blobs/sha256", "blobs", ".ingest"])
def test_a_folder_to_write_to_is_a_link(folder: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    if (folder / name).exists():
        (folder / name).rename(outside)
    else:
        outside.mkdir()
    before = sorted(outside.rglob("*"))
    (folder / name).symlink_to(outside)
    layout = Layout(folder)
    with pytest.raises(InvalidArgument, match="behind a link"):
        layout.import_images(io.BytesIO(archives.oci([archives.named(OTHER, "other:1")], OTHER)))
    assert sorted(outside.rglob("*")) == before


def test_an_index_is_a_link(folder: Path, tmp_path: Path) -> None:
    (folder / "index.json").rename(tmp_path / "index.json")
    (folder / "index.json").symlink_to(tmp_path / "index.json")
    before = (tmp_path / "index.json").read_bytes()
    for verb in (Layout(folder).list_images, lambda: Layout(folder).tag(NAME, "app:2")):
        with pytest.raises(InvalidArgument, match="not a regular file"):
            verb()
    assert (tmp_path / "index.json").read_bytes() == before


# ---- every file, and every kind of file ------------------------------------------------------


def make_fifo(path: Path, canary: Path) -> None:
    os.mkfifo(path)


KINDS: dict[str, Callable[[Path, Path], object]] = {
    "link to a file": lambda path, canary: path.symlink_to(canary),
    "link to a folder": lambda path, canary: path.symlink_to(canary.parent),
    "dangling link": lambda path, canary: path.symlink_to("nowhere"),
    "link to itself": lambda path, canary: path.symlink_to(path.name),
    "link to a device": lambda path, canary: path.symlink_to("/dev/zero"),
    "folder": lambda path, canary: path.mkdir(),
    "FIFO": make_fifo,
    "socket": lambda path, canary: make_socket(path),
    "device": lambda path, canary: os.mknod(path, 0o20666, os.makedev(1, 5)),  # /dev/zero
}
FILES = [
    "oci-layout",
    "index.json",
    "blobs",
    "blobs/sha256",
    "blobs/sha512",
    f"blobs/{LAYER.replace(':', '/')}",
    f"blobs/{IMAGE.digest.replace(':', '/')}",
    ".ingest",
    f".ingest/ref-layer-{OTHER.layers[0]['digest'].replace(':', '%3A')}",
]


def everything(folder: Path, tmp_path: Path) -> None:
    """All that users do with a layout; each call may fail, but only with an error of ours."""
    layer = OTHER.layers[0]
    archive = archives.oci([archives.named(OTHER, "other:1")], OTHER)
    verbs: list[Callable[[Layout], object]] = [
        Layout.list_images,
        Layout.verify,
        lambda layout: layout.check(NAME),
        lambda layout: layout.get_image(NAME).config(),
        lambda layout: layout.export_images(tmp_path / "exported.tar", NAME),
        lambda layout: Layout(tmp_path / "second").import_images(folder),
        lambda layout: push(layout, Recorder()),
        lambda layout: layout.tag(NAME, "app:2"),
        lambda layout: list(layout.content_store.walk()),
        lambda layout: layout.content_store.statuses(),
        lambda layout: layout.content_store.writer(
            f"layer-{layer['digest']}", size=layer["size"], expected=layer["digest"]
        ).close(),
        lambda layout: layout.content_store.abort(f"layer-{layer['digest']}"),
        lambda layout: layout.import_images(io.BytesIO(archive)),
        lambda layout: layout.get_image(NAME).delete(),
    ]
    for verb in verbs:
        try:
            verb(Layout(folder))
        except ContainerdError:
            continue


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_another_kind_of_file(
    folder: Path, canary: Path, tmp_path: Path, name: str, kind: str
) -> None:
    place = folder / name
    if place.is_dir():
        place.rename(tmp_path / "away")
    place.unlink(missing_ok=True)
    place.parent.mkdir(exist_ok=True)
    try:
        KINDS[kind](place, canary)
    except PermissionError:
        pytest.skip("only root makes a device")
    outside = sorted(tmp_path.iterdir())
    failed: list[BaseException] = []

    def run() -> None:
        try:
            everything(folder, tmp_path)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(HANGING)
    assert not thread.is_alive()
    assert failed == []
    left = {path for path in tmp_path.iterdir() if path.name not in ("exported.tar", "second")}
    assert left == set(outside)


def test_another_process_holds_the_lock_of_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("containerd_lite.store.folder._LOCK_SECONDS", 0.2)
    with UntrustedFolder(folder).locked(), pytest.raises(ContainerdError, match="has locked"):
        Layout(folder).tag(NAME, "app:2")


def test_a_file_of_the_year_10000(folder: Path) -> None:
    os.utime(blob(folder), (1e12, 1e12))
    layout = Layout(folder)
    assert {info.digest for info in layout.content_store.walk()} == set(IMAGE.blobs)
    (folder / ".ingest").mkdir()
    (folder / ".ingest" / "ref-a").touch()
    os.utime(folder / ".ingest" / "ref-a", (1e12, 1e12))
    assert [status.ref for status in layout.content_store.statuses()] == ["a"]


@pytest.mark.parametrize(
    "body", [b"[" * 4_000_000, b'{"a":' * 800_000, b'{"manifests":' + b"[" * 9999]
)
def test_an_index_that_is_nested_too_deeply(folder: Path, body: bytes) -> None:
    (folder / "index.json").write_bytes(body)
    with pytest.raises(InvalidArgument, match=r"too deeply|too many values"):
        Layout(folder).list_images()
    (folder / "oci-layout").write_bytes(b"[" * 4000)
    with pytest.raises(InvalidArgument, match="too deeply"):
        Layout(folder)


# ---- what is left for other users ------------------------------------------------------------


def test_files_are_as_private_as_the_umask_says(tmp_path: Path, canary: Path) -> None:
    before = os.umask(0o077)
    try:
        layout = Layout(tmp_path / "own")
        layout.import_images(io.BytesIO(archives.oci([archives.named(IMAGE, NAME)], IMAGE)))
    finally:
        os.umask(before)
    for path in (layout.path, *layout.path.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path

"""Archives that somebody made to do harm: typed errors, nothing half-made, nothing outside."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerd_lite import Client, Layout
from containerd_lite.errors import (
    ContainerdError,
    DataLoss,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from tests.harness import images
from tests.unit.images import archives

IMAGE = images.random_image([100_000, 2_000_000], docker=True, compression="none")
NAME = "docker.io/library/app:1"
CANARY = b"canary"


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file beside the layout, in the folder that we work in, that nothing may touch."""
    path = tmp_path / "canary"
    path.write_bytes(CANARY)
    monkeypatch.chdir(tmp_path)
    yield path
    assert path.read_bytes() == CANARY
    assert set(os.listdir(tmp_path)) <= {"canary", "layout", "given.tar", "given"}


@pytest.fixture
def layout(tmp_path: Path, canary: Path) -> Layout:
    return Layout(tmp_path / "layout")


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info.tobuf(tarfile.PAX_FORMAT)


def whole() -> dict[str, bytes]:
    """The files of an archive that nothing is wrong with."""
    return archives.unpacked(archives.oci([archives.named(IMAGE, NAME)], IMAGE))


def changed(**files: bytes) -> bytes:
    """That archive with other contents: ``index`` is index.json's, ``layout`` oci-layout's."""
    names = {"index": "index.json", "layout": "oci-layout", "docker": "manifest.json"}
    return archives.packed(
        {**whole(), **{names.get(name, name): body for name, body in files.items()}}.items()
    )


def docker(change: dict[str, object], links: dict[str, str] | None = None) -> bytes:
    """A docker archive whose entry of manifest.json is changed."""
    files, saved = archives.docker_files(IMAGE, "app:1")
    body = json.dumps([{**saved, **change}]).encode()
    more: dict[str, bytes | str] = {**files, "manifest.json": body, **(links or {})}
    return archives.packed(more.items())


def sure_to_fail(layout: Layout, archive: bytes, tmp_path: Path) -> ContainerdError:
    """What import says of it, twice: as a file, and as a stream."""
    path = tmp_path / "given.tar"
    path.write_bytes(archive)
    for source in (path, io.BytesIO(archive)):
        with pytest.raises(ContainerdError) as told:
            layout.import_images(source)
        assert layout.list_images() == []
        assert layout.content_store.statuses() == []
        assert not (layout.path / ".ingest").exists()
    return told.value


GOOD = archives.oci([archives.named(IMAGE, NAME)], IMAGE)
PATHS = {
    "up": member("../canary", size=4) + b"evil" + bytes(508),
    "up within": member("blobs/sha256/../../../canary"),
    "absolute": member("/canary"),
    "symlink up": member("link", tarfile.SYMTYPE, "../canary"),
    "symlink absolute": member("link", tarfile.SYMTYPE, "/etc/passwd"),
    "hardlink up": member("link", tarfile.LNKTYPE, "../canary"),
    "hardlink absolute": member("link", tarfile.LNKTYPE, "/etc/passwd"),
    "nul": member("canary", size=0).replace(b"canary", b"c\0nary"),
}


@pytest.mark.parametrize("entry", PATHS.values(), ids=PATHS.keys())
def test_paths(layout: Layout, tmp_path: Path, entry: bytes) -> None:
    assert isinstance(sure_to_fail(layout, entry + GOOD, tmp_path), InvalidArgument)


@pytest.mark.parametrize("place", ["../canary", "/canary", "canary/../../canary", "..", "a\0b"])
@pytest.mark.parametrize("field", ["Config", "Layers"])
def test_paths_in_a_docker_manifest(layout: Layout, tmp_path: Path, place: str, field: str) -> None:
    change: dict[str, object] = {field: place if field == "Config" else [place]}
    told = sure_to_fail(layout, docker(change), tmp_path)
    assert isinstance(told, InvalidArgument)


def test_links_in_a_circle(layout: Layout, tmp_path: Path) -> None:
    named = ["a"] * len(IMAGE.layers)
    loop = docker({"Layers": named}, {"a": "b", "b": "c", "c": "a"})
    assert "levels of links" in str(sure_to_fail(layout, loop, tmp_path))
    nowhere = docker({"Layers": named}, {"a": "b"})
    assert isinstance(sure_to_fail(layout, nowhere, tmp_path), NotFound)


@pytest.mark.parametrize("first", ["link", "file"])
def test_two_things_of_one_name(layout: Layout, tmp_path: Path, first: str) -> None:
    """Of two readers each could take another one."""
    files, saved = archives.docker_files(IMAGE, "app:1")
    place = saved["Layers"][0]
    link = member(place, tarfile.SYMTYPE, "VERSION")
    file = archives.packed({place: files[place]}.items())[: -2 * 512].rstrip(b"\0")
    file += bytes(-len(file) % 512)
    parts = [link, file] if first == "link" else [file, link]
    told = sure_to_fail(layout, b"".join(parts) + docker({}), tmp_path)
    assert "two files" in str(told)
    links = member("a", tarfile.SYMTYPE, "b") + member("a", tarfile.SYMTYPE, "c")
    assert "two files" in str(sure_to_fail(layout, links + docker({}), tmp_path))
    same = member("a", tarfile.SYMTYPE, "b") * 2
    assert layout.import_images(io.BytesIO(same + docker({})))


def test_too_many_layers_are_not_looked_into(layout: Layout, tmp_path: Path) -> None:
    """Their number is compared before any of them is looked for."""
    many = docker({"Layers": ["not/there"] * 100_000})
    assert "manifest.json lists 100000" in str(sure_to_fail(layout, many, tmp_path))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_nothing(layout: Layout, tmp_path: Path, kind: bytes) -> None:
    device = member("layer.tar", kind)
    layout.import_images(io.BytesIO(device + GOOD))
    assert layout.get_image(NAME).target.digest == IMAGE.digest
    assert not (tmp_path / "layer.tar").exists()


@pytest.mark.parametrize(
    "digest",
    ["sha256:../../../canary", "sha256:" + "A" * 64, "sha256:", "md5:" + "a" * 32, "canary", ""],
)
def test_digests_that_are_paths(layout: Layout, tmp_path: Path, digest: str) -> None:
    entry = {**archives.named(IMAGE, NAME), "digest": digest}
    archive = changed(index=archives.index_json([entry]))
    assert isinstance(sure_to_fail(layout, archive, tmp_path), InvalidArgument)


AMBIGUOUS = {
    "index that is a manifest": changed(
        index=json.dumps({**json.loads(whole()["index.json"]), "layers": []}).encode()
    ),
    "two keys": changed(index=b'{"schemaVersion":2,"manifests":[],"manifests":[]}'),
    "another case": changed(index=b'{"schemaVersion":2,"Manifests":[]}'),
    "no index": changed(index=b"[]"),
    "not json": changed(index=b"\x80"),
    "deep": changed(index=b'{"a":' + b"[" * 100_000),
    "no version": changed(layout=b"{}"),
    "another version": changed(layout=b'{"imageLayoutVersion": "2.0.0"}'),
    "schema 1": changed(index=b'{"schemaVersion":1,"manifests":[]}'),
    "docker: an object": archives.packed([("manifest.json", b"{}")]),
    "docker: two lists": archives.packed([("manifest.json", b'[],"x":[]')]),
    "docker: lists twice": archives.packed([("manifest.json", b'[],"images":[]')]),
    "docker: another case": archives.packed([("manifest.json", b'[{"config":"a"}]')]),
    "neither": archives.packed([("some.txt", b"hello")]),
    "not a tar": b"hello" * 1000,
    "nothing named": archives.packed([("manifest.json", b"[]")]),
}


@pytest.mark.parametrize("archive", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_what_can_be_taken_for_two_things(layout: Layout, tmp_path: Path, archive: bytes) -> None:
    assert isinstance(sure_to_fail(layout, archive, tmp_path), InvalidArgument)


def test_a_docker_manifest_that_goes_on(layout: Layout, tmp_path: Path) -> None:
    """One that would be read if it were put into an object as it is."""
    files, saved = archives.docker_files(IMAGE, "app:1")
    body = json.dumps([saved]).encode() + b',"more":1'
    archive = archives.packed([*files.items(), ("manifest.json", body)])
    assert "must be a single JSON list" in str(sure_to_fail(layout, archive, tmp_path))


@pytest.mark.parametrize("name", ["index.json", "oci-layout", "manifest.json", "some/layer.tar"])
def test_two_files_of_one_name(layout: Layout, tmp_path: Path, name: str) -> None:
    files = [*whole().items(), (name, b"[]"), ("./" + name, b"[1]")]
    told = sure_to_fail(layout, archives.packed(files), tmp_path)
    assert "two files" in str(told)


def test_a_manifest_that_is_an_index_too(layout: Layout, tmp_path: Path) -> None:
    image = images.random_image([10], change_manifest=lambda m: m.update(manifests=[]))
    archive = archives.oci([archives.named(image, NAME)], image)
    assert "CVE-2021-41190" in str(sure_to_fail(layout, archive, tmp_path))


def test_indexes_without_end(layout: Layout, tmp_path: Path) -> None:
    image = IMAGE
    for _ in range(20):
        image = images.index_of({images.machine_platform(): image})
    archive = archives.oci([archives.named(image, NAME)], image)
    assert "deep" in str(sure_to_fail(layout, archive, tmp_path))


# ---- too much of it --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["index.json", "manifest.json", "oci-layout"])
def test_documents_of_5_mib(layout: Layout, tmp_path: Path, name: str) -> None:
    archive = archives.packed([(name, b" " * (5 << 20))])
    assert "4194304 are allowed" in str(sure_to_fail(layout, archive, tmp_path))


def test_a_document_that_says_it_is_endless(layout: Layout, tmp_path: Path) -> None:
    for name in ("index.json", "blobs/sha256/" + "a" * 64, "layer.tar", "repositories"):
        told = sure_to_fail(layout, member(name, size=1 << 62), tmp_path)
        assert isinstance(told, InvalidArgument if name == "index.json" else DataLoss)


_CHILD = """
import resource, sys
from containerd_lite import Layout
from containerd_lite.errors import ContainerdError
layout = Layout(sys.argv[1])
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    layout.import_images(sys.stdin.buffer)
except ContainerdError as error:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
    sys.stdout.write(f"{type(error).__name__} {grown}")
"""


def of_a_child(folder: Path, archive: bytes) -> tuple[str, int]:
    """The error, and the KiB of memory that it took to find it."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder / "layout")],
        input=archive,
        capture_output=True,
        timeout=120,
        check=True,
    )
    name, grown = done.stdout.decode().split()
    return name, int(grown)


def gzipped(pieces: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join(packer.compress(piece) for piece in pieces) + packer.flush()


@pytest.mark.turns(3, "heavy")
def test_a_million_entries(tmp_path: Path, canary: Path) -> None:
    thousand = gzipped(iter([member("repositories") * 1000]))
    name, grown = of_a_child(tmp_path, thousand * 1000)
    assert name == "InvalidArgument"
    assert grown < 64 << 10


def test_names_by_the_gigabyte(tmp_path: Path, canary: Path) -> None:
    thousand = gzipped(iter([member("x" * 4000, tarfile.SYMTYPE, "y" * 90) * 1000]))
    name, grown = of_a_child(tmp_path, thousand * 20)
    assert name == "InvalidArgument"
    assert grown < 64 << 10


@pytest.mark.turns(3, "heavy")
@pytest.mark.once
def test_a_bomb(tmp_path: Path, canary: Path) -> None:
    """8 GiB of zeros in 8 MiB, in a file that nobody wants."""
    head = member("repositories", size=8 << 30)
    packed = gzipped(iter([head, bytes(1 << 20)]))
    begin = gzipped(iter([head]))
    mebibyte = gzipped(iter([bytes(1 << 20)]))
    assert len(packed) < 4096
    name, grown = of_a_child(tmp_path, begin + mebibyte * (8 << 10))
    assert name == ResourceExhausted.__name__
    assert grown < 64 << 10


# ---- broken ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 511, 512, 600, 50_000, 1_000_000, 2_100_000])
def test_cut_off(layout: Layout, tmp_path: Path, length: int) -> None:
    assert isinstance(sure_to_fail(layout, GOOD[:length], tmp_path), DataLoss)
    packed = gzip.compress(GOOD, 1)[: length // 2 or 1]
    told = sure_to_fail(layout, packed, tmp_path)
    assert isinstance(told, DataLoss)


def test_garbage_behind(layout: Layout, tmp_path: Path) -> None:
    assert isinstance(sure_to_fail(layout, GOOD + b"x", tmp_path), InvalidArgument)
    assert isinstance(sure_to_fail(layout, gzip.compress(GOOD) + b"x", tmp_path), DataLoss)
    assert isinstance(sure_to_fail(layout, gzip.compress(GOOD + b"x"), tmp_path), InvalidArgument)


def test_every_blob_is_verified(canary: Path, tmp_path: Path) -> None:
    for digest in IMAGE.blobs:
        layout = Layout(tmp_path / "layout" / digest[7:])
        place = f"blobs/sha256/{digest[7:]}"
        body = bytearray(whole()[place])
        body[len(body) // 2] ^= 1
        told = sure_to_fail(layout, changed(**{place: bytes(body)}), tmp_path)
        assert digest in str(told)
        assert isinstance(told, DataLoss)
        assert not (layout.path / place).exists()


def test_a_folder_of_links_and_pipes(layout: Layout, tmp_path: Path, canary: Path) -> None:
    """CVE-2024-3727 let blobs lie outside of the folder."""
    given = images.write_layout(IMAGE, tmp_path / "given", NAME)
    blob = given / "blobs" / "sha256" / IMAGE.layers[0]["digest"][7:]
    blob.unlink()
    blob.symlink_to(canary)
    with pytest.raises(InvalidArgument, match="not a regular file"):
        layout.import_images(given)
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(InvalidArgument, match="not a regular file"):
        layout.import_images(given)
    assert layout.list_images() == []


@pytest.mark.daemon
@pytest.mark.usefixtures("no_leftovers")
def test_a_daemon_keeps_nothing(client: Client, tmp_path: Path) -> None:
    """What of an archive is good is collected, when something of it is not."""
    place = f"blobs/sha256/{IMAGE.layers[1]['digest'][7:]}"
    for archive in (
        changed(**{place: whole()[place][:-1]}),
        GOOD[:1_500_000],
        GOOD + b"x",
        PATHS["up"] + GOOD,
        GOOD[:-10240] + member("../canary") + bytes(10240),
        changed(index=b"[]"),
        docker({"Layers": ["a"]}, {"a": "b"}),
    ):
        path = tmp_path / "given.tar"
        path.write_bytes(archive)
        for source in (path, io.BytesIO(archive)):
            with pytest.raises(ContainerdError):
                client.import_images(source)
            assert client.list_images() == []
            assert client.content_store.statuses() == []
            assert list(client.content_store.walk()) == []

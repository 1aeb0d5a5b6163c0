"""Files out of layers: each rule by hand, and all of them together against a plain model."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, reject, settings

from containerd_lite.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from containerd_lite.images.files.image_files import read_layer_files
from containerd_lite.images.files.layer_tree import MAX_FILE
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.store.layout_store import LayoutStore

from .overlay_model import LAYERS, LINK, SYMLINK, Item, Refused, expected, packed

PASSWD, GROUP = "etc/passwd", "etc/group"
OPAQUE = ".wh..wh..opq"


def put(
    store: LayoutStore, blob: bytes, media_type: str = media_types.OCI_LAYER_GZIP
) -> Descriptor:
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    path = store.path / "blobs" / digest.replace(":", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(blob)
    return Descriptor(media_type, digest, len(blob))


@pytest.fixture
def store(tmp_path: Path) -> LayoutStore:
    return LayoutStore(tmp_path)


def read(store: LayoutStore, *layers: Sequence[Item], name: str = PASSWD) -> bytes | None:
    """The file of ``name``, out of ``layers``, bottom first."""
    found = [put(store, gzip.compress(packed(items), 1)) for items in layers]
    return read_layer_files(store, found, [name])[name]


BASE: list[Item] = [("etc", None), (PASSWD, b"base"), ("usr/etc/passwd", b"usr")]

UPPER: dict[str, tuple[list[Item], bytes | None]] = {
    "nothing": ([], b"base"),
    "another file": ([("etc/x", b"x")], b"base"),
    "the file": ([(PASSWD, b"new")], b"new"),
    "the file twice": ([(PASSWD, b"old"), ("./etc/passwd", b"new")], b"new"),
    "whiteout": ([("etc/.wh.passwd", b"")], None),
    "whiteout of the folder": ([(".wh.etc", b"")], None),
    "whiteout of another": ([("etc/.wh.group", b"")], b"base"),
    "whiteout, then the file": ([("etc/.wh.passwd", b""), (PASSWD, b"new")], b"new"),
    "opaque": ([(f"etc/{OPAQUE}", b"")], None),
    "opaque root": ([(OPAQUE, b"")], None),
    "opaque, with the file before": ([(PASSWD, b"new"), (f"etc/{OPAQUE}", b"")], b"new"),
    "opaque elsewhere": ([(f"usr/{OPAQUE}", b"")], b"base"),
    "folder by a file": ([("etc", b"file")], None),
    "file by a folder": ([(PASSWD, None)], None),
    "folder again": ([("etc", None)], b"base"),
    "folder by a link": ([("etc", SYMLINK + "usr/etc")], b"usr"),
    "folder by an absolute link": ([("etc", SYMLINK + "/usr/etc/")], b"usr"),
    "link": ([(PASSWD, SYMLINK + "../usr/etc/passwd")], b"usr"),
    "absolute link": ([(PASSWD, SYMLINK + "/usr/etc/passwd")], b"usr"),
    "link out": ([(PASSWD, SYMLINK + "../../../../usr/etc/passwd")], b"usr"),
    "link to nothing": ([(PASSWD, SYMLINK + "nothing")], None),
    "link to a folder": ([(PASSWD, SYMLINK + "/usr/etc")], None),
    "link in a circle": ([(PASSWD, SYMLINK + "passwd")], None),
    "links": ([("etc/a", SYMLINK + "b"), ("etc/b", SYMLINK + "../c/passwd"),
               ("c", SYMLINK + "usr/etc"), (PASSWD, SYMLINK + "a")], b"usr"),
    "through its own link": ([("etc2", SYMLINK + "etc"), ("etc2/passwd", b"new")], b"new"),
    "hard link": ([("x/file", b"new"), (PASSWD, LINK + "x/file")], b"new"),
    "hard link to what is replaced": (
        [("x", b"new"), (PASSWD, LINK + "/x"), ("x", b"other")], b"new"),
    "hard link to a link": (
        [("etc/x", SYMLINK + "/usr/etc/passwd"), (PASSWD, LINK + "etc/x")], b"usr"),
    "absolute": ([("/etc/passwd", b"new")], b"new"),
    "leading out": ([("../../etc/passwd", b"new")], b"new"),
    "roundabout": ([("usr/../etc/./passwd", b"new")], b"new"),
    "the root": ([("/", None), (".", None), ("..", None)], b"base"),
}  # fmt: skip


@pytest.mark.parametrize(("upper", "data"), UPPER.values(), ids=UPPER.keys())
def test_a_layer_upon_another(store: LayoutStore, upper: list[Item], data: bytes | None) -> None:
    assert read(store, BASE, upper) == data
    assert read(store, BASE, upper, []) == data


def test_a_chain_of_links_ends(store: LayoutStore) -> None:
    links: list[Item] = [(f"etc/{n}", SYMLINK + str(n + 1)) for n in range(40)]
    assert read(store, [("etc/40", b"end"), *links], name="etc/0") == b"end"
    assert read(store, [("etc/41", b"end"), *links, ("etc/40", SYMLINK + "41")],
                name="etc/0") is None  # fmt: skip


def test_a_hard_link_into_a_lower_layer(store: LayoutStore) -> None:
    with pytest.raises(FailedPrecondition, match="hard link to 'usr/etc/passwd'"):
        read(store, BASE, [(PASSWD, LINK + "usr/etc/passwd")])


def test_lower_layers_are_not_read_for_nothing(store: LayoutStore) -> None:
    upper = put(store, packed([(PASSWD, b"p"), ("etc/.wh.group", b"")]))
    missing = Descriptor(media_types.OCI_LAYER, f"sha256:{'0' * 64}", 5)
    names = [PASSWD, GROUP]
    assert read_layer_files(store, [missing, upper], names) == {PASSWD: b"p", GROUP: None}
    with pytest.raises(NotFound):
        read_layer_files(store, [missing, upper], [*names, "etc/shadow"])
    assert read_layer_files(store, [], names) == {PASSWD: None, GROUP: None}


def test_layers_of_other_kinds(store: LayoutStore) -> None:
    plain = packed(BASE)
    for blob in (
        plain,
        gzip.compress(plain),
        gzip.compress(plain[:600]) + gzip.compress(plain[600:]),
    ):
        assert read_layer_files(store, [put(store, blob)], [PASSWD]) == {PASSWD: b"base"}
    encrypted = put(store, plain, media_types.OCI_LAYER_GZIP + "+encrypted")
    with pytest.raises(FailedPrecondition, match="encrypted, which is not supported"):
        read_layer_files(store, [encrypted], [PASSWD])
    for blob in (gzip.compress(plain)[:-20], plain[:700]):
        with pytest.raises(DataLoss):
            read_layer_files(store, [put(store, blob)], [PASSWD])
    with pytest.raises(InvalidArgument, match="the archive"):
        read_layer_files(store, [put(store, b"hello" * 300)], [PASSWD])


def test_layers_that_only_a_daemon_takes(store: LayoutStore) -> None:
    plain = packed([(PASSWD, b"data"), ("a\udcff", b"x")])
    end = len(plain.rstrip(b"\0")) // 512 * 512 + 512
    for blob in (plain, plain[:end], plain[: end + 512], plain + b"behind"):
        assert read_layer_files(store, [put(store, blob)], [PASSWD]) == {PASSWD: b"data"}
    assert read_layer_files(store, [put(store, b"")], [PASSWD]) == {PASSWD: None}


def test_a_file_of_a_gibibyte(store: LayoutStore) -> None:
    """CVE-2026-47262: refused by what its header says."""
    info = tarfile.TarInfo(GROUP)
    info.size = 1 << 30
    blob = put(store, gzip.compress(info.tobuf()))  # and nothing of it is there
    with pytest.raises(ResourceExhausted, match="1073741824 bytes"):
        read_layer_files(store, [blob], [GROUP])
    with pytest.raises(DataLoss):
        read_layer_files(store, [blob], [PASSWD])
    big = packed([(GROUP, bytes(MAX_FILE + 1))])
    fits = packed([(GROUP, bytes(MAX_FILE))])
    with pytest.raises(
        ResourceExhausted, match=f"{MAX_FILE + 1} bytes; at most {MAX_FILE} are read"
    ):
        read_layer_files(store, [put(store, big)], [GROUP])
    assert read_layer_files(store, [put(store, big), put(store, fits)], [GROUP]) == {
        GROUP: bytes(MAX_FILE)
    }


def test_a_sparse_file(store: LayoutStore) -> None:
    packed_ = io.BytesIO()
    with tarfile.open(fileobj=packed_, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("GNUSparseFile.0/passwd")
        info.size = 512
        info.pax_headers = {
            "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": PASSWD,
            "GNU.sparse.realsize": "9",
        }  # fmt: skip
        archive.addfile(info, io.BytesIO(b"1\n0\n0\n".ljust(512, b"\0")))
        other = tarfile.TarInfo(GROUP)
        other.size = 5
        archive.addfile(other, io.BytesIO(b"group"))
    layer = put(store, packed_.getvalue())
    assert read_layer_files(store, [layer], [GROUP]) == {GROUP: b"group"}
    with pytest.raises(FailedPrecondition, match="sparse"):
        read_layer_files(store, [layer], [PASSWD])


def test_too_many_links(store: LayoutStore) -> None:
    links: list[Item] = [(f"{n}", SYMLINK + "x" * 4000) for n in range(6500)]
    with pytest.raises(ResourceExhausted, match="too long in total"):
        read(store, links)


@pytest.mark.turns(3, "heavy")
@settings(max_examples=300, deadline=None)
@given(LAYERS)
def test_whatever_the_layers(layers: list[list[Item]]) -> None:
    names = ["etc/passwd", "etc/a", "a", "etc/a/passwd"]
    with tempfile.TemporaryDirectory() as folder:
        store = LayoutStore(folder)
        blobs = [put(store, packed(items)) for items in layers]
        for name in names:
            try:
                wanted = expected(layers, name)
            except Refused:
                reject()
            if isinstance(wanted, LookupError):
                with pytest.raises(FailedPrecondition):
                    read_layer_files(store, blobs, [name])
            else:
                assert read_layer_files(store, blobs, [name]) == {name: wanted}

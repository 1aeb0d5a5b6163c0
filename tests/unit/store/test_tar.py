"""The reader of tar archives: what Python's tarfile writes, and what nobody should."""

from __future__ import annotations

import io
import tarfile

import pytest

from containerd_lite.errors import ContainerdError, DataLoss, InvalidArgument
from containerd_lite.store import tar
from containerd_lite.store.layers import PlainStream
from containerd_lite.store.tar import Entry, TarReader, header, link_target, normalise_name

END = bytes(1024)
LONG = "folder/" * 30 + "x" * 200


def written(form: int, *names: str, size: int = 700) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(name[-1:].encode() * size))
    return packed.getvalue()


def read(archive: bytes) -> list[Entry]:
    return list(TarReader(PlainStream(io.BytesIO(archive))))


def block(name: bytes, *, kind: bytes = b"0", size: bytes = b"0", magic: bytes = b"ustar\x0000",
          target: bytes = b"") -> bytes:  # fmt: skip
    """A header by hand, with a right checksum."""
    body = bytearray(512)
    for start, value in ((0, name), (124, size), (156, kind), (157, target), (257, magic)):
        body[start : start + len(value)] = value
    body[148:156] = b" " * 8
    body[148:156] = b"%06o\0 " % sum(body)
    return bytes(body)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    size = b"%011o" % len(records)
    return block(b"pax", kind=kind, size=size) + records + bytes(-len(records) % 512)


def record(text: str) -> bytes:
    body = text.encode()
    length = len(body) + 3
    while len(f"{length} ") + len(body) + 1 != length:
        length += 1
    return b"%d %s\n" % (length, body)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_it_reads_every_form(form: int) -> None:
    names = ["a", "b/c", "./d", "x/" * 70 + "y", *([] if form == tarfile.USTAR_FORMAT else [LONG])]
    archive = written(form, *names)
    reader = TarReader(PlainStream(io.BytesIO(archive)))
    found = []
    for entry in reader:
        data = memoryview(bytearray(1000))
        assert reader.readinto(data[:300]) == 300
        assert reader.readinto(data[300:]) == 400
        assert reader.readinto(data) == 0
        assert archive[entry.offset :].startswith(bytes(data[:300]))
        found.append((entry.name, entry.kind, entry.size))
    assert found == [(name.removeprefix("./"), tar.FILE, 700) for name in names]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_data_need_not_be_read(form: int) -> None:
    assert [entry.name for entry in read(written(form, "a", "b"))] == ["a", "b"]
    assert read(written(form)) == []


def test_kinds_and_links() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, kind, target in (
            ("f", tarfile.DIRTYPE, ""),
            ("f/s", tarfile.SYMTYPE, "../g/h"),
            ("f/l", tarfile.LNKTYPE, "g/h"),
            ("dev", tarfile.CHRTYPE, ""),
            ("long", tarfile.SYMTYPE, LONG),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    found = read(packed.getvalue())
    assert [entry.kind for entry in found] == [
        tar.FOLDER, tar.SYMLINK, tar.LINK, tar.OTHER, tar.SYMLINK,
    ]  # fmt: skip
    assert [link_target(entry) for entry in found if entry.target] == ["g/h", "g/h", LONG]


def test_sizes_beyond_octal() -> None:
    """8 GiB and more: GNU's base 256, and pax, whose size goes before the header's."""
    size = 1 << 40
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        info = tarfile.TarInfo("big")
        info.size = size
        reader = TarReader(PlainStream(io.BytesIO(info.tobuf(form))))
        assert next(iter(reader)).size == size
    forged = pax(record("size=512")) + block(b"a") + b"a" * 512 + block(b"b") + END
    assert [(entry.name, entry.size) for entry in read(forged)] == [("a", 512), ("b", 0)]


def test_headers_depend_on_their_arguments_alone() -> None:
    packed = header("a" * 300, 5, mode=0o444) + b"hello" + bytes(507)
    packed += header("b", 0, mode=0o755, folder=True)
    found = read(packed + END)
    assert [(entry.name, entry.kind, entry.size) for entry in found] == [
        ("a" * 300, tar.FILE, 5), ("b", tar.FOLDER, 0),
    ]  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(packed + END)) as archive:
        file, folder = archive.getmembers()
    assert (file.name, file.mode, file.size) == ("a" * 300, 0o444, 5)
    assert (folder.mode, folder.isdir()) == (0o755, True)
    for info in (file, folder):
        assert (info.uid, info.gid, info.uname, info.gname, info.mtime) == (0, 0, "", "", 0)


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/a", "a\0b", "..", "a/.."])
def test_names_that_lead_out(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"leads out|contains NUL"):
        normalise_name(name)


@pytest.mark.parametrize(
    ("target", "kind"), [("../../x", tar.SYMLINK), ("/x", tar.SYMLINK), ("../x", tar.LINK),
                         ("/x", tar.LINK), ("a/../../../x", tar.SYMLINK)]
)  # fmt: skip
def test_links_that_lead_out(target: str, kind: tar.EntryKind) -> None:
    with pytest.raises(InvalidArgument, match="out"):
        link_target(Entry("f/link", kind, target=target))


FORGED: dict[str, bytes] = {
    "path": block(b"../canary") + END,
    "absolute": block(b"/etc/canary") + END,
    "nul in pax": pax(record("path=a\0b")) + block(b"a") + END,
    "path in pax": pax(record("path=../a")) + block(b"a") + END,
    "path by prefix": block(b"a", magic=b"ustar\x0000" + bytes(80) + b"..") + END,
    "not utf-8": block(b"\xff\xfe") + END,
    "negative": block(b"a", size=b"\xff" * 12) + END,
    "minus": block(b"a", size=b"-0000000007") + END,
    "digits": block(b"a", size=b"12_4") + END,
    "huge": block(b"a", size=b"\x80" + b"\x7f" + b"\xff" * 10) + END,
    "huge in pax": pax(record(f"size={1 << 63}")) + block(b"a") + END,
    "signed in pax": pax(record("size=-1")) + block(b"a") + END,
    "sparse": block(b"a", kind=b"S") + END,
    "sparse in pax": pax(record("GNU.sparse.size=5")) + block(b"a") + END,
    "unknown type": block(b"a", kind=b"Z") + END,
    "checksum": block(b"a").replace(b"a", b"b", 1) + END,
    "data of a link": block(b"a", kind=b"2", target=b"b", size=b"0001000") + bytes(512) + END,
    "data of a folder": block(b"a/", size=b"0001000") + bytes(512) + END,
    "two paths": pax(record("path=a") + record("path=b")) + block(b"c") + END,
    "two headers": pax(record("path=a")) + pax(record("path=b")) + block(b"c") + END,
    "header without entry": pax(record("path=a")) + END,
    "global path": pax(record("path=a"), b"g") + block(b"c") + END,
    "endless pax": block(b"p", kind=b"x", size=b"00077777777"),
    "endless name": block(b"p", kind=b"L", size=b"00077777777"),
    "long name": pax(record("path=" + "a" * 5000)) + block(b"c") + END,
    "pax length": pax(b"99 path=a\n") + block(b"c") + END,
    "pax zero": pax(b"0 path=a\n") + block(b"c") + END,
    "pax digits": pax("١٢ path=abc\n".encode()) + block(b"c") + END,
    "pax without newline": pax(b"9 path=ab") + block(b"c") + END,
    "one zero block": block(b"a") + bytes(512) + block(b"b") + END,
    "garbage behind": block(b"a") + END + b"garbage",
    "padding without end": block(b"a") + END + bytes(2 << 20),
    "no tar": b"hello" * 300,
}
CUT = {
    "nothing": b"",
    "in a header": block(b"a")[:100],
    "in data": block(b"a", size=b"0001000") + bytes(100),
    "in a pax header": pax(record("path=a"))[:600],
    "before the end": block(b"a"),
    "in the end": block(b"a") + bytes(512),
}


@pytest.mark.parametrize("archive", FORGED.values(), ids=FORGED.keys())
def test_what_is_refused(archive: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"the archive (has|goes on)"):
        read(archive)


@pytest.mark.parametrize("archive", CUT.values(), ids=CUT.keys())
def test_what_is_cut_off(archive: bytes) -> None:
    with pytest.raises(DataLoss, match="cut off"):
        read(archive)


def test_every_cut_is_told() -> None:
    archive = written(tarfile.PAX_FORMAT, "a", LONG)
    end = archive.rstrip(b"\0")
    for length in range(0, len(end) + 512, 37):
        with pytest.raises(ContainerdError):
            read(archive[:length])


class Endless(io.RawIOBase):
    """The same blocks without end."""

    def __init__(self, blocks: bytes) -> None:
        self._blocks = blocks
        self._place = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._blocks[self._place : self._place + len(buffer)]
        buffer[: len(piece)] = piece
        self._place = (self._place + len(piece)) % len(self._blocks)
        return len(piece)


@pytest.mark.parametrize(
    ("blocks", "most"),
    [
        (block(b"a"), tar.MAX_ENTRIES),
        (pax(record("comment=x"), b"g"), 0),
        (pax(record("path=" + "a" * 4000)) + block(b"a"), tar.MAX_NAMES // 4000),
    ],
    ids=["entries", "global headers", "names"],
)
def test_headers_without_end(blocks: bytes, most: int) -> None:
    entries = iter(TarReader(PlainStream(Endless(blocks))))
    for _ in range(most):
        next(entries)
    with pytest.raises(InvalidArgument, match="more than"):
        next(entries)


LAYERS: dict[str, tuple[bytes, list[Entry]]] = {
    "absolute": (block(b"/etc/a") + END, [Entry("etc/a", tar.FILE, offset=512)]),
    "leading out": (block(b"../a/../../b") + END, [Entry("b", tar.FILE, offset=512)]),
    "not utf-8": (block(b"\xff") + END, [Entry("\udcff", tar.FILE, offset=512)]),
    "data of a link": (
        block(b"a", kind=b"1", target=b"/b", size=b"0001000") + END,
        [Entry("a", tar.LINK, 0, "/b", 512)],
    ),
    "two paths": (
        pax(record("path=a") + record("path=b")) + block(b"c") + END,
        [Entry("b", tar.FILE, offset=1536)],
    ),
    "two headers": (
        pax(record("path=a")) + pax(record("path=b")) + block(b"c") + END,
        [Entry("b", tar.FILE, offset=2560)],
    ),
    "global path": (
        pax(record("path=a"), b"g") + block(b"c") + END,
        [Entry("c", tar.FILE, offset=1536)],
    ),
    "sparse": (
        pax(record("path=x") + record("GNU.sparse.name=y") + record("GNU.sparse.major=1"))
        + block(b"a") + END,
        [Entry("y", tar.SPARSE, offset=1536)],
    ),
    "no end": (block(b"a"), [Entry("a", tar.FILE, offset=512)]),
    "half an end": (block(b"a") + bytes(512), [Entry("a", tar.FILE, offset=512)]),
    "garbage behind": (block(b"a") + END + b"garbage", [Entry("a", tar.FILE, offset=512)]),
    "nothing": (b"", []),
}  # fmt: skip


@pytest.mark.parametrize(("archive", "entries"), LAYERS.values(), ids=LAYERS.keys())
def test_what_is_a_layer_all_the_same(archive: bytes, entries: list[Entry]) -> None:
    """As Go's archive/tar and containerd's pkg/archive take it."""
    assert list(TarReader(PlainStream(io.BytesIO(archive)), is_layer=True)) == entries
    with pytest.raises(ContainerdError):
        read(archive)


@pytest.mark.parametrize(
    "name",
    ["negative", "minus", "digits", "huge", "sparse", "unknown type", "checksum", "long name",
     "endless pax", "pax length", "one zero block", "header without entry", "no tar"],
)  # fmt: skip
def test_what_is_no_layer_either(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"the archive has"):
        list(TarReader(PlainStream(io.BytesIO(FORGED[name])), is_layer=True))


def test_a_layer_that_is_cut_off() -> None:
    archive = written(tarfile.PAX_FORMAT, "a", "b")
    for length in (100, 600, 512 + 699, 1536 + 300):  # in a header, and in data
        with pytest.raises(DataLoss):
            list(TarReader(PlainStream(io.BytesIO(archive[:length])), is_layer=True))

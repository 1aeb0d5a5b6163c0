"""The OCI layout as a content store."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Timer

import pytest

from containerd_lite import CancelToken
from containerd_lite.errors import (
    AlreadyExists,
    Cancelled,
    DigestMismatch,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    SizeMismatch,
    Unavailable,
)
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.store.folder import UntrustedFolder
from containerd_lite.store.layout_names import LayoutNames
from containerd_lite.store.layout_store import LayoutStore
from containerd_lite.store.protocol import ContentStore, read_blob

BODY = b"some content"
DIGEST = digests.of(BODY)


@pytest.fixture
def store(tmp_path: Path) -> LayoutStore:
    return LayoutStore(tmp_path / "layout")


def put(store: ContentStore, body: bytes) -> str:
    with store.writer("ref", size=len(body), expected=digests.of(body)) as writer:
        writer.write(body)
        return writer.commit()


def test_write_and_read(store: LayoutStore) -> None:
    assert put(store, BODY) == DIGEST
    assert (store.path / "blobs" / "sha256" / DIGEST[7:]).read_bytes() == BODY
    with store.reader(DIGEST) as file:
        assert file.seek(5) == 5
        assert file.read() == b"content"
    info = store.info(DIGEST)
    assert (info.digest, info.size, info.labels) == (DIGEST, len(BODY), {})
    assert [found.digest for found in store.walk()] == [DIGEST]
    descriptor = Descriptor(media_types.OCI_LAYER, DIGEST, len(BODY))
    assert read_blob(store, descriptor, 100) == BODY
    with pytest.raises(SizeMismatch):
        read_blob(store, descriptor, 5)
    store.delete(DIGEST)
    assert list(store.walk()) == []


def test_what_is_not_there(store: LayoutStore) -> None:
    for call in (store.info, store.reader, store.delete, store.abort):
        with pytest.raises(NotFound, match="layout"):
            call(DIGEST)
    assert list(store.walk()) == []
    assert store.statuses() == []
    assert not store.path.exists()


def test_what_is_there_is_not_written_again(store: LayoutStore) -> None:
    put(store, BODY)
    with pytest.raises(AlreadyExists):
        store.writer("ref", expected=DIGEST)
    with store.writer("other") as writer:
        writer.write(BODY)
        with pytest.raises(AlreadyExists):
            writer.commit()


def test_wrong_content_is_refused(store: LayoutStore) -> None:
    with store.writer("a", size=3, expected=DIGEST) as writer:
        with pytest.raises(SizeMismatch, match="longer"):
            writer.write(b"four")
        writer.write(b"tw")
        with pytest.raises(SizeMismatch, match="2 of 3 bytes"):
            writer.commit()
        writer.write(b"o")
        with pytest.raises(DigestMismatch, match=DIGEST):
            writer.commit()
    (status,) = store.statuses()
    assert status.offset == 3
    store.abort("a")
    assert store.statuses() == []
    assert list(store.walk()) == []


def test_sha512(store: LayoutStore) -> None:
    digest = digests.of(BODY, "sha512")
    with store.writer("a", expected=digest) as writer:
        writer.write(BODY)
        assert writer.commit() == digest
    assert [info.digest for info in store.walk()] == [digest]


def path_of(store: LayoutStore, digest: str) -> Path:
    return store.path / "blobs" / digest.replace(":", "/")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_what_is_broken_stays_until_the_good_is_there(store: LayoutStore, algorithm: str) -> None:
    digest, size = digests.of(BODY, algorithm), len(BODY)
    with store.writer("a", expected=digest) as writer:
        writer.write(BODY)
        writer.commit()
    for broken in (b"broken", BODY):  # the latter is not
        path_of(store, digest).write_bytes(broken)
        with store.replacing_writer("a", size=size, expected=digest) as writer:
            writer.write(BODY[::-1])
            with pytest.raises(DigestMismatch):
                writer.commit()
        store.abort("a")
        assert path_of(store, digest).read_bytes() == broken
        with store.replacing_writer("a", size=size, expected=digest) as writer:
            writer.write(BODY)
            assert path_of(store, digest).read_bytes() == broken
            assert writer.commit() == digest
        assert path_of(store, digest).read_bytes() == BODY
        assert store.statuses() == []


def test_a_writer_says_what_it_has_written(store: LayoutStore) -> None:
    with store.writer("a", size=3, expected=digests.of(b"other")) as writer:
        for piece in (b"ab", b"c"):
            writer.write(piece)
            assert writer.status().offset == store.status("a").offset == writer.offset
        assert writer.digest == digests.of(b"abc")
        found = writer.status()
        assert (found.ref, found.total, found.expected) == ("a", 3, digests.of(b"other"))
        assert (found.started_at, found.updated_at) == (store.status("a").updated_at,) * 2
        digest = digests.of(b"abc", "sha512")
        assert writer.commit(expected=digest) == digest == writer.digest
        for use in (writer.status, writer.commit, lambda: writer.write(b"d")):
            with pytest.raises(FailedPrecondition, match="writer of a has ended"):
                use()
    assert [info.digest for info in store.walk()] == [digest]
    with pytest.raises(NotFound, match="no write a"):
        store.status("a")


def test_a_writer_begins_again(store: LayoutStore) -> None:
    with store.writer("a", size=5) as writer:
        writer.write(b"wrong")
        writer.truncate(5)
        with pytest.raises(InvalidArgument, match="truncated to 0 bytes, but not to 3"):
            writer.truncate(3)
        writer.truncate(0)
        assert writer.offset == store.status("a").offset == 0
        writer.write(b"good")
        with pytest.raises(SizeMismatch):
            writer.commit()
        assert writer.commit(size=4) == digests.of(b"good")


def test_a_writer_waits_for_another(store: LayoutStore) -> None:
    first = store.writer("a")
    token = CancelToken()
    cancel = Timer(0.05, token.cancel)
    cancel.start()
    with pytest.raises(Cancelled):
        store.writer("a", lock_timeout=30, cancel=token)
    cancel.join()
    timer = Timer(0.05, first.close)
    timer.start()
    with store.writer("a", lock_timeout=30) as second:
        timer.join()
        with pytest.raises(Unavailable):
            store.writer("a", lock_timeout=0.01)
        second.write(BODY)
        second.commit(expected=DIGEST)
    with pytest.raises(AlreadyExists):
        store.writer("a", expected=DIGEST, lock_timeout=None)


def test_bytes(store: LayoutStore) -> None:
    made = store.put(BODY, media_type="text/plain", labels={"a": "b"})
    assert made == Descriptor("text/plain", DIGEST, len(BODY))
    assert store.put(BODY).media_type == "application/octet-stream"
    assert store.read(DIGEST) == store.read(DIGEST, limit=len(BODY)) == BODY
    with pytest.raises(SizeMismatch, match=r"has 12 bytes, and only 11 .* Pass a larger limit="):
        store.read(DIGEST, limit=11)
    path_of(store, DIGEST).write_bytes(BODY[::-1])
    with pytest.raises(DigestMismatch):
        store.read(DIGEST)
    assert store.statuses() == []


def test_a_ref_has_one_writer(store: LayoutStore) -> None:
    with store.writer("a") as writer:
        writer.write(b"half")
        with pytest.raises(Unavailable, match="locked"):
            store.writer("a")
        assert [status.ref for status in store.statuses()] == ["a"]
        store.writer("b").close()


def test_the_next_writer_goes_on_where_one_stopped(store: LayoutStore) -> None:
    with store.writer("a") as writer:
        writer.write(BODY[:4])
    size = len(BODY)
    with LayoutStore(store.path).writer("a", size=size, expected=DIGEST) as again:
        assert again.offset == 4
        again.write(BODY[4:])
        assert again.commit() == DIGEST
    assert store.statuses() == []


def test_what_a_writer_left_counts_in_the_digest(store: LayoutStore) -> None:
    with store.writer("a") as writer:
        writer.write(b"some lies!")
    with store.writer("a", size=len(BODY), expected=DIGEST) as again:
        again.write(BODY[10:])
        with pytest.raises(DigestMismatch):
            again.commit()


def test_a_writer_of_another_process_counts(store: LayoutStore) -> None:
    with store.writer("a"):
        code = (
            "import sys; from containerd_lite.store.layout_store import LayoutStore\n"
            "from containerd_lite.errors import Unavailable\n"
            "try: LayoutStore(sys.argv[1]).writer('a')\n"
            "except Unavailable: sys.exit(7)"
        )
        done = subprocess.run([sys.executable, "-c", code, str(store.path)], check=False)
        assert done.returncode == 7


def test_names(store: LayoutStore) -> None:
    first = Descriptor(media_types.OCI_MANIFEST, DIGEST, len(BODY), annotations={"kept": "yes"})
    second = Descriptor(media_types.OCI_MANIFEST, digests.of(b"2"), 1)
    assert store.entries() == []
    names = LayoutNames(store)
    names.put("a", first)
    names.put("b", second)
    names.put("a", second)
    ref = "org.opencontainers.image.ref.name"
    index = json.loads((store.path / "index.json").read_bytes())
    found = [(one["digest"], one["annotations"][ref]) for one in index["manifests"]]
    assert found == [(second.digest, "b"), (second.digest, "a")]
    assert index["schemaVersion"] == 2
    assert sorted(path.name for path in store.path.iterdir()) == [
        "blobs", "index.json", "oci-layout",
    ]  # fmt: skip
    assert names.get("b").target == second
    names.delete("b")
    assert [found.name for found in names.list()] == ["a"]
    for ask in (names.get, names.delete):
        with pytest.raises(NotFound, match="'b'"):
            ask("b")
    with pytest.raises(InvalidArgument, match="filters"):
        names.list("name==a")


@pytest.mark.parametrize("body", ["", "{", "[]", '{"schemaVersion": 2, "config": {}}', "\0"])
def test_a_broken_index(store: LayoutStore, body: str) -> None:
    put(store, BODY)
    (store.path / "index.json").write_text(body)
    with pytest.raises(InvalidArgument):
        store.entries()


def test_a_digest_is_no_path(store: LayoutStore) -> None:
    """CVE-2024-3727: the digest names the file, so it has to be one."""
    put(store, BODY)
    (store.path / "canary").write_text("secret")
    for digest in ("sha256:../../canary", "sha256:" + "../" * 20 + "0000", "canary", "x:y"):
        for call in (store.info, store.reader, store.delete):
            with pytest.raises(InvalidArgument):
                call(digest)
        with pytest.raises(InvalidArgument):
            store.writer("ref", expected=digest)
    assert (store.path / "canary").read_text() == "secret"


@pytest.mark.parametrize("ref", ["../../outside", "..", ".", "a/b", "%2e%2e", "layer-sha256:0"])
def test_refs_are_no_paths(store: LayoutStore, ref: str) -> None:
    before = sorted(store.path.parent.rglob("*"))
    with store.writer(ref) as writer:
        writer.write(b"x")
    assert [status.ref for status in store.statuses()] == [ref]
    assert len(list((store.path / ".ingest").iterdir())) == 1
    assert before == []
    assert {path.name for path in store.path.parent.iterdir()} == {"layout"}
    store.abort(ref)


@pytest.mark.parametrize("ref", ["", "r" * 252, "/" * 84])
def test_refs_that_name_no_file(store: LayoutStore, ref: str) -> None:
    """A daemon takes long ones; here ``statuses`` tells the ref by the name of the file."""
    for call in (store.writer, store.abort):
        with pytest.raises(InvalidArgument, match=r"ref of a write.*1 to 251"):
            call(ref)
    store.writer(ref[1:] or "a").close()
    assert [status.ref for status in store.statuses()] == [ref[1:] or "a"]


def test_a_write_that_is_thrown_away_is_not_there(store: LayoutStore) -> None:
    with store.writer("a") as writer:
        writer.write(BODY)
        store.abort("a")
        with pytest.raises(NotFound, match=r"write a .*Start the write again"):
            writer.commit()
    assert list(store.walk()) == []


def test_a_writer_that_lost_its_ref_takes_not_the_next_ones(store: LayoutStore) -> None:
    with store.writer("a") as writer:
        writer.write(BODY)
        store.abort("a")
        with store.writer("a") as other:
            other.write(b"half")
            with pytest.raises(NotFound, match="was aborted"):
                writer.commit()
            assert list(store.walk()) == []
            put(store, BODY)
            with pytest.raises(AlreadyExists):
                writer.commit()
            assert [status.offset for status in store.statuses()] == [4]


def test_filters_are_refused(store: LayoutStore) -> None:
    with pytest.raises(InvalidArgument, match="labels"):
        list(store.walk("labels.a==b"))


def test_writes_that_begin_while_others_end(store: LayoutStore) -> None:
    """The folder of writes comes and goes under everybody's feet."""

    def work(number: int) -> None:
        for round in range(50):
            with store.writer(f"{number}") as writer:
                writer.write(b"%d %d" % (number, round))
                writer.commit()
            store.tidy()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(list(store.walk())) == 200
    assert not (store.path / ".ingest").exists()


def test_the_first_write_makes_all_that_a_layout_has(store: LayoutStore) -> None:
    store.writer("a").close()
    names = sorted(path.name for path in store.path.iterdir())
    assert names == [".ingest", "blobs", "index.json", "oci-layout"]
    index = json.loads((store.path / "index.json").read_bytes())
    assert index == {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": []}


def test_names_are_given_while_the_first_write_makes_the_index(
    store: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one names an image after this one has seen that there is no index."""
    locked = UntrustedFolder.locked

    def late(self: UntrustedFolder) -> AbstractContextManager[None]:
        monkeypatch.undo()
        names = LayoutNames(LayoutStore(store.path))
        names.put("a", Descriptor(media_types.OCI_MANIFEST, DIGEST, 5))
        return locked(self)

    monkeypatch.setattr(UntrustedFolder, "locked", late)
    store.writer("a").close()
    assert [found.name for found in LayoutNames(store).list()] == ["a"]


def test_a_folder_that_becomes_a_layout_while_it_is_looked_at(
    store: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer makes the marker first, and the rest behind it."""
    store.path.mkdir()
    looked = LayoutStore._has_content

    def slow(late: LayoutStore) -> bool:
        monkeypatch.undo()
        put(store, BODY)
        return looked(late)

    monkeypatch.setattr(LayoutStore, "_has_content", slow)
    assert LayoutStore(store.path).info(DIGEST).size == len(BODY)

"""Writing a blob that others may be writing, too."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from containerd_lite.errors import Cancelled, DigestMismatch, NotFound
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.store.blob_writes import write_blob, write_document
from containerd_lite.store.layout_store import LayoutStore
from containerd_lite.store.protocol import Writer, ingest_ref, read_blob

BODY = b'{"a": "document"}'
BLOB = Descriptor(media_types.OCI_CONFIG, digests.of(BODY), len(BODY))


@pytest.fixture
def store(tmp_path: Path) -> LayoutStore:
    return LayoutStore(tmp_path / "layout")


def begin(store: LayoutStore, data: bytes) -> None:
    """What a writer leaves that ends without a commit."""
    with store.writer(ingest_ref(BLOB), size=BLOB.size, expected=BLOB.digest) as writer:
        writer.write(data)


def fill(writer: Writer) -> None:
    writer.write(BODY[writer.offset :])


def test_a_document_is_new_once(store: LayoutStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(write_document, store, BLOB.media_type, BODY) for _ in range(8)]
    found = [task.result() for task in tasks]
    assert {descriptor for descriptor, _ in found} == {BLOB}
    assert [is_new for _, is_new in found].count(True) == 1
    assert read_blob(store, BLOB, 1000) == BODY
    assert not list(store.statuses())


@pytest.mark.parametrize(("left", "tries"), [(b"", 1), (BODY[:5], 1), (b"other", 2)])
def test_what_an_earlier_writer_left_is_used_if_it_is_right(
    store: LayoutStore, left: bytes, tries: int
) -> None:
    begin(store, left)
    begun_at = []

    def noting(writer: Writer) -> None:
        begun_at.append(writer.offset)
        fill(writer)

    assert write_blob(store, BLOB, noting)
    assert begun_at == [len(left), 0][:tries]
    assert read_blob(store, BLOB, 1000) == BODY


@pytest.mark.parametrize("keeps_partial", [False, True])
def test_a_write_that_fails_leaves_only_what_is_to_stay(
    store: LayoutStore, keeps_partial: bool
) -> None:
    def fail(writer: Writer) -> None:
        writer.write(BODY[:3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_blob(store, BLOB, fail, keeps_partial=keeps_partial)
    assert [one.offset for one in store.statuses()] == [3] * keeps_partial
    with pytest.raises(NotFound):
        store.info(BLOB.digest)


def test_other_content_is_refused_at_once(store: LayoutStore) -> None:
    tries = []

    def cheat(writer: Writer) -> None:
        tries.append(writer.write(b"?" * BLOB.size))

    with pytest.raises(DigestMismatch):
        write_blob(store, BLOB, cheat)
    assert len(tries) == 1
    assert not list(store.statuses())


def test_writers_of_this_machine_take_turns(store: LayoutStore) -> None:
    """So none finds the blob taken, for which containerd would hold up everybody."""

    def fill_slowly(writer: Writer) -> None:
        time.sleep(0.01)
        fill(writer)

    def pause(seconds: float, offset: int) -> None:
        raise AssertionError("it was taken")

    def write() -> bool:
        return write_blob(store, BLOB, fill_slowly, pause=pause)

    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(write) for _ in range(4)]
    assert [task.result() for task in tasks].count(True) == 1


def test_another_that_spoils_each_write_is_not_fought_for_ever(
    store: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(store, b"other")
    monkeypatch.setattr(store, "abort", lambda ref: None)
    with pytest.raises(DigestMismatch):
        write_blob(store, BLOB, fill)


def test_a_writer_elsewhere_is_waited_for(store: LayoutStore) -> None:
    seen = []
    with ExitStack() as stack:
        other = stack.enter_context(
            store.writer(ingest_ref(BLOB), size=BLOB.size, expected=BLOB.digest)
        )
        other.write(BODY[:4])

        def pause(seconds: float, offset: int) -> None:
            seen.append(offset)
            stack.close()

        assert write_blob(store, BLOB, fill, pause=pause)
    assert seen == [4]
    assert read_blob(store, BLOB, 1000) == BODY


def test_who_waits_may_give_up(store: LayoutStore) -> None:
    checks: list[None] = []

    def check() -> None:
        checks.append(None)
        if len(checks) > 3:
            raise Cancelled("given up")

    with (
        store.writer(ingest_ref(BLOB), size=BLOB.size, expected=BLOB.digest),
        pytest.raises(Cancelled),
    ):
        write_blob(store, BLOB, fill, check=check, pause=lambda seconds, offset: None)

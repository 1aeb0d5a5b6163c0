"""What the system refuses a layout is said in this package's words; nothing half-made stays."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from containerd_lite import Layout
from containerd_lite.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
)
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.store.folder import explained
from containerd_lite.store.layout_names import LayoutNames
from containerd_lite.store.layout_store import LayoutStore

BODY = b"some content" * 1000
DIGEST = digests.of(BODY)

#: A folder, relative, and who goes there; prints what each call is refused with.
AS_NOBODY = """
import os, sys, containerd_lite
containerd_lite.load("images")
from containerd_lite.store.layout_store import LayoutStore
from containerd_lite.store.layout_names import LayoutNames
from containerd_lite.oci.descriptor import Descriptor
os.chdir(sys.argv[1])
os.setgroups([]); os.setgid(65534); os.setuid(65534)
digest = sys.argv[2]
def tell(call, *args):
    try: call(*args)
    except Exception as error: print(f"{type(error).__module__}.{type(error).__name__}: {error}")
    else: print("done")
if sys.argv[3:]:
    tell(LayoutStore, "layout")
else:
    store = LayoutStore("layout")
    names = LayoutNames(store)
    target = Descriptor("text/plain", digest, 5)
    for call in ((store.writer, "ref"), (store.delete, digest), (names.put, "a", target),
                 (LayoutStore("new/one").writer, "ref"), (store.reader, digest)):
        tell(*call)
"""


@contextmanager
def no_larger_files_than(size: int) -> Iterator[None]:
    """What a full disk is, for those who write: part of it goes in, and then no more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def as_nobody(folder: Path, *args: str) -> list[str]:
    command = [sys.executable, "-c", AS_NOBODY, str(folder), DIGEST, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.splitlines()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InvalidArgument, match=r"file: Not a directory.*Use another"):
        Layout(tmp_path / "file")
    below = LayoutStore(tmp_path / "file" / "layout")
    with pytest.raises(InvalidArgument, match="Not a directory"):
        below.writer("ref")
    with pytest.raises(InvalidArgument, match="Not a directory"):
        below.entries()


def test_a_write_that_finds_no_room_can_go_on_when_there_is_some(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "layout")
    with store.writer("ref", size=len(BODY), expected=DIGEST) as writer:
        with no_larger_files_than(5000), pytest.raises(ResourceExhausted, match=r"layout.*disk"):
            writer.write(BODY)
        assert writer.offset == 5000
        writer.write(BODY[5000:])
        assert writer.commit() == DIGEST


def test_an_index_that_finds_no_room_stays_as_it_was(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "layout")
    names = LayoutNames(store)
    names.put("a", Descriptor(media_types.OCI_MANIFEST, DIGEST, 5))
    before = (store.path / "index.json").read_bytes()
    with no_larger_files_than(len(before)), pytest.raises(ResourceExhausted, match="disk space"):
        names.put("b", Descriptor(media_types.OCI_MANIFEST, DIGEST, 5))
    assert (store.path / "index.json").read_bytes() == before
    assert {path.name for path in store.path.iterdir()} == {"oci-layout", "index.json", "blobs"}


def test_an_index_is_synced_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is renamed before its content is on the disk can be empty after a crash."""
    calls: list[tuple[str, bool]] = []
    sync, rename = os.fsync, os.rename

    def syncing(file: int) -> None:
        calls.append(("fsync", stat.S_ISREG(os.fstat(file).st_mode)))
        sync(file)

    def renaming(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        calls.append(("rename", new == "index.json"))
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    store = LayoutStore(tmp_path / "layout")
    store.writer("ref").close()
    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "rename", renaming)
    LayoutNames(store).put("a", Descriptor(media_types.OCI_MANIFEST, DIGEST, 5))
    assert calls == [("fsync", True), ("rename", True)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "layout")
    tmp_path.chmod(0o755)
    with store.writer("ref") as writer:
        writer.write(BODY)
        writer.commit()
    store.tidy()
    (store.path / "blobs" / DIGEST.replace(":", "/")).chmod(0o600)
    said = as_nobody(tmp_path)
    assert len(said) == 5
    for line in said:
        assert line.startswith("containerd_lite.errors.PermissionDenied: ")
        assert "Permission denied. Run as a user" in line
    store.path.chmod(0o700)
    (line,) = as_nobody(tmp_path, "closed")
    assert line.startswith("containerd_lite.errors.PermissionDenied: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout"]


def test_errors_of_our_own_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded), explained(tmp_path):
        raise DeadlineExceeded("late")  # which is an OSError
    with pytest.raises(FailedPrecondition, match=f"{tmp_path}: odd"), explained(tmp_path):
        raise OSError(9999, "odd")

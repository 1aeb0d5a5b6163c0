"""What an archive is written to."""

from __future__ import annotations

import io
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from containerd_lite import Layout
from containerd_lite.errors import InvalidArgument, ResourceExhausted
from tests.harness import images

OURS = images.random_image([200_000, 3_000_000])
NAME = "docker.io/library/app:1"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(images.write_layout(OURS, tmp_path / "layout", NAME))


def exported(layout: Layout) -> bytes:
    target = io.BytesIO()
    layout.export_images(target, NAME)
    return target.getvalue()


def test_a_file_is_replaced_whole(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "out.tar"
    path.write_bytes(bytes(10_000_000))
    layout.export_images(path, NAME)
    assert path.read_bytes() == exported(layout)
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_pipe_is_written_to(layout: Layout, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()))
    thread.start()
    layout.export_images(tmp_path / "pipe", NAME)
    thread.join(5)
    assert found == [exported(layout)]
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_full_disk_is_told(layout: Layout, buffering: int) -> None:
    with open("/dev/full", "wb", buffering) as file:
        with pytest.raises(ResourceExhausted, match=r"^/dev/full: No space left on device"):
            layout.export_images(file, NAME)
        with suppress(OSError):  # the bytes in the buffer
            file.close()


def test_a_raw_file_may_take_less_at_a_time(layout: Layout) -> None:
    class Slow(io.RawIOBase):
        taken = b""

        def writable(self) -> bool:
            return True

        def write(self, data: memoryview) -> int:  # type: ignore[override]
            self.taken += bytes(data[:100_000])
            return min(len(data), 100_000)

    slow = Slow()
    layout.export_images(slow, NAME)  # type: ignore[arg-type]
    assert slow.taken == exported(layout)


def test_a_file_need_not_say_what_it_took(layout: Layout) -> None:
    class Quiet:
        taken = b""

        def write(self, data: memoryview) -> None:
            self.taken += data

    quiet = Quiet()
    layout.export_images(quiet, NAME)  # type: ignore[arg-type]
    assert quiet.taken == exported(layout)


def test_a_pipe_that_does_not_wait_stays_one(layout: Layout) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    found: list[bytes] = []
    with open(reading, "rb") as source, open(writing, "wb", buffering=0) as file:
        thread = threading.Thread(target=lambda: found.append(source.read()))
        thread.start()
        layout.export_images(file, NAME)
        assert not os.get_blocking(writing)
        file.close()
        thread.join()
    assert found == [exported(layout)]


def test_a_raw_file_that_takes_nothing_is_refused(layout: Layout) -> None:
    class Stuck(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: memoryview) -> None:  # type: ignore[override]
            return None

    with pytest.raises(InvalidArgument, match="non-blocking"):
        layout.export_images(Stuck(), NAME)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_link_stays_one(layout: Layout, tmp_path: Path, is_there: bool) -> None:
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "real.tar", tmp_path / "latest.tar"
    link.symlink_to("folder/real.tar")
    if is_there:
        real.touch(0o640)
    layout.export_images(link, NAME)
    assert link.is_symlink()
    assert real.read_bytes() == exported(layout)
    assert not is_there or real.stat().st_mode & 0o777 == 0o640
    assert os.listdir(real.parent) == ["real.tar"]


def test_links_that_lead_in_a_circle(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InvalidArgument, match="symbolic links"):
        layout.export_images(tmp_path / "a", NAME)


def test_a_file_that_is_open_is_written_to(layout: Layout, tmp_path: Path) -> None:
    """As /dev/stdout is."""
    link = tmp_path / "stdout"
    with open(tmp_path / "redirected", "w+b") as file:
        link.symlink_to(f"/proc/self/fd/{file.fileno()}")
        layout.export_images(link, NAME)
        assert file.read() == exported(layout)
    assert link.is_symlink()

"""The ready callbacks for rich, tqdm and logging, with the packages themselves."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from containerd_lite import (
    Layout,
    Overall,
    ProgressEvent,
    log_progress,
    rich_progress,
    tqdm_progress,
)
from containerd_lite.progress import ProgressCallback
from tests.harness import images
from tests.unit.images.own import OwnResolver

ROOT = Path(__file__).resolve().parents[2]
IMAGE = images.random_image([200_000, 3_000_000])
TOTAL = sum(map(len, IMAGE.blobs.values()))
NAME = "Own Name!"


def pull(folder: Path, progress: ProgressCallback) -> None:
    with Layout(folder) as layout:
        layout.pull(NAME, resolver=OwnResolver(IMAGE), progress=progress)


def test_rich(tmp_path: Path) -> None:
    pytest.importorskip("rich", reason="rich is not installed")
    from rich.console import Console

    shown = io.StringIO()
    with rich_progress(Console(file=shown, force_terminal=True, width=120)) as progress:
        pull(tmp_path, progress)
        progress(ProgressEvent("retrying", "manifest [bold]x[/bold]", reason="busy"))
    last = shown.getvalue().rpartition(NAME)[2]
    assert "retrying" in last.partition("\n")[0]
    assert f"{TOTAL / (1 << 20):.1f}/{TOTAL / (1 << 20):.1f} MiB" in last
    for digest, body in IMAGE.blobs.items():
        row = last.partition(digest[:19])[2].partition("\n")[0]
        unit = next(size for size in (1 << 20, 1 << 10, 1) if len(body) >= size)
        size = f"{len(body) / unit:.1f}" if unit > 1 else f"{len(body)}"
        assert f"{size}/{size}" in row
        assert "downloaded" in row


def test_rich_shows_a_bar_for_each_blob_once_the_manifest_is_read(tmp_path: Path) -> None:
    pytest.importorskip("rich", reason="rich is not installed")
    from rich.console import Console

    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120)

    class Seen(Exception):
        pass

    def stop(event: ProgressEvent) -> None:
        progress(event)
        if event.stage == "downloading" and event.overall.total is not None:
            raise Seen

    with rich_progress(console) as progress, pytest.raises(Seen):
        pull(tmp_path, stop)
    assert all(digest[:19] in shown.getvalue() for digest in IMAGE.blobs)


def test_tqdm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("tqdm", reason="tqdm is not installed")
    monkeypatch.setattr(package.tqdm, "monitor_interval", 0)  # a thread that never ends
    shown = io.StringIO()
    with tqdm_progress(shown) as progress:
        pull(tmp_path, progress)
    last = shown.getvalue().rpartition("\r")[2]
    assert last.startswith(f"{NAME}: 100%|")
    assert f"{TOTAL / (1 << 20):.2f}M/{TOTAL / (1 << 20):.2f}M" in last


def test_logging(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with log_progress(interval=float("inf")) as progress:
        pull(tmp_path / "quiet", progress)
    whole = f"{TOTAL / (1 << 20):.1f} MiB of {TOTAL / (1 << 20):.1f} MiB"
    assert {record.name for record in caplog.records} == {"containerd_lite.progress"}
    *lines, last = caplog.messages
    assert lines == [f"{stage:11} {NAME}" for stage in ("resolving", "resolved", "done")]
    assert last.startswith(whole)
    caplog.clear()
    logger = logging.getLogger("mine")
    caplog.set_level(logging.DEBUG, "mine")
    with log_progress(logger, level=logging.WARNING, interval=0) as progress:
        pull(tmp_path / "chatty", progress)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert sum(whole in message for message in warnings) >= 2  # all was there before the end
    told = {record.message for record in caplog.records if record.levelname == "DEBUG"}
    assert {f"downloaded  {digest[:19]}" for digest in IMAGE.blobs} <= told
    assert not [message for message in told if message.startswith("waiting")]


@pytest.mark.parametrize(
    ("overall", "text"),
    [
        (Overall(), "0 B"),
        (Overall(1023, None, 0.0, None), "1023 B"),
        (Overall(3 << 19, 3 << 20, 2048.0, 767.4), "1.5 MiB of 3.0 MiB, 2.0 KiB/s, 768 s left"),
        (Overall(5 << 30, 5 << 30, 1.0, 0.0), "5.0 GiB of 5.0 GiB, 1 B/s"),
        (Overall(5 << 40, 5 << 40), "5120.0 GiB of 5120.0 GiB"),
    ],
)
def test_texts(overall: Overall, text: str) -> None:
    assert str(overall) == text


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from containerd_lite import FailedPrecondition, rich_progress, tqdm_progress
try:
    with {"rich": rich_progress, "tqdm": tqdm_progress}[sys.argv[1]]():
        pass
except FailedPrecondition as error:
    print(error)
"""


@pytest.mark.parametrize("package", ["rich", "tqdm"])
def test_a_missing_package_is_named(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, package], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert f"needs the package {package}" in done.stdout
    assert f"pip install {package}" in done.stdout

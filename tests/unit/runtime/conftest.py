"""Fixtures for what makes FIFOs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerd_lite.runtime.io import fifos
from tests.harness.leaks import open_files


@pytest.fixture
def fifo_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nobody here needs root, and nobody leaves anything."""
    folder = tmp_path / "fifos"
    monkeypatch.setattr(fifos, "FIFO_FOLDER", folder)
    files, threads = open_files(), set(threading.enumerate())
    yield folder
    assert not folder.exists() or list(folder.iterdir()) == []
    assert open_files() == files
    assert set(threading.enumerate()) == threads

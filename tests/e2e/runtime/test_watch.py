"""Looking at what runs: its log, its processes, what it uses."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import FailedPrecondition, NotFound
from containerd_lite.images.image import Image
from containerd_lite.runtime.io import LogFile
from tests.e2e.runtime.conftest import Make
from tests.harness.process import wait_until

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.generations,
    pytest.mark.usefixtures("nothing_left"),
]
_PATIENCE = 10.0


def test_logs(client: Client, image: Image, make: Make, tmp_path: Path) -> None:
    script = "echo one; echo two; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo three"
    container = make("sh", "-c", script)
    with container.new_task(LogFile(tmp_path / "a log")) as task:
        task.start()
        assert wait_until(lambda: b"".join(container.logs()) == b"one\ntwo\n", _PATIENCE)
        assert b"".join(container.logs(tail=1)) == b"two\n"
        followed: list[bytes] = []
        reader = threading.Thread(target=lambda: followed.extend(container.logs(follow=True)))
        reader.start()
        container.exec(["touch", "/tmp/go"])
        reader.join(_PATIENCE)
        assert not reader.is_alive()
        assert b"".join(followed) == b"one\ntwo\nthree\n"
    with pytest.raises(FailedPrecondition, match="no log"):
        container.logs()
    with container.new_task() as task, pytest.raises(FailedPrecondition, match="no log"):
        container.logs()


def test_top(make: Make) -> None:
    container = make("sh", "-c", "sleep 998 & sleep 999; true")
    with container.new_task() as task:
        task.start()
        process = task.exec(["sleep", "997"], id="more", user="7:8")
        process.start()
        wanted = {"sh -c sleep 998 & sleep 999; true", "sleep 998", "sleep 999", "sleep 997"}
        assert wait_until(lambda: {one.command for one in task.top()} == wanted, _PATIENCE)
        found = {one.command: one for one in task.top()}
        first, more = found["sh -c sleep 998 & sleep 999; true"], found["sleep 997"]
        assert (first.pid, first.uid, first.exec_id) == (task.pid, 0, "")
        assert (more.pid, more.uid, more.exec_id) == (process.pid, 7, "more")
        assert found["sleep 998"].parent == first.pid
        assert first.state in "SR"
        assert first.rss > 0
        assert 0 <= first.elapsed < 60
        process.delete(force=True)


def test_stats(make: Make) -> None:
    container = make("sh", "-c", "while :; do :; done", memory=64 << 20, pids_limit=50)
    with container.new_task() as task:
        task.start()
        first = task.stats()
        assert (first.id, first.cpu, first.memory_limit, first.pids_limit) == (
            container.id, None, 64 << 20, 50,
        )  # fmt: skip
        # Before it is what was to be run it is still runc's, which has threads.
        assert wait_until(lambda: task.stats().pids == 1, _PATIENCE)
        assert first.network is not None
        assert first.network.rx_bytes == 0  # it is connected to nothing
        assert wait_until(lambda: task.stats().cpu_time > first.cpu_time, _PATIENCE)
        later = task.stats(first)
        assert later.cpu is not None
        assert 0 < later.cpu < 2 * (os.cpu_count() or 1)
        task.kill("KILL")
        task.wait(_PATIENCE)
        with pytest.raises(NotFound, match="has ended"):
            task.stats()
    with pytest.raises(NotFound):
        task.stats()

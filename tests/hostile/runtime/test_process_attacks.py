"""Stop signals that an image names, and forks, against processes."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import InvalidArgument
from containerd_lite.runtime.labels import STOP_SIGNAL
from tests.conftest import ROOT
from tests.unit.services.scripted_daemon import Calls, serving


def answers(stop_signal: str) -> dict[str, Any]:
    return {
        "Containers/Get": lambda m: {
            "container": {
                "id": m.id,
                "labels": {STOP_SIGNAL: stop_signal},
                "runtime": {"name": "io.containerd.runc.v2"},
            }
        },
        "Tasks/Get": lambda m: {"process": {"id": m.container_id, "pid": 7, "status": 2}},
        "Tasks/Kill": lambda m: {},
        "Tasks/Wait": lambda m: {"exit_status": 143, "exited_at": {"seconds": 1}},
    }


def stopped(stop_signal: str) -> list[int]:
    """The numbers of the signals that a task of an image with this stop signal gets."""
    calls: Calls = []
    with (
        serving(answers(stop_signal), calls) as (channel, _),
        Client(channel=channel, namespace="ns") as client,
    ):
        assert client.load_container("c1").task().stop().exit_status == 143
    return [message.signal for name, message in calls if name == "Tasks/Kill"]


@pytest.mark.parametrize(
    "named",
    ["NOPE", "0", "-5", "9999", "65", " ", "9" * 5000, "SIG" * 9000, "\x1b[2J\x1b]0;x\x07", "¹⁵"],
    ids=lambda text: ascii(text[:12]),
)
def test_a_stop_signal_that_does_not_exist(named: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "containerd_lite"):
        assert stopped(named) == [15]
    (line,) = caplog.messages
    assert "container c1: unknown stop signal" in line
    assert "SIGTERM" in line
    assert line.isprintable()
    assert len(line) < 300


@pytest.mark.parametrize(("named", "number"), [("SIGQUIT", 3), ("USR1", 10), ("RTMIN+3", 37)])
def test_a_stop_signal_that_exists(
    named: str, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert stopped(named) == [number]
    assert caplog.messages == []


def test_the_callers_own_signal_must_exist() -> None:
    with (
        serving(answers("NOPE"), []) as (channel, _),
        Client(channel=channel, namespace="ns") as client,
        pytest.raises(InvalidArgument, match="unknown signal 'NOPE'"),
    ):
        client.load_container("c1").task().stop(signal="NOPE")


#: A thread waits for a process while the main thread forks; the child waits for the same process.
FORK = """
import os, signal, threading, traceback, warnings
from containerd_lite import Client
from tests.hostile.runtime.test_process_attacks import answers
from tests.unit.services.scripted_daemon import serving

warnings.simplefilter("ignore", DeprecationWarning)  # fork and threads: that is what this is for
over, waiting = threading.Event(), threading.Semaphore(0)

def wait(message):
    waiting.release()
    over.wait(20)
    return {"exit_status": 3, "exited_at": {"seconds": 1}}

all_answers = {**answers("TERM"), "Tasks/Wait": wait}
with serving(all_answers, []) as (channel, _), Client(channel=channel, namespace="ns") as client:
    task = client.load_container("c1").task()
    thread = threading.Thread(target=task.wait)
    thread.start()
    waiting.acquire()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            os._exit(task.wait().exit_status)
        finally:
            traceback.print_exc()
            os._exit(1)
    waiting.acquire(timeout=5)
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
"""


def test_a_forked_child_waits_though_a_thread_of_its_parent_waited() -> None:
    command = [sys.executable, "-c", FORK]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=40)
    assert (done.returncode, done.stderr) == (0, "")

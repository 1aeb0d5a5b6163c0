"""One at a time, for each key."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerd_lite.store import write_locks
from containerd_lite.store.write_locks import write_lock
from tests.conftest import ROOT


def test_one_at_a_time() -> None:
    inside, most, done = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(50):
            with write_lock("key", lambda: None):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1
                    done += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (1, 400)
    assert write_locks._states.get().locks == {}  # nothing is remembered of what is over


def test_other_keys_do_not_wait() -> None:
    with write_lock("a", lambda: None), write_lock("b", lambda: None):
        assert len(write_locks._states.get().locks) == 2


def test_who_waits_can_give_up() -> None:
    class GivenUp(Exception):
        pass

    def check() -> None:
        raise GivenUp

    with write_lock("key", lambda: None):
        failed = []

        def wait() -> None:
            try:
                with write_lock("key", check):
                    raise AssertionError("both are inside")
            except GivenUp as error:
                failed.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(5)
        assert len(failed) == 1
    assert write_locks._states.get().locks == {}


def test_an_error_inside_lets_the_next_one_in() -> None:
    with pytest.raises(KeyError), write_lock("key", lambda: None):
        raise KeyError
    with write_lock("key", lambda: None):
        pass


# ---- another process ---------------------------------------------------------------------------

HOLD = """
import sys
from containerd_lite.store.write_locks import write_lock

with write_lock(("machine", sys.argv[1]), lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the turn of ``("machine", …)`` for as long as it lives."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_waited_for(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    looks = 0

    def end_it() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            holder.kill()
            holder.wait()

    with write_lock(("machine", str(tmp_path)), end_it):
        assert holder.poll() is not None  # not before it was gone, and at once when it was
    with write_lock(("machine", "another"), lambda: None):
        pass


def test_a_process_that_does_not_listen_yet_is_waited_for(tmp_path: Path) -> None:
    """It is between its two calls, bind and listen."""
    key, looks = ("machine", str(tmp_path)), 0
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(write_locks._socket_name(key))

        def end_it() -> None:
            nonlocal looks
            looks += 1
            if looks == 3:
                other.close()

        with write_lock(key, end_it):
            assert looks == 3


def test_many_wait_for_another_process(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    waiting, inside, over = threading.Barrier(5), [], threading.Event()

    def wait(number: int) -> None:
        is_first = True

        def look() -> None:
            nonlocal is_first
            if is_first:
                is_first = False
                waiting.wait(5)

        # Each by a key of its own in this process, and all by one on the machine.
        with write_locks._machine_lock(write_locks._socket_name(("machine", str(tmp_path))), look):
            inside.append((number, over.is_set()))

    threads = [threading.Thread(target=wait, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    waiting.wait(5)
    over.set()
    holder.kill()
    for thread in threads:
        thread.join(5)
    assert sorted(number for number, _ in inside) == [0, 1, 2, 3]
    assert all(was_over for _, was_over in inside)


def test_one_that_never_ends_is_passed_by(
    holder: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_locks, "_TIMEOUT", 0.3)
    with write_lock(("machine", str(tmp_path)), lambda: None):
        assert holder.poll() is None


def test_who_waits_for_another_process_can_give_up(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    def check() -> None:
        raise LookupError

    with pytest.raises(LookupError), write_lock(("machine", str(tmp_path)), check):
        raise AssertionError("both are inside")

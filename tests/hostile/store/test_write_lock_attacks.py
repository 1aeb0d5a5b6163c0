"""Other users of the machine, and forks, against the locks of writes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from containerd_lite.store import write_locks
from containerd_lite.store.write_locks import write_lock
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="abstract names exist on Linux only"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

#: Binds the name of a lock as the user ``argv[2]``, treats those who connect as ``argv[3]`` says,
#: and stays until its stdin ends.
HOLD = """
import os, socket, sys, threading
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
how = sys.argv[3]
holder = socket.socket(socket.AF_UNIX)
holder.bind(bytes.fromhex(sys.argv[1]))
if how != "deaf":
    holder.listen(0 if how == "full" else 64)
kept = []
if how == "full":
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        try:
            client.connect(bytes.fromhex(sys.argv[1]))
        except BlockingIOError:
            break
        kept.append(client)
def serve():
    while True:
        client = holder.accept()[0]
        if how == "flood":
            kept.append(client)
            try:
                client.sendall(bytes(1 << 20))
            except OSError:
                pass
        client.close()
if how in ("flood", "hangs_up"):
    threading.Thread(target=serve, daemon=True).start()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(key: object, uid: int, how: str) -> Iterator[None]:
    name = write_locks._socket_name(str(key)).hex()
    command = [sys.executable, "-c", HOLD, name, str(uid), how]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.kill()


class Waited(Exception):
    pass


@needs_root
@pytest.mark.parametrize("how", ["silent", "flood", "hangs_up", "deaf", "full"])
def test_another_user_holds_nobody_up(how: str, tmp_path: Path) -> None:
    """A wait of 60 seconds looks at least 600 times; ``deaf`` and ``full`` cost 0.2 seconds."""
    looks, is_inside = 0, False

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks > 400:
            raise Waited

    with held(tmp_path, 65534, how), write_lock(str(tmp_path), check):
        is_inside = True
    assert is_inside


@needs_root
def test_another_user_is_not_waited_for_at_all(tmp_path: Path) -> None:
    looks = 0

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks > 2:
            raise Waited

    with held(tmp_path, 65534, "silent"), write_lock(str(tmp_path), check):
        assert looks <= 2


def test_the_same_user_is_waited_for(tmp_path: Path) -> None:
    looks = 0

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks > 3:
            raise Waited

    with (
        held(tmp_path, os.geteuid(), "silent"),
        pytest.raises(Waited),
        write_lock(str(tmp_path), check),
    ):
        raise AssertionError("both are inside")


# ---- forks -------------------------------------------------------------------------------------

#: A thread holds the lock of "key" while the main thread forks ``CHILD``.
FORK = """
import os, signal, sys, threading, warnings
from containerd_lite.store import write_locks
from containerd_lite.store.write_locks import write_lock

warnings.simplefilter("ignore", DeprecationWarning)  # fork and threads: that is what this is for
key = sys.argv[1]
inside, leave = threading.Event(), threading.Event()

def hold():
    with write_lock(key, lambda: None):
        inside.set()
        leave.wait(20)

def looks(most):
    count = 0
    def check():
        nonlocal count
        count += 1
        if count > most:
            os._exit(7)
    return check

def parent_leaves():
    leave.set()
    thread.join()

thread = threading.Thread(target=hold)
"""
WAITS = """
thread.start()
inside.wait()
go, ready = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    def check():
        os.write(ready[1], b"x")
        return count()
    count = looks(100)
    with write_lock(key, check):
        os._exit(0)
os.read(ready[0], 1)
parent_leaves()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
INSIDE = """
with write_lock(key, lambda: None):
    pid = os.fork()
    if pid:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    else:
        signal.alarm(20)
        write_locks._states.get() if hasattr(write_locks, "_states") else None
if not pid:
    os._exit(0)
assert code == 0, code
with write_lock(key, looks(1)):
    pass
"""
GUARD = """
state = write_locks._states.get() if hasattr(write_locks, "_states") else None
with state.guard if state else write_locks._guard:
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)
        with write_lock(key, looks(1)):
            os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
CLOSED = """
thread.start()
inside.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    os.closerange(3, 100)
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(30)]
    with write_lock("another", looks(1)):
        pass
    for file in files:
        os.fstat(file)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
parent_leaves()
"""


#: A thread is in the middle of a change of the cache of users while the main thread forks.
USERS = """
from types import SimpleNamespace
from containerd_lite.runtime.users.kept_users import UserFileCache

cache = UserFileCache()
store, manifest = SimpleNamespace(identity="store"), SimpleNamespace(layers=())

class Slow(dict):
    def move_to_end(self, key):
        inside.set()
        leave.wait(20)

cache._add(("store",), (b"", None))
entries, cache._files = cache._files, Slow(cache._files)
thread = threading.Thread(target=cache.get, args=(store, manifest))
thread.start()
inside.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(5)
    cache._files = entries
    os._exit(cache.get(store, manifest) != (b"", None))
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
parent_leaves()
"""


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(WAITS, id="while_a_thread_holds_the_lock"),
        pytest.param(INSIDE, id="in_the_block"),
        pytest.param(GUARD, id="while_a_thread_changes_the_table"),
        pytest.param(CLOSED, id="and_closes_all_descriptors"),
        pytest.param(USERS, id="while_a_thread_changes_the_cache_of_users"),
    ],
)
def test_a_forked_child_does_not_wait_for_its_parents_threads(scene: str, tmp_path: Path) -> None:
    program = textwrap.dedent(FORK) + textwrap.dedent(scene)
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=40)
    assert (done.returncode, done.stderr) == (0, "")

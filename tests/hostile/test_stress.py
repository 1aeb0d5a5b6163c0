"""Many threads on one client, on each of protobuf's backends; and forks in the midst of calls."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import Cancelled
from containerd_lite.oci import digest as digests
from containerd_lite.schema.pool import Schema
from tests.conftest import ROOT, Count
from tests.harness import Unavailable, debian
from tests.harness.daemon import Daemon
from tests.harness.leaks import Watch
from tests.hostile.stress import ROLES
from tests.wire.peer import PATIENCE, Worker

pytestmark = pytest.mark.dependencies

#: What Debian 12's Python needs to run the package, out of that release's packages.
_PACKAGES = ("protobuf", "h2", "hpack", "hyperframe", "urllib3", "six")
_DEBIANS_PYTHON = "/usr/bin/python3"
#: Of several files, which import others.
MESSAGES = [
    "containerd.services.images.v1.Image",
    "containerd.services.tasks.v1.CreateTaskRequest",
    "containerd.services.containers.v1.Container",
    "containerd.services.content.v1.WriteContentRequest",
    "google.rpc.Status",
]
#: protobuf's switch.  Without it, the fastest backend that there is.
_SWITCH = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"

#: Runs a module as `-m` does, with folders before and behind what is installed.
_RUN = """
import runpy, sys
first, last, module = sys.argv[1:4]
sys.path[:0] = filter(None, first.split(":"))
sys.path.append(last)
sys.argv[1:4] = []
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
_TYPE = """
import sys
sys.path[:0] = filter(None, sys.argv[1].split(":"))
from google.protobuf.internal import api_implementation
print(api_implementation.Type())
"""


@dataclass(frozen=True)
class Backend:
    """A Python whose protobuf has the backend that is wanted."""

    python: str
    folders: str
    env: dict[str, str]

    def run(self, code: str, *args: str, timeout: float) -> subprocess.CompletedProcess[str]:
        # -I and -S: whatever Debian's Python has besides must not come in between.
        isolated = ["-I", "-S"] if self.folders else ["-I"]
        argv = [self.python, *isolated, "-W", "error", "-c", code, self.folders, *args]
        return subprocess.run(
            argv, env=self.env, cwd="/", capture_output=True, text=True, timeout=timeout
        )


def _debians() -> Backend:
    """Debian 12's Python with its packages: the only place where the backend `cpp` lives on."""
    if not Path(_DEBIANS_PYTHON).exists():
        raise Unavailable(f"there is no {_DEBIANS_PYTHON}")
    packages = [debian.folder(f"python3-{name}", "bookworm") for name in _PACKAGES]
    libraries = debian.folder("libprotobuf32", "bookworm").glob("usr/lib/*-linux-*")
    env = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": ":".join(map(str, libraries))}
    return Backend(
        _DEBIANS_PYTHON, ":".join(f"{one}/usr/lib/python3/dist-packages" for one in packages), env
    )


@pytest.fixture(scope="session", params=["upb", "python", "cpp"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend, as far as this machine has it."""
    name: str = request.param
    env = {key: value for key, value in os.environ.items() if key != _SWITCH}
    switched = {**env, _SWITCH: name} if name == "python" else env
    try:
        found = _debians() if name == "cpp" else Backend(sys.executable, "", switched)
    except Unavailable as reason:
        pytest.skip(f"protobuf's backend {name}: {reason}")
    probe = found.run(_TYPE, timeout=60)
    if probe.stdout.strip() != name:
        said = (probe.stderr.strip() or probe.stdout.strip()).splitlines()[-1:]
        pytest.skip(f"protobuf's backend {name} cannot be had with {found.python}: {said}")
    return found


@pytest.mark.turns(2)
@pytest.mark.daemon
def test_many_threads_on_one_client(
    request: pytest.FixtureRequest, daemon: Daemon, backend: Backend, count: Count
) -> None:
    rounds, namespace = count(30, 1000), daemon.new_namespace()
    done = backend.run(
        _RUN, str(ROOT), "tests.hostile.stress", daemon.address, namespace, str(rounds), timeout=900
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["backend"] == request.node.callspec.params["backend"]
    # A round of a hasty thread is two calls, a canceller has none of its own.
    expected = rounds * (sum(ROLES.values()) + ROLES["hasty"] - ROLES["canceller"])
    assert sum(told["ended"].values()) == expected
    assert told["fewest"] > 0
    assert {"answered", "Cancelled", "DeadlineExceeded"} <= told["ended"].keys()
    assert told["disturbances"] == 2 * (rounds // 5)
    assert not [name for name in daemon.namespaces() if name.startswith(namespace)]


# ---- fork --------------------------------------------------------------------------------------


def waited_for(pid: int) -> int:
    """The exit code of a child, which is killed if it hangs."""
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], PATIENCE)[0]:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_child(work: Callable[[], object]) -> int:
    """Do something in a forked child that does nothing else; returns its exit code."""
    pid = os.fork()
    if pid:
        return waited_for(pid)
    code = 1  # pragma: no cover - the child's coverage is lost
    try:
        work()
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


@contextmanager
def others(*works: Callable[[], object]) -> Iterator[None]:
    """Threads that each do their work over and over, until the block is left."""
    over = threading.Event()

    def repeat(work: Callable[[], object]) -> None:
        while not over.is_set():
            work()

    workers = [Worker(repeat, work) for work in works]
    try:
        yield
    finally:
        over.set()
        for worker in workers:
            worker.result()


@pytest.mark.turns(3, "heavy")
@pytest.mark.daemon
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forks_in_the_midst_of_calls(
    client: Client, namespace: str, no_leftovers: Watch, count: Count
) -> None:
    """Whatever other threads hold at that moment, a child has a connection of its own."""
    body = random.Random(namespace).randbytes(300_000)
    digest = digests.of(body)
    with client.lease() as lease, client.event_service.subscribe("topic==never") as events:
        with client.content_store.writer("b", size=len(body), expected=digest) as writer:
            writer.write(body)
            writer.commit()

        def ask() -> None:
            assert [one.id for one in client.lease_service.list()] == [lease]

        def read() -> None:
            with client.content_store.reader(digest) as reader:
                assert reader.read() == body

        def both() -> None:
            ask()
            read()

        with others(ask, ask, read, read):
            for number in range(count(50, 1000)):
                assert in_child(both if number % 2 else ask) == 0, f"fork {number}"
        both()
        assert events.poll() is None
        events.raw.cancel()
        with pytest.raises(Cancelled):  # the stream is still this process's
            events.receive()


@pytest.mark.turns(3, "heavy")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forks_while_classes_are_made(count: Count) -> None:
    """A child needs a class, too; whoever was just making one does not exist there."""
    schema = Schema("containerd_lite.schema", "sets")

    def make() -> None:
        nonlocal schema
        schema = Schema("containerd_lite.schema", "sets")
        for name in MESSAGES:
            schema.message(name)

    def need() -> None:
        assert schema.message("containerd.runc.v1.Options").DESCRIPTOR.name == "Options"

    with others(make, make):
        for number in range(count(50, 1000)):
            assert in_child(need) == 0, f"fork {number}"

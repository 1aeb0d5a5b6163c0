"""The fixtures that every test may ask for: real daemons, a real registry, and a look at the mess.

A machine that cannot have a daemon skips its tests, and the closing lines say so; in CI
(``CI=true``) the registry and containerd 1.6 must run, else their tests fail.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # last: the package that is installed is the one under test

from tests.harness import Unavailable, debian, images, kernel  # noqa: E402
from tests.harness.daemon import SUITES, Daemon, Programs, available  # noqa: E402
from tests.harness.leaks import Watch  # noqa: E402
from tests.harness.outcomes import CLOSING, Recorder, keep_failed  # noqa: E402
from tests.harness.registry import Registry  # noqa: E402

if TYPE_CHECKING:
    from containerd_lite import Client

IN_CI = os.environ.get("CI") == "true"
REQUIRED = SUITES[0]
SERVICES = "tests/e2e/services/"
#: The marks of the tests that have these fixtures.
MARKS = {"daemon": "daemon", "busybox": "registry"}

Count = Callable[[int, int], int]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--counts",
        choices=("reduced", "full"),
        default="reduced",
        help="how often tests of many rounds go round (full: as often as the issues say)",
    )
    parser.addoption(
        "--daemons",
        default=",".join(SUITES),
        help="the Debian releases whose containerd to test with (%(default)s)",
    )
    parser.addoption(
        "--generations",
        choices=("chosen", "all"),
        default="chosen",
        help="chosen: only tests marked `generations` run on each daemon, the others on one that"
        " the commit and the name of the test choose",
    )
    parser.addoption("--commit", default=_commit(), help="chooses the daemons (this commit)")
    parser.addoption("--outcomes", type=Path, help="the file to write the tests' outcomes into")
    parser.addoption("--again", type=Path, help="run what failed in the run that wrote this file")


def _commit() -> str:
    """Return the commit that is tested, or an empty string without git."""
    argv = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist, which reports to its controller
    if not is_worker and (path := config.getoption("outcomes")):
        config.pluginmanager.register(Recorder(path))
    if end := os.environ.get("CONTAINERD_LITE_END"):
        # descriptor 2 is still the lane's: pytest captures while it loads and runs tests
        seconds = max(1.0, float(end) - time.monotonic())
        faulthandler.dump_traceback_later(seconds, file=os.dup(2))


def pytest_sessionstart() -> None:
    # A shell lets background jobs ignore these signals; tests send them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with suppress(Unavailable):  # a daemon cannot run there either, and says so
        kernel.own_run()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, mark in MARKS.items():
            if fixture in getattr(item, "fixturenames", ()) and not item.get_closest_marker(mark):
                raise pytest.UsageError(f"{item.nodeid} has {fixture}: mark it with {mark}")
    if path := config.getoption("again"):
        keep_failed(items, path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "daemon" in metafunc.fixturenames:
        suites = metafunc.config.getoption("daemons").split(",")
        if not _runs_on_all(metafunc):
            commit = metafunc.config.getoption("commit")
            CLOSING.add(f"generations: chosen by --commit={commit}")
            name = f"{commit} {metafunc.definition.nodeid}"
            suites = [one for one in suites if one in _had()] or [REQUIRED]
            suites = [suites[zlib.crc32(name.encode()) % len(suites)]]
        metafunc.parametrize("daemon", suites, indirect=True, scope="session")


def _runs_on_all(metafunc: pytest.Metafunc) -> bool:
    marked = metafunc.definition.get_closest_marker("generations") is not None
    return marked or metafunc.config.getoption("generations") == "all"


@cache
def _had() -> frozenset[str]:
    """The generations that this machine can have.

    What is not in the cache is fetched here, where no test's time runs.
    """
    for name in debian.HOMES:
        with suppress(Unavailable):  # the fixture that wants it says so
            debian.program(name)
    return frozenset(name for name, found in available().items() if isinstance(found, Programs))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["closing"] = sorted(CLOSING)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give each worker of pytest-xdist the next test, but one worker all tests of the services.

    Their last test checks which methods the others called, in the memory of its process.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Scheduler(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return SERVICES if nodeid.startswith(SERVICES) else nodeid

    return Scheduler(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker of pytest-xdist has to say in the closing lines."""
    CLOSING.update(getattr(node, "workeroutput", {}).get("closing", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in sorted(CLOSING):
        terminalreporter.write_line(line)


def _missing(what: str, reason: Unavailable, *, required: bool) -> None:
    """Skip the test, or fail where the thing must be had."""
    if required and IN_CI:
        pytest.fail(f"{what} must run in CI: {reason}", pytrace=False)
    pytest.skip(f"{what}: {reason}")


@pytest.fixture(scope="session")
def count(request: pytest.FixtureRequest) -> Count:
    """``count(reduced, full)`` is how many rounds to go."""
    full = request.config.getoption("--counts") == "full"
    return lambda few, many: many if full else few


@pytest.fixture(scope="session")
def _running() -> Iterator[Callable[[str], Daemon | Unavailable]]:
    """Gives the daemon of a generation, started once and kept to the end of the session."""
    found: dict[str, Daemon | Unavailable] = {}
    with ExitStack() as stack:

        def running(suite: str) -> Daemon | Unavailable:
            if suite not in found:
                try:
                    found[suite] = daemon = stack.enter_context(Daemon(suite))
                    CLOSING.add(f"containerd: {daemon.version} ran")
                except Unavailable as reason:
                    found[suite] = reason
                    why = str(reason).splitlines()[0]
                    CLOSING.add(f"containerd: {suite}'s did NOT run ({why})")
            return found[suite]

        yield running


@pytest.fixture(scope="session")
def daemon(
    request: pytest.FixtureRequest, _running: Callable[[str], Daemon | Unavailable]
) -> Daemon:
    """A private containerd; the test runs once on each generation."""
    suite: str = request.param
    found = _running(suite)
    if isinstance(found, Unavailable):
        _missing(f"containerd of {suite}", found, required=suite == REQUIRED)
        raise found
    return found


@pytest.fixture
def namespace(daemon: Daemon) -> str:
    """A namespace of this test's own, on its daemon."""
    return daemon.new_namespace()


@pytest.fixture
def client(daemon: Daemon, namespace: str) -> Iterator[Client]:
    """A client of the daemon in the test's namespace, closed afterwards."""
    from containerd_lite import Client

    with Client(daemon.address, namespace=namespace) as client:
        yield client


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A private registry on the loopback that lets everybody in."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(Registry())
        except Unavailable as reason:
            _missing("docker-registry", reason, required=True)
            raise
        yield running


@pytest.fixture(scope="session")
def busybox(registry: Registry) -> str:
    """The full reference of the runnable image, pushed to ``registry``."""
    try:
        return images.push(images.busybox(), registry.host, "library/busybox", "latest")
    except Unavailable as reason:
        _missing("busybox", reason, required=True)
        raise


@pytest.fixture
def no_leftovers(daemon: Daemon, namespace: str, client: Client) -> Iterator[Watch]:
    """Fails the test if it leaves anything in its namespace, on the machine or in this process.

    A test whose image stays unpacked says so with ``no_leftovers.keep_snapshots()``.  The client
    of the fixture is closed first; other clients are the test's own to close.
    """
    watch = Watch(daemon, namespace)
    yield watch
    client.close()
    watch.check()

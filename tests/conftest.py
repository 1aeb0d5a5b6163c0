"""The fixtures that every test may ask for: real daemons, a real registry, and a look at the mess.

A machine that cannot have a daemon skips its tests, and the closing lines say so; in CI
(``CI=true``) the registry and containerd 1.6 must run, else their tests fail.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # last: the package that is installed is the one under test

from tests.harness import Unavailable, images, kernel  # noqa: E402
from tests.harness.daemon import SUITES, Daemon  # noqa: E402
from tests.harness.leaks import Watch  # noqa: E402
from tests.harness.registry import Registry  # noqa: E402

if TYPE_CHECKING:
    from containerd_lite import Client

IN_CI = os.environ.get("CI") == "true"
REQUIRED = SUITES[0]

Count = Callable[[int, int], int]

#: What the closing lines say of each generation that a test asked for.
_daemons: dict[str, str] = {}


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


def pytest_sessionstart() -> None:
    # Who is begun in the background has ignored what tests send to themselves and others.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with suppress(Unavailable):  # a daemon cannot run there either, and says so
        kernel.own_run()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "daemon" in metafunc.fixturenames:
        suites = metafunc.config.getoption("--daemons").split(",")
        metafunc.parametrize("daemon", suites, indirect=True, scope="session")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _daemons:
        terminalreporter.write_line(f"containerd: {', '.join(_daemons.values())}")


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
                    _daemons[suite] = f"{daemon.version} ran"
                except Unavailable as reason:
                    found[suite] = reason
                    _daemons[suite] = f"{suite}'s did NOT run ({str(reason).splitlines()[0]})"
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

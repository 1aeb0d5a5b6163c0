"""The fixtures for all tests: real daemons, a real registry, and a check for leftovers.

On a machine that cannot have a daemon, the tests of that daemon are skipped, and the closing lines
say so. In CI (``CI=true``) the registry and containerd 1.6 must run, or else their tests fail.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # last, so that the tests import the installed package

from tests.harness import (  # noqa: E402
    Unavailable,
    debian,
    generations,
    golang,
    images,
    kernel,
)
from tests.harness.daemon import Daemon  # noqa: E402
from tests.harness.generations import GENERATIONS, NEWEST, OLDEST, Programs  # noqa: E402
from tests.harness.leaks import Watch  # noqa: E402
from tests.harness.outcomes import CLOSING, Recorder, keep_failed  # noqa: E402
from tests.harness.registry import NEW, Registry, by_turns, program  # noqa: E402
from tests.harness.sigstore import Sigstore  # noqa: E402

if TYPE_CHECKING:
    from containerd_lite import Client

IN_CI = os.environ.get("CI") == "true"
SERVICES = "tests/e2e/services/"
RUNTIME = "tests/e2e/runtime/"
#: One in so many tests that run on all daemons also runs on the daemon between the oldest and the
#: newest. The tests of the services all do, because they count the methods that were called.
BETWEEN_TURNS = 3
#: The mark that a test with this fixture must have.
MARKS = {"daemon": "daemon", "busybox": "registry"}

Count = Callable[[int, int], int]

#: What a file of tests imports if its tests need the package `cryptography`.
_SIGNING = re.compile(
    r"^from (?:cryptography|containerd_lite\.trust|tests\.e2e\.images\.verifier"
    r"|tests\.harness\.(?:authority|keypairs|signatures|transparency)"
    r"|tests\.hostile\.growth\.shapes\.signatures)\b",
    re.MULTILINE,
)


#: What a file of tests imports if its tests need all packages of the extra `trust`.
_ALL_OF_TRUST = re.compile(
    r"^from .* import (?:SigningServices|ContainersPolicy)|^    generate_key,$", re.M
)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without tests of this lane: to load all files takes 15 seconds.

    The tests of signatures need packages that some lanes lack: the lane of pure Python has no
    `cryptography`, and the lane of the oldest packages has it alone.
    """
    if not collection_path.name.startswith("test_"):
        return None
    text = collection_path.read_text()
    if not _has_mark(text, config.getoption("files_with").split(",")):
        return True
    if not _is_due(collection_path, text, config):
        return True
    if os.environ.get("CONTAINERD_LITE_PURE") == "1":
        return True if _SIGNING.search(text) else None
    if find_spec("nacl") is None:
        return True if _ALL_OF_TRUST.search(text) else None
    return None


def _has_mark(text: str, marks: Sequence[str]) -> bool:
    """Return whether a file has one of the marks; the mark `""` is always there."""
    return any(mark == "" or f"pytest.mark.{mark}" in text for mark in marks)


def _is_due(path: Path, text: str, config: pytest.Config) -> bool:
    """Return whether it is the turn of a file of tests; see the option `--others`."""
    if _runs_all(config) or _has_mark(text, ("backend", "dependencies", "interpreter")):
        return True
    name = str(path.relative_to(config.rootpath))
    return _is_turn(config.getoption("commit"), name, config.getoption("others"))


def _is_turn(commit: str, name: str, number: int) -> bool:
    """Return whether the commit chooses `name`; it chooses one in `number` names."""
    return zlib.crc32(f"{commit} {name}".encode()) % number == 0


def _runs_all(config: pytest.Config) -> bool:
    """Return whether no test is left out because it is not its turn."""
    return _is_all(config) or bool(config.getoption("counts") == "full")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--counts",
        choices=("reduced", "full"),
        default="reduced",
        help="rounds of the tests that have many (full: as many as the issues say)",
    )
    parser.addoption(
        "--daemons",
        default="",
        help="generations of containerd that the tests use, such as 1.6,2.4, or `all` (the oldest,"
        " the newest, and one between, which the commit chooses)",
    )
    parser.addoption(
        "--generations",
        choices=("chosen", "all"),
        default="chosen",
        help="chosen: only tests marked `generations` run on each daemon, one in"
        f" {BETWEEN_TURNS} of them also on the one between the oldest and the newest. The others"
        " run on one daemon. The commit and the name of the test choose",
    )
    parser.addoption(
        "--files-with",
        default="",
        metavar="MARKS",
        help="load only the files whose tests have one of these marks, such as backend,interpreter",
    )
    parser.addoption(
        "--others",
        type=int,
        default=1,
        metavar="N",
        help="of the files without the marks backend, dependencies and interpreter, load one in N,"
        " which the commit chooses",
    )
    parser.addoption("--commit", default=_commit(), help="chooses the daemons (this commit)")
    parser.addoption("--outcomes", type=Path, help="file to write the tests' outcomes to")
    parser.addoption(
        "--again", type=Path, help="run the failed tests of the run that wrote this file"
    )


def _commit() -> str:
    """Return the commit under test, or an empty string without git."""
    argv = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")  # a worker of pytest-xdist reports to its controller
    if not is_worker and (path := config.getoption("outcomes")):
        config.pluginmanager.register(Recorder(path))
    if end := os.environ.get("CONTAINERD_LITE_END"):
        # Descriptor 2 is still the lane's stderr: pytest captures it only while tests load and run.
        seconds = max(1.0, float(end) - time.monotonic())
        faulthandler.dump_traceback_later(seconds, file=os.dup(2))


def pytest_sessionstart(session: pytest.Session) -> None:
    # A background job of a shell ignores these signals, but tests send them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with suppress(Unavailable):  # then no daemon can run either, and its fixture says so
        kernel.own_run()
    Registry.default = by_turns(f"registry {session.config.getoption('commit')}")
    try:
        program(NEW)
    except Unavailable as reason:
        CLOSING.add(f"registry: {NEW} is NOT here ({reason})")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, mark in MARKS.items():
            if fixture in getattr(item, "fixturenames", ()) and not item.get_closest_marker(mark):
                raise pytest.UsageError(f"{item.nodeid} has {fixture}: mark it with {mark}")
    if path := config.getoption("again"):
        keep_failed(items, path)
    elif not _runs_all(config):
        items[:] = _by_turns(items, config.getoption("commit"))


def _by_turns(items: list[pytest.Item], commit: str) -> list[pytest.Item]:
    """Keep one in N cases of each test with the mark `turns(N)`; the commit chooses them.

    If a whole file has the mark, keep one in N of the file's tests. With the mark
    `turns(N, "name")`, keep one in N of all tests with this name.
    """
    groups: dict[tuple[str, int], list[pytest.Item]] = {}
    for item in items:
        for node, mark in item.iter_markers_with_node("turns"):
            number, *name = mark.args
            key = name[0] if name else node.nodeid.partition("[")[0]
            groups.setdefault((key, number), []).append(item)
            break  # the mark of the test has priority
    left_out: set[pytest.Item] = set()
    for (_, number), found in groups.items():
        found.sort(key=lambda item: zlib.crc32(f"{commit} {item.nodeid}".encode()))
        left_out.update(found[-(-len(found) // number) :])
    return [item for item in items if item not in left_out]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "daemon" in metafunc.fixturenames:
        commit = metafunc.config.getoption("commit")
        chosen = _chosen(metafunc.config.getoption("daemons"), commit)
        if not _runs_on_all(metafunc):
            name = f"{commit} {metafunc.definition.nodeid}"
            found = _found()
            lacking = {name for name, one in found.items() if isinstance(one, Unavailable)}
            had = [one for one in chosen if one not in lacking] or [OLDEST]
            chosen = (had[zlib.crc32(name.encode()) % len(had)],)
        elif metafunc.config.getoption("daemons") == "all" and _is_runtime(metafunc):
            chosen += generations.VARIANTS
        elif not metafunc.config.getoption("daemons") and not _runs_between(metafunc, commit):
            chosen = generations.without_between(chosen)
        metafunc.parametrize("daemon", chosen, indirect=True, scope="session")


def _runs_on_all(metafunc: pytest.Metafunc) -> bool:
    is_marked = metafunc.definition.get_closest_marker("generations") is not None
    return is_marked or _is_all(metafunc.config)


def _runs_between(metafunc: pytest.Metafunc, commit: str) -> bool:
    nodeid = metafunc.definition.nodeid
    return (
        _is_all(metafunc.config)
        or nodeid.startswith(SERVICES)
        or _is_turn(commit, nodeid, BETWEEN_TURNS)
    )


def _is_all(config: pytest.Config) -> bool:
    return bool(config.getoption("generations") == "all")


def _is_runtime(metafunc: pytest.Metafunc) -> bool:
    return metafunc.definition.nodeid.startswith(RUNTIME)


@cache
def _chosen(daemons: str, commit: str) -> tuple[str, ...]:
    """Return the generations of this run: those of ``--daemons``, or those of the commit's turn."""
    if daemons and daemons != "all":
        return tuple(daemons.split(","))
    for name, found in _found().items():
        if isinstance(found, Unavailable):
            CLOSING.add(f"containerd: {name} is NOT here ({str(found).splitlines()[0]})")
    if daemons:
        return (*GENERATIONS, *generations.folders())
    turn = generations.by_turns(commit, _found())
    CLOSING.add(f"generations: {', '.join(turn)}, the second by turns, by --commit={commit}")
    return tuple(turn)


@cache
def _found() -> dict[str, Programs | Unavailable]:
    """Return the programs of each generation, or why this machine cannot have them.

    This also fetches the missing programs, and builds the newest containerd, at a moment that
    counts for no test's timeout.
    """
    for name in debian.HOMES:
        with suppress(Unavailable):  # the fixture that needs it says so
            debian.program(name)
    with suppress(Unavailable):
        golang.make(golang.CONTAINERD[NEWEST])
    return generations.available()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["closing"] = sorted(CLOSING)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give each worker of pytest-xdist the next test, but all tests of the services to one worker.

    The last of them checks which methods the others called, as recorded in its process.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Scheduler(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return SERVICES if nodeid.startswith(SERVICES) else nodeid

    return Scheduler(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the closing lines of a worker of pytest-xdist."""
    CLOSING.update(getattr(node, "workeroutput", {}).get("closing", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in sorted(CLOSING):
        terminalreporter.write_line(line)


def _skip_or_fail(name: str, reason: Unavailable, *, required: bool) -> None:
    """Skip the test, or fail it in CI if the program is required there."""
    if required and IN_CI:
        pytest.fail(f"{name} must run in CI: {reason}", pytrace=False)
    pytest.skip(f"{name}: {reason}")


@pytest.fixture(scope="session")
def count(request: pytest.FixtureRequest) -> Count:
    """A function: ``count(reduced, full)`` returns the number of rounds for this run."""
    is_full = request.config.getoption("--counts") == "full"
    return lambda reduced, full: full if is_full else reduced


@pytest.fixture(scope="session", autouse=True)
def _logs_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the logs of detached containers in a folder of this run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERD_LITE_LOGS", str(tmp_path_factory.mktemp("logs")))
        yield


@pytest.fixture(scope="session")
def _running() -> Iterator[Callable[[str], Daemon | Unavailable]]:
    """A function that returns the daemon of a generation, and starts it once for the session."""
    daemons: dict[str, Daemon | Unavailable] = {}
    with ExitStack() as stack:

        def running(generation: str) -> Daemon | Unavailable:
            if generation not in daemons:
                try:
                    daemons[generation] = daemon = stack.enter_context(Daemon(generation))
                    CLOSING.add(f"containerd: {daemon.version} ran")
                except Unavailable as reason:
                    daemons[generation] = reason
                    first_line = str(reason).splitlines()[0]
                    CLOSING.add(f"containerd: {generation} did NOT run ({first_line})")
            return daemons[generation]

        yield running


@pytest.fixture(scope="session")
def daemon(
    request: pytest.FixtureRequest, _running: Callable[[str], Daemon | Unavailable]
) -> Daemon:
    """A private containerd; the test runs once on each generation."""
    generation: str = request.param
    daemon = _running(generation)
    if isinstance(daemon, Unavailable):
        _skip_or_fail(f"containerd {generation}", daemon, required=generation == OLDEST)
        raise daemon
    return daemon


@pytest.fixture
def namespace(daemon: Daemon) -> str:
    """A new namespace for this test, on its daemon."""
    return daemon.new_namespace()


@pytest.fixture
def client(daemon: Daemon, namespace: str) -> Iterator[Client]:
    """A client of the daemon in the test's namespace, closed afterwards."""
    from containerd_lite import Client

    with Client(daemon.address, namespace=namespace) as client:
        yield client


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A private registry on the loopback that needs no login."""
    with ExitStack() as stack:
        try:
            registry = stack.enter_context(Registry())
        except Unavailable as reason:
            _skip_or_fail("docker-registry", reason, required=True)
            raise
        CLOSING.add(f"registry: {registry.generation} ran")
        yield registry


@pytest.fixture(scope="session")
def busybox(registry: Registry) -> str:
    """The full reference of the runnable image, which is in ``registry``."""
    try:
        return images.push(images.busybox(), registry.host, "library/busybox", "latest")
    except Unavailable as reason:
        _skip_or_fail("busybox", reason, required=True)
        raise


@pytest.fixture(scope="session")
def sigstore() -> Iterator[Sigstore]:
    """The servers that sign without keys, or log signatures; each worker has its own."""
    with ExitStack() as stack:
        try:
            sigstore = stack.enter_context(Sigstore())
        except Unavailable as reason:
            CLOSING.add(f"sigstore: did NOT run ({str(reason).splitlines()[0]})")
            _skip_or_fail("sigstore", reason, required=False)
            raise
        CLOSING.add("sigstore: ran")
        yield sigstore


@pytest.fixture
def own_daemon(daemon: Daemon) -> Iterator[Daemon]:
    """A daemon of the same generation that the test may stop and kill."""
    with Daemon(daemon.generation) as own:
        yield own


@pytest.fixture
def no_leftovers(daemon: Daemon, namespace: str, client: Client) -> Iterator[Watch]:
    """Fails the test if it leaves anything in its namespace, on the machine or in this process.

    A test whose image stays unpacked calls ``no_leftovers.keep_snapshots()``. This fixture closes
    the client of the fixture ``client`` first. The test must close all others.
    """
    watch = Watch(daemon, namespace)
    yield watch
    client.close()
    watch.check()

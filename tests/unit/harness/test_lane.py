"""A lane: what it does with tests that fail, what it says, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import debris
from tests.harness.process import wait_until
from tests.unit.harness.tree import Tree

pytestmark = [pytest.mark.slow, pytest.mark.once, pytest.mark.turns(2)]

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have namespaces")

#: Seconds; against hanging.
PATIENCE = 20.0
FAILS = "def test_fails(): assert 1 == 2"
PASSES = "def test_passes(): pass"
#: Fails the first time.
FLAKY = """
from pathlib import Path

def test_flaky():
    mark = Path({mark!r})
    if not mark.exists():
        mark.touch()
        raise ValueError("only the first time")
"""
#: Leaves what a lane can leave: a process in a session of its own, a mount, a network namespace, a
#: folder, a cgroup.  Then it waits.
LEAVES = """
import os, time
from pathlib import Path
from tests.harness import debris, kernel

kept = []

def test_leaves():
    folder = debris.make_folder()
    (folder / "namespaces").write_text({namespace!r} + "\\n")
    for group in Path("/sys/fs/cgroup").glob("*/cgroup.procs"):
        if group.parent.name in ("memory", "pids"):
            (group.parent / {namespace!r}).mkdir()
    point = folder / "mounted"
    point.mkdir()
    kept.append(kernel.small_disk(point, 4096))
    kept[0].__enter__()
    with kernel.own_network():
        os.posix_spawnp("sleep", ["sleep", {seconds!r}], os.environ, setsid=True)
        Path({said!r}).write_text(str(folder))
        {then}
"""


def flaky(tree: Tree, number: int) -> str:
    return FLAKY.format(mark=str(tree.folder / f"mark{number}"))


def test_a_lane_passes(tree: Tree) -> None:
    tree.write(PASSES)
    code, said = tree.run()
    assert code == 0
    assert "1 passed" in said
    assert list(tree.temporary.iterdir()) == []


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_fails_twice_fails_the_lane(tree: Tree, workers: str) -> None:
    tree.write(PASSES, FAILS, flaky(tree, 0))
    code, said = tree.run("--", "-n", workers)
    assert code == 1
    assert "failed twice: tests/test_1.py::test_fails\n" in said
    assert "2 failed, 1 passed" in said
    assert "1 failed, 1 passed" in said  # the second run has these two alone


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_flaky_test_is_named_and_fails_nothing(tree: Tree, workers: str) -> None:
    tree.write(PASSES, flaky(tree, 0), flaky(tree, 1))
    code, said = tree.run("--", "-n", workers)
    assert code == 0
    first, second = sorted(said.split("\nflaky: ")[1:])
    assert first.startswith("tests/test_1.py::test_flaky\n")
    assert second.startswith("tests/test_2.py::test_flaky\n")
    for shown in (first, second):
        assert "    E           ValueError: only the first time\n" in shown


def test_three_flaky_tests_fail_the_lane(tree: Tree) -> None:
    tree.write(*(flaky(tree, number) for number in range(3)))
    code, said = tree.run()
    assert code == 1
    assert said.count("\nflaky: ") == 3
    assert "3 tests are flaky; at most 2 may be" in said


def test_none_may_be_flaky_if_so_told(tree: Tree) -> None:
    tree.write(flaky(tree, 0))
    code, said = tree.run("--flaky", "0")
    assert code == 1
    assert "1 failed" in said


def test_a_test_that_timed_out_has_no_second_run(tree: Tree) -> None:
    late = "import time, pytest\n@pytest.mark.timeout(0.2)\ndef test_late(): time.sleep(30)"
    tree.write(late, flaky(tree, 0))
    code, said = tree.run()
    assert code == 1
    assert said.count("2 failed") == 1
    assert "once more" not in said


def test_a_fixture_is_timed_too(tree: Tree) -> None:
    tree.write(
        "import time, pytest\n@pytest.fixture\ndef slow(): time.sleep(30)\n"
        "@pytest.mark.timeout(0.2)\ndef test_late(slow): pass"
    )
    code, said = tree.run()
    assert code == 1
    assert "Timeout (>0.2s)" in said


def test_errors_of_pytest_fail_the_lane(tree: Tree) -> None:
    tree.write("import nothing_of_the_kind")
    assert tree.run()[0] not in (0, 1)
    assert tree.run("--", "tests/none.py")[0] not in (0, 1)
    assert tree.run("--", "-k", "nothing")[0] not in (0, 1)


def test_a_lane_that_takes_too_long_shows_its_stacks(tree: Tree) -> None:
    tree.write("import time\ndef test_long():\n    time.sleep(40)  # here")
    code, said = tree.run("--minutes", "0.05", "--", "-n", "1")
    assert code not in (0, 1)
    assert "test_0.py" in said[said.index("Timeout (") :]
    assert "did not end within 0.05 minutes" in said


@pytest.fixture
def seconds() -> str:
    """How long a process sleeps that a test leaves: nobody else's sleeps as long."""
    return str(int.from_bytes(os.urandom(4), "big"))


@pytest.fixture
def left(tree: Tree, seconds: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """``left(then)`` starts a lane whose test leaves everything, and then goes on so."""
    name = f"t{os.urandom(4).hex()}"
    said = tree.folder / "said"

    def start(then: str) -> subprocess.Popen[str]:
        tree.write(LEAVES.format(namespace=name, said=str(said), seconds=seconds, then=then))
        lane = tree.start()
        assert wait_until(lambda: said.exists() and said.read_text() != "", PATIENCE)
        assert running(seconds)
        return lane

    yield start
    assert list(Path("/sys/fs/cgroup").glob(f"*/{name}")) == []
    assert debris.mounts(tree.temporary) == []


def running(seconds: str) -> bool:
    return any(one.argv == ("sleep", seconds) for one in debris.processes())


@only_root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_lane_leaves_nothing(
    tree: Tree, seconds: str, left: Callable[[str], subprocess.Popen[str]], number: int
) -> None:
    with left("time.sleep(60)") as lane:
        lane.send_signal(number)
        assert "KeyboardInterrupt" in lane.communicate(timeout=PATIENCE)[0]
    assert lane.returncode != 0
    assert not running(seconds)
    assert list(tree.temporary.iterdir()) == []


@only_root
def test_after_a_lane_that_was_killed_the_next_one_cleans_up(
    tree: Tree, seconds: str, left: Callable[[str], subprocess.Popen[str]]
) -> None:
    with left("time.sleep(60)") as lane:
        lane.kill()
        lane.communicate(timeout=PATIENCE)
    assert wait_until(lambda: not running(seconds), PATIENCE)
    tree.write(PASSES)
    assert tree.run()[0] == 0
    assert list(tree.temporary.iterdir()) == []


@only_root
def test_a_lane_that_lives_is_left_alone(
    tree: Tree, seconds: str, left: Callable[[str], subprocess.Popen[str]]
) -> None:
    go = tree.folder / "go"
    with left(f"while not Path({str(go)!r}).exists(): time.sleep(0.02)") as lane:
        folder = Path((tree.folder / "said").read_text())
        (tree.folder / "tests" / "test_other.py").write_text(PASSES)
        assert tree.run("--", "tests/test_other.py")[0] == 0
        assert folder.is_dir()
        assert running(seconds)
        go.touch()
        assert "1 passed" in lane.communicate(timeout=PATIENCE)[0]
    assert not running(seconds)
    assert list(tree.temporary.iterdir()) == []

"""Which daemons a test runs on."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness import Unavailable, generations, golang
from tests.harness.daemon import Daemon
from tests.harness.generations import GENERATIONS, NEWEST, OLDEST, Programs, available, by_turns
from tests.unit.harness.tree import Tree

pytestmark = pytest.mark.turns(2)

TESTS = """
import pytest

@pytest.mark.daemon
@pytest.mark.parametrize("n", range(40))
def test_unmarked(daemon, n): pass
""" + "".join(f"""
@pytest.mark.daemon
def test_unmarked_{n}(daemon): pass

@pytest.mark.daemon
@pytest.mark.generations
def test_marked_{n}(daemon): pass
""" for n in range(40))  # fmt: skip
FORGOTTEN = """
def test_forgotten(daemon): pass
"""


@pytest.fixture
def had() -> set[str]:
    """The generations that there are here."""
    found = {name for name, one in available().items() if isinstance(one, Programs)}
    if len(found) < 3:
        pytest.skip(f"of {', '.join(GENERATIONS)} there are {', '.join(found) or 'none'}")
    return found


def generation_of(name: str) -> str:
    return name.partition("[")[2].rstrip("]").split("-")[0]


def test_a_marked_test_runs_on_the_oldest_and_the_newest_and_some_run_between(
    tree: Tree, had: set[str]
) -> None:
    """A test without the mark runs on one of the three."""
    tree.write(TESTS)
    names = tree.collect("--commit=a")
    oldest, between, newest = by_turns("a", available())
    marked = Counter(generation_of(name) for name in names if "test_marked" in name)
    assert marked == {oldest: 40, between: marked[between], newest: 40}
    assert 5 < marked[between] < 25
    others = [name for name in names if "test_marked" not in name]
    assert len(others) == 80
    assert {generation_of(name) for name in others} == set(marked)


def test_the_commit_chooses(tree: Tree, had: set[str]) -> None:
    tree.write(TESTS)
    first, again, another = (tree.collect(f"--commit={one}") for one in ("a", "a", "b"))
    assert first == again
    assert first != another


def test_all_on_all_if_so_told(tree: Tree, had: set[str]) -> None:
    tree.write(TESTS)
    assert len(tree.collect("--generations=all")) == 120 * 3
    assert len(tree.collect("--generations=all", "--daemons=all")) == 120 * len(GENERATIONS)
    assert {generation_of(name) for name in tree.collect("--daemons=1.7")} == {"1.7"}


def test_all_runs_containers_with_each_runc(tree: Tree, had: set[str]) -> None:
    folder = tree.folder / "tests" / "e2e" / "runtime"
    folder.mkdir(parents=True)
    (folder / "test_run.py").write_text(TESTS)
    names = [name for name in tree.collect("--daemons=all") if "test_marked_0" in name]
    assert sorted(map(generation_of, names)) == [*GENERATIONS, *generations.VARIANTS]


def test_a_runc_that_is_not_built_is_named(monkeypatch: pytest.MonkeyPatch, had: set[str]) -> None:
    missing = replace(golang.RUNC, version="0.0.0")
    monkeypatch.setattr(golang, "RUNC", missing)
    with pytest.raises(Unavailable, match=r"runc 0\.0\.0 is not built: run tox -e fetch"):
        generations.find(generations.VARIANTS[0])


def test_each_generation_gets_its_turn(had: set[str]) -> None:
    found = available()
    turns = [by_turns(f"{commit:x}", found) for commit in range(200)]
    between = had - {OLDEST, NEWEST}
    assert {name for turn in turns for name in turn[1:-1]} >= between - {max(between)}
    assert all(len(turn) == 3 and turn[0] == OLDEST and {*turn} <= had for turn in turns)
    if NEWEST in had:
        assert {turn[-1] for turn in turns} == {NEWEST}


def test_without_go_there_are_debians(had: set[str]) -> None:
    built = {name: Unavailable("no Go") for name in golang.CONTAINERD}
    found = {**available(), **built}
    assert {name for n in range(9) for name in by_turns(f"{n}", found)} == {"1.6", "1.7", "2.1"}


def test_a_folder_of_the_machines_own(
    had: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    oldest = generations.find(OLDEST)
    for program in (oldest.containerd, oldest.ctr, oldest.shim):
        (tmp_path / program.path.name).symlink_to(program.path)
    monkeypatch.setenv(generations.FOLDERS_VARIABLE, f"{tmp_path}{os.pathsep}/nothing/here")
    assert by_turns("a", available())[-2:] == [str(tmp_path), "/nothing/here"]
    assert isinstance(available()["/nothing/here"], Unavailable)
    with Daemon(str(tmp_path)) as daemon:
        assert daemon.version.startswith(f"{OLDEST}.")
    with pytest.raises(ValueError, match=r"no such generation: 'x'; choose from 1\.6, .*nothing"):
        generations.find("x")


def test_a_test_with_a_daemon_and_no_mark_is_refused(tree: Tree) -> None:
    tree.write(FORGOTTEN)
    with pytest.raises(AssertionError, match=r"test_forgotten.* has daemon: mark it with daemon"):
        tree.collect()


def test_turns_of_cases_and_of_files(tree: Tree) -> None:
    """One in n cases of a test runs, or one in n tests of a file; of each, at least one."""
    tree.write("""
import pytest

@pytest.mark.turns(3)
@pytest.mark.parametrize("n", range(9))
def test_cases(n): pass

@pytest.mark.turns(3)
def test_single(): pass
""")
    assert Counter(name.partition("[")[0].partition("::")[2] for name in tree.collect()) == {
        "test_cases": 3,
        "test_single": 1,
    }
    tree.write(
        "import pytest\npytestmark = pytest.mark.turns(4)\n"
        + "".join(f"def test_{n}(): pass\n" for n in range(12))
    )
    assert len(tree.collect()) == 3
    assert len(tree.collect("--counts=full")) == 12


def test_turns_of_tests_with_a_name(tree: Tree) -> None:
    test = '@pytest.mark.turns(3, "heavy")\ndef test_{}(): pass\n'
    tree.write(*["import pytest\n" + test.format(n) + test.format(n + 1) for n in range(6)])
    assert len(tree.collect()) == 4


def test_files_that_a_lane_leaves_out(tree: Tree) -> None:
    """What depends on the interpreter always runs, the other tests by turns of their files."""
    tree.write(
        *["import pytest\n@pytest.mark.interpreter\ndef test_marked(): pass\n"] * 20,
        *["def test_other(): pass\n"] * 80,
    )
    names = tree.collect("--files-with=backend,interpreter")
    assert [name.partition("::")[2] for name in names] == ["test_marked"] * 20
    found = Counter(name.partition("::")[2] for name in tree.collect("--others=4", "--commit=a"))
    assert found == {"test_marked": 20, "test_other": found["test_other"]}
    assert 5 < found["test_other"] < 40

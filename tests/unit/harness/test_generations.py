"""Which daemons a test runs on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness import Unavailable, generations, golang
from tests.harness.daemon import Daemon
from tests.harness.generations import GENERATIONS, NEWEST, OLDEST, Programs, available, by_turns
from tests.unit.harness.tree import Tree

TESTS = """
import pytest

@pytest.mark.daemon
@pytest.mark.generations
def test_marked(daemon): pass

@pytest.mark.daemon
@pytest.mark.parametrize("n", range(40))
def test_unmarked(daemon, n): pass
""" + "".join(f"""
@pytest.mark.daemon
def test_unmarked_{n}(daemon): pass
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


def test_a_marked_test_runs_on_all_of_the_turn_and_others_on_one(tree: Tree, had: set[str]) -> None:
    tree.write(TESTS)
    names = tree.collect("--commit=a")
    marked = [generation_of(name) for name in names if "test_marked" in name]
    assert sorted(marked) == sorted(by_turns("a", available()))
    assert len(marked) == 3
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
    assert len(tree.collect("--generations=all")) == 81 * 3
    assert len(tree.collect("--generations=all", "--daemons=all")) == 81 * len(GENERATIONS)
    assert {generation_of(name) for name in tree.collect("--daemons=1.7")} == {"1.7"}


def test_all_runs_containers_with_each_runc(tree: Tree, had: set[str]) -> None:
    folder = tree.folder / "tests" / "e2e" / "runtime"
    folder.mkdir(parents=True)
    (folder / "test_run.py").write_text(TESTS.partition("@pytest.mark.daemon\n@pytest.mark.par")[0])
    names = tree.collect("--daemons=all")
    assert [generation_of(name) for name in names] == [*GENERATIONS, *generations.VARIANTS]


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

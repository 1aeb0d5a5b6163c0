"""Which daemons a test runs on."""

from __future__ import annotations

import pytest

from tests.harness.daemon import SUITES, Programs, available
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
    found = {suite for suite, one in available().items() if isinstance(one, Programs)}
    if len(found) < len(SUITES):
        pytest.skip(f"of {', '.join(SUITES)} there are {', '.join(found) or 'none'}")
    return found


def suite_of(name: str) -> str:
    return name.partition("[")[2].rstrip("]").split("-")[0]


def test_a_marked_test_runs_on_all_and_others_on_one(tree: Tree, had: set[str]) -> None:
    tree.write(TESTS)
    names = tree.collect("--commit=a")
    marked = [suite_of(name) for name in names if "test_marked" in name]
    assert sorted(marked) == sorted(had)
    others = [name for name in names if "test_marked" not in name]
    assert len(others) == 80
    assert {suite_of(name) for name in others} == had


def test_the_commit_chooses(tree: Tree, had: set[str]) -> None:
    tree.write(TESTS)
    first, again, another = (tree.collect(f"--commit={one}") for one in ("a", "a", "b"))
    assert first == again
    assert first != another


def test_all_on_all_if_so_told(tree: Tree, had: set[str]) -> None:
    tree.write(TESTS)
    assert len(tree.collect("--generations=all")) == 81 * len(had)
    assert {suite_of(name) for name in tree.collect("--daemons=trixie")} == {"trixie"}


def test_a_test_with_a_daemon_and_no_mark_is_refused(tree: Tree) -> None:
    tree.write(FORGOTTEN)
    with pytest.raises(AssertionError, match=r"test_forgotten.* has daemon: mark it with daemon"):
        tree.collect()

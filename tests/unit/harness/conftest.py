"""Fixtures of the tests of the harness."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.harness import Unavailable, images
from tests.harness.registry import GENERATIONS, Registry, by_turns
from tests.unit.harness.attached import push
from tests.unit.harness.tree import Tree


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test runs on one generation of the registry, which the commit and its name choose."""
    if "either" in metafunc.fixturenames:
        key = f"{metafunc.config.getoption('commit')} {metafunc.definition.nodeid}"
        is_all = metafunc.config.getoption("generations") == "all"
        chosen = GENERATIONS if is_all else (by_turns(key),)
        metafunc.parametrize("either", chosen, indirect=True, scope="module")


@pytest.fixture
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A copy of the harness that has no tests yet."""
    return Tree(tmp_path_factory.mktemp("lane"))


@pytest.fixture(scope="module")
def either(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """A registry of one generation."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(Registry(generation=request.param))
        except Unavailable as reason:
            pytest.skip(str(reason))
        yield running


@pytest.fixture
def ref(either: Registry, request: pytest.FixtureRequest) -> str:
    """The reference, with its digest, of an image of the test's own, in the repository `app`."""
    return push(either, images.scratch({"name": request.node.name.encode()}))

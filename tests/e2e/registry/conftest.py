"""What the tests against real registries share: opening things, certificates, images made once.

What lives here: fixtures.  What may not: what is done with a registry, which is ``rounds``'.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

from tests.harness import Unavailable, debian, images
from tests.harness.judges import JUDGES, Judge
from tests.harness.outcomes import CLOSING
from tests.harness.registry import GENERATIONS, OLD, by_turns, program
from tests.harness.registry import Registry as Server
from tests.harness.tls import Files

T = TypeVar("T")
IN_CI = os.environ.get("CI") == "true"


def missing(what: str, reason: Unavailable, *, required: bool) -> NoReturn:
    """Skips the test, or fails it where the thing must be had."""
    if required and IN_CI:
        pytest.fail(f"{what} must run in CI: {reason}", pytrace=False)
    pytest.skip(f"{what}: {reason}")


def have(name: str, *, required: bool) -> None:
    """Skips the test if a program cannot be had; in CI, one that is required must be there."""
    try:
        debian.program(name, prefer_path=name == "openssl")
    except Unavailable as reason:
        missing(name, reason, required=required)


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    """What the registries of nearly every test need."""
    for name in ("docker-registry", "htpasswd", "openssl"):
        have(name, required=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test runs on one generation of the registry, which the commit and its name choose."""
    key = f"{metafunc.config.getoption('commit')} {metafunc.definition.nodeid}"
    is_all = metafunc.config.getoption("generations") == "all"
    chosen = GENERATIONS if is_all else (by_turns(key),)
    metafunc.parametrize("_generation", chosen, indirect=True)


@pytest.fixture(autouse=True)
def _generation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The generation of the registries that the test opens."""
    generation: str = request.param
    try:
        program(generation)
    except Unavailable as reason:
        missing(f"registry {generation}", reason, required=generation == OLD)
    monkeypatch.setattr(Server, "default", generation)
    CLOSING.add(f"registry: {generation} ran")
    return generation


@pytest.fixture
def opened() -> Iterator[Callable[[AbstractContextManager[T]], T]]:
    """Opens servers and clients, which are closed when the test ends."""
    with ExitStack() as stack:

        def enter(context: AbstractContextManager[T]) -> T:
            try:
                return stack.enter_context(context)
            except Unavailable as reason:
                missing(type(context).__name__, reason, required=True)

        yield enter


@pytest.fixture
def server(opened: Callable[[Server], Server]) -> Server:
    """A registry of the test's own that lets everybody in."""
    return opened(Server())


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Certificates of two authorities."""
    have("openssl", required=True)
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """An empty folder in the manner of ``certs.d``."""
    folder = tmp_path / "certs.d"
    folder.mkdir()
    return folder


@pytest.fixture(params=JUDGES, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[Judge]:
    """Each of the judges in turn."""
    found: type[Judge] = request.param
    have(found.name, required=False)
    return found


@pytest.fixture(scope="session")
def image() -> images.Image:
    """One image of two layers."""
    return images.random_image([70_000, 300_000], cmd=["one"])


@pytest.fixture(scope="session")
def index(image: images.Image) -> images.Image:
    """An index over two platforms, the first of them ``image``."""
    other = images.random_image([1000, 2000], seed=7, platform="linux/s390x")
    return images.index_of({images.machine_platform(): image, "linux/s390x": other})

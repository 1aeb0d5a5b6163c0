"""Gives each test its server or its pair, and looks for descriptors left open."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.unit.transport.pair import Pair
from tests.wire.peer import Peer, answering, descriptors, echo


@pytest.fixture
def leaks_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    before = descriptors()
    yield
    if "interrupts" in request.node.name:
        gc.collect()  # what was interrupted before it had a name
        assert before <= descriptors() <= before + 4  # socket.socketpair itself can lose some
        return
    assert descriptors() == before


@pytest.fixture
def server() -> Iterator[Peer]:
    with Peer(answering(echo)) as running:
        yield running


@pytest.fixture
def pair() -> Iterator[Pair]:
    before = descriptors()
    pair = Pair()
    yield pair
    pair.close()
    assert descriptors() == before

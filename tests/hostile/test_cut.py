"""The daemon's side of a pull and a run, cut off at every byte: each call ends, and ends rightly.

A lost connection is UNAVAILABLE and a deadline is kept by this end alone (PROTOCOL-HTTP2.md,
Errors; gRPC's statuscodes.md); an answer that came whole counts, whatever comes after it.
"""

from __future__ import annotations

import random

import pytest

from containerd_lite.errors import DeadlineExceeded, Unavailable
from tests.conftest import Count
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry
from tests.hostile.conversation import Conversation, record
from tests.hostile.replay import replay_cut
from tests.wire.peer import PATIENCE, descriptors

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.dependencies]

#: How far from a frame's boundary to cut.
_NEAR = range(-2, 3)


@pytest.fixture(scope="module")
def conversation(daemon: Daemon, registry: Registry, busybox: str) -> Conversation:
    return record(daemon, registry, busybox)


def near_boundaries(conversation: Conversation) -> list[int]:
    around = {place + off for place in conversation.boundaries for off in _NEAR}
    return sorted(around & set(range(len(conversation.sent) + 1)))


def check(conversation: Conversation, cut: int, *, silent: bool) -> None:
    """Cut once: what came whole is answered, and what did not fails in time and leaves nothing."""
    before, answered = descriptors(), conversation.answered(cut)
    outcome = replay_cut(conversation, cut, silent=silent)
    where = f"cut at byte {cut} of {len(conversation.sent)}"
    assert len(outcome.results) > answered or answered == len(conversation.exchanges), where
    for number, result in enumerate(outcome.results):
        if number < answered:
            assert result.is_answer, (where, result)
        else:
            assert isinstance(result.error, DeadlineExceeded if silent else Unavailable), where
            come = len(result.messages)
            assert result.messages == result.exchange.responses[:come], where
    assert outcome.overrun < PATIENCE, where
    assert descriptors() == before, where


def test_the_conversation_is_a_whole_pull_and_run(conversation: Conversation) -> None:
    """What the cuts prove, they prove of these calls; and uncut, each is answered as it was."""
    methods = [exchange.path.rpartition(".")[2] for exchange in conversation.exchanges]
    assert {"Content/Read", "Content/Write", "Diff/Apply", "Images/Create"} <= set(methods)
    assert {"Containers/Create", "Tasks/Create", "Tasks/Wait", "Tasks/Delete"} <= set(methods)
    assert any(exchange.error for exchange in conversation.exchanges)
    assert 20_000 < len(conversation.sent) < 60_000
    outcome = replay_cut(conversation, len(conversation.sent), silent=True)
    assert [result.is_answer for result in outcome.results] == [True] * len(methods)


@pytest.mark.turns(3, "heavy")
def test_a_daemon_that_ends_at_any_byte(conversation: Conversation, count: Count) -> None:
    everywhere = range(len(conversation.sent) + 1)
    cuts = [near_boundaries(conversation), everywhere][count(0, 1)]
    for cut in cuts:
        check(conversation, cut, silent=False)


@pytest.mark.turns(3, "heavy")
def test_a_daemon_that_falls_silent_at_any_frame(conversation: Conversation, count: Count) -> None:
    cuts = near_boundaries(conversation)[: -_NEAR.stop]  # at the end, nothing is left unanswered
    for cut in random.Random(0).sample(cuts, count(30, len(cuts))):
        check(conversation, cut, silent=True)

"""The word to stop, heard later than it is given."""

from __future__ import annotations

import pytest

from containerd_lite import interrupt
from containerd_lite.errors import Cancelled
from containerd_lite.interrupt import Interrupt, delayed

#: Seconds that no test waits for.
LONG = 60.0


def test_the_block_goes_on_and_then_hears_it() -> None:
    word, done = Interrupt(), []

    def work() -> None:
        with delayed(LONG):
            word.set()
            interrupt.check()  # nothing yet
            done.append("the block")
        done.append("what follows")

    with word.watching(), pytest.raises(Cancelled):
        work()
    assert done == ["the block"]


def test_after_its_time_the_block_hears_it() -> None:
    word = Interrupt()

    def work() -> None:
        with delayed(0.01):
            word.set()
            interrupt.pause(LONG)

    with word.watching(), pytest.raises(Cancelled):
        work()


def test_a_word_that_was_given_before_is_heard_at_once() -> None:
    word, done = Interrupt(), []

    def work() -> None:
        word.set()
        with delayed(LONG):
            done.append("the block")

    with word.watching(), pytest.raises(Cancelled):
        work()
    assert done == []


def test_without_a_word_nothing_is_heard() -> None:
    with delayed(0.01):
        interrupt.check()

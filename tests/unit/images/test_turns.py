"""One at a time, for each key."""

from __future__ import annotations

import threading

import pytest

from containerd_lite.images import turns
from containerd_lite.images.turns import turn


def test_one_at_a_time() -> None:
    inside, most, done = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(50):
            with turn("key", lambda: None):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1
                    done += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (1, 400)
    assert turns._turns == {}  # nothing is remembered of what is over


def test_other_keys_do_not_wait() -> None:
    with turn("a", lambda: None), turn("b", lambda: None):
        assert len(turns._turns) == 2


def test_who_waits_can_give_up() -> None:
    class GivenUp(Exception):
        pass

    def check() -> None:
        raise GivenUp

    with turn("key", lambda: None):
        failed = []

        def wait() -> None:
            try:
                with turn("key", check):
                    raise AssertionError("both are inside")
            except GivenUp as error:
                failed.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(5)
        assert len(failed) == 1
    assert turns._turns == {}


def test_an_error_inside_lets_the_next_one_in() -> None:
    with pytest.raises(KeyError), turn("key", lambda: None):
        raise KeyError
    with turn("key", lambda: None):
        pass

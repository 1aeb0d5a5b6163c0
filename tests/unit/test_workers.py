"""Pools of threads: in whose context they work, and what an interrupt leaves of them."""

from __future__ import annotations

import signal
import threading
from contextvars import ContextVar

import pytest

from containerd_lite.images.archive.exporter import _ReadAhead
from containerd_lite.interrupt import current_interrupt
from containerd_lite.workers import Workers, uncut
from tests.harness.interrupts import Interrupt, InterruptedStart

pytestmark = pytest.mark.interpreter

#: Seconds; against hanging.
PATIENCE = 5.0
name: ContextVar[str] = ContextVar("name", default="nobody")


def test_work_goes_on_in_the_context_of_who_submits_it() -> None:
    with Workers(2, "test") as pool:
        token = name.set("somebody")
        try:
            assert pool.submit(name.get).result(PATIENCE) == "somebody"
        finally:
            name.reset(token)
        pool.submit(name.set, "another")
        assert pool.submit(name.get).result(PATIENCE) == "nobody"


def test_an_error_is_the_result_of_it() -> None:
    with Workers(1, "test") as pool:
        task = pool.submit(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            task.result(PATIENCE)


def test_work_whose_thread_was_interrupted_while_it_started_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs, may_end, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        runs.set()
        may_end.wait(PATIENCE)
        done.set()

    def seen() -> None:
        started.may_begin.set()
        assert runs.wait(PATIENCE)

    timer = threading.Timer(0.2, may_end.set)
    timer.start()
    pool = Workers(1, "test")
    started = InterruptedStart(monkeypatch, "test", seen)
    with pytest.raises(Interrupt), pool:
        pool.submit(work)
    assert done.is_set()
    timer.join()
    started.join()


def test_work_that_has_not_begun_when_all_is_over_never_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = threading.Event()
    pool = Workers(1, "test")
    started = InterruptedStart(monkeypatch, "test", lambda: None)
    with pytest.raises(Interrupt), pool:
        pool.submit(done.set)
    started.may_begin.set()
    started.join()
    assert not done.is_set()


def test_an_export_that_is_interrupted_as_it_begins_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = InterruptedStart(
        monkeypatch, "containerd-lite-export", lambda: started.may_begin.set()
    )
    with pytest.raises(Interrupt), _ReadAhead(None, ()):  # type: ignore[arg-type]
        pass
    assert started.thread is not None
    assert not started.thread.is_alive()


def test_a_call_that_no_signal_cuts_off() -> None:
    """The exception of a signal handler goes on when the call has ended."""
    main = threading.get_ident()
    steps: list[str] = []

    def call() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        interrupt = current_interrupt()
        assert interrupt is not None
        assert interrupt.wait(PATIENCE)
        steps.append("ended")

    with pytest.raises(KeyboardInterrupt):
        uncut(call)
    assert steps == ["ended"]
    assert uncut(lambda: name.get()) == "nobody"

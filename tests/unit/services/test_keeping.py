"""What renewing a lease asks of a daemon that goes on writing under it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from containerd_lite.services.lease_keeping import keeping
from containerd_lite.services.leases import LeaseService
from tests.harness.interrupts import Interrupt, InterruptedStart
from tests.unit.services.scripted_daemon import Answer, Calls, serving

pytestmark = pytest.mark.backend


def test_what_is_written_meanwhile_is_kept_too() -> None:
    calls: Calls = []
    held: dict[str, set[str]] = {}
    renewed, late = threading.Event(), ["late", "later"]

    def create(request: Any) -> Mapping[str, Any]:
        held[request.id] = set() if held else {"early"}
        return {"lease": {"id": request.id}}

    def add(request: Any) -> Mapping[str, Any]:
        held[request.id].add(request.resource.id)
        if late:
            held[next(iter(held))].add(late.pop(0))  # the lease itself
        return {}

    def delete(request: Any) -> Mapping[str, Any]:
        del held[request.id]
        if len([name for name, _ in calls if name == "Leases/Delete"]) == 2:
            renewed.set()
        return {}

    answers: dict[str, Answer] = {
        "Leases/Create": create,
        "Leases/AddResource": add,
        "Leases/Delete": delete,
        "Leases/ListResources": lambda request: {
            "resources": [{"id": id, "type": "content"} for id in held[request.id]]
        },
    }
    with serving(answers, calls) as (channel, context):
        with keeping(LeaseService(channel, context), 1.0) as id:
            assert renewed.wait(10)
            assert held == {id: {"early", "late", "later"}}
        assert not held


def test_a_renewal_that_is_interrupted_as_it_begins_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: Calls = []
    answers: dict[str, Answer] = {
        "Leases/Create": lambda request: {"lease": {"id": request.id}},
        "Leases/Delete": lambda _: {},
    }
    with serving(answers, calls) as (channel, context):
        started = InterruptedStart(
            monkeypatch, "containerd-lite-lease", lambda: started.may_begin.set()
        )
        with pytest.raises(Interrupt), keeping(LeaseService(channel, context), 60.0):
            pass
        assert started.thread is not None
        assert not started.thread.is_alive()
    assert [name for name, _ in calls] == ["Leases/Create", "Leases/Delete"]

"""Health: every status, and one that is not known yet."""

from __future__ import annotations

from typing import Any

import pytest

from containerd_lite.schema.plain import plain
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services.health import HealthService
from tests.unit.services.scripted import Answers, serving

pytestmark = pytest.mark.backend

NAME = "grpc.health.v1.Health"
WORDS = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN", "STATUS_7"]
NUMBERS = [0, 1, 2, 3, 7]


def test_statuses() -> None:
    asked: list[Any] = []
    answers: Answers = {
        f"{NAME}/Check": lambda request: [{"status": 2}],
        f"{NAME}/Watch": lambda request: [{"status": number} for number in NUMBERS],
    }
    with serving(answers, asked) as (channel, context):
        service = HealthService(channel, context)
        assert service.check("a.B") == "NOT_SERVING"
        with service.watch("a.B") as watch:
            assert list(watch) == WORDS
    assert [plain(one) for one in asked] == [{"service": "a.B"}] * 2


def test_list() -> None:
    def answer(request: Any) -> list[dict[str, Any]]:
        kind = CONTAINERD.message(f"{NAME[:-7]}.HealthCheckResponse")
        return [{"statuses": {"": kind(status=1), "a.B": kind(status=2)}}]

    with serving({f"{NAME}/List": answer}, []) as (channel, context):
        assert HealthService(channel, context).list() == {"": "SERVING", "a.B": "NOT_SERVING"}

"""Values that protobuf can carry and Python cannot, and JSON without end."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import InvalidArgument, ProtocolError
from containerd_lite.schema import load
from containerd_lite.schema.plain import fill, plain
from containerd_lite.schema.pool import CONTAINERD, encode
from containerd_lite.schema.values import RUNTIME_SPEC, datetime_of, json_of, timedelta_of
from containerd_lite.services._types import AnyValue, runtime_spec
from tests.unit.services.scripted_daemon import serving

pytestmark = pytest.mark.backend

TIMESTAMP = CONTAINERD.message("google.protobuf.Timestamp")
DURATION = CONTAINERD.message("google.protobuf.Duration")
YEAR_10000 = 253_402_300_800
DEEP = 100_000


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [
        (YEAR_10000, 0),
        (YEAR_10000 - 1, 2**31 - 1),
        (-62_135_596_801, 0),
        (-62_135_596_800, -1),
        (2**63 - 1, 2**31 - 1),
        (-(2**63), -(2**31)),
    ],
)
def test_a_time_that_python_does_not_have(seconds: int, nanos: int) -> None:
    value = TIMESTAMP(seconds=seconds, nanos=nanos)
    with pytest.raises(ProtocolError, match="years 1 and 9999"):
        datetime_of(value)
    body = encode(value)
    with pytest.raises(ProtocolError, match="years 1 and 9999"):
        AnyValue("containerd.services.leases.v1.Lease", b"\x12" + bytes([len(body)]) + body).plain()


def test_a_time_with_negative_nanoseconds() -> None:
    before = datetime_of(TIMESTAMP(seconds=1, nanos=-1))
    assert before == datetime(1970, 1, 1, 0, 0, 0, 999_999, timezone.utc)


@pytest.mark.parametrize("seconds", [2**63 - 1, -(2**63), 10**15])
def test_a_duration_that_python_does_not_have(seconds: int) -> None:
    with pytest.raises(ProtocolError, match="too long"):
        timedelta_of(DURATION(seconds=seconds, nanos=-(2**31)))


def test_the_longest_duration_of_protobuf() -> None:
    assert timedelta_of(DURATION(seconds=315_576_000_000)) == timedelta(seconds=315_576_000_000)


def test_a_list_with_a_time_that_python_does_not_have() -> None:
    def lease(message: Any) -> dict[str, Any]:
        return {"leases": [{"id": "a", "created_at": {"seconds": YEAR_10000}}]}

    with (
        serving({"Leases/List": lease}, []) as (channel, _),
        Client(channel=channel) as client,
        pytest.raises(ProtocolError, match="years 1 and 9999"),
    ):
        list(client.lease_service.list())


def test_a_time_without_a_zone() -> None:
    kind = CONTAINERD.message("containerd.services.leases.v1.Lease")
    with pytest.raises(InvalidArgument, match="no time zone"):
        fill(CONTAINERD, kind, {"created_at": datetime(2026, 1, 1)})


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b"[" * 900 + b"]" * 900,
        b"\xff",
        b"5",
    ],
    ids=["lists", "objects", "closed", "shallow", "bytes", "number"],
)
def test_json_without_end(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="JSON"):
        json_of(body)
    with pytest.raises(ProtocolError, match="JSON"):
        AnyValue(RUNTIME_SPEC, body).plain()


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = value
    return value


@pytest.mark.parametrize(
    "value",
    [
        nested(DEEP),
        endless(),
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": object()},
        {"a": b"x"},
    ],
    ids=["deep", "endless", "nan", "inf", "object", "bytes"],
)
def test_a_spec_that_is_not_json(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="cannot be written as JSON"):
        runtime_spec(value)


def test_fields_without_end() -> None:
    value: dict[str, Any] = {}
    value["nested_type"] = [value]
    kind = CONTAINERD.message("containerd.services.containers.v1.Container")
    with pytest.raises(InvalidArgument):
        fill(CONTAINERD, kind, {"spec": endless()})
    with pytest.raises(InvalidArgument):
        fill(CONTAINERD, kind, {"extensions": endless()})
    assert plain(kind())["id"] == ""


def test_a_descriptor_set_that_never_comes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(InvalidArgument, match="not a regular file"):
            load(name)

"""Records of what cgroups measure, from payloads; version 2 of cgroups has no other test."""

from __future__ import annotations

import pickle
from dataclasses import fields, is_dataclass
from datetime import datetime, timezone
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest

from containerd_lite.errors import ProtocolError
from containerd_lite.schema.plain import fill
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services import cgroups1, cgroups2
from containerd_lite.services._types import AnyValue
from containerd_lite.services.metrics import decode_metrics, metric_of

pytestmark = pytest.mark.backend

V1, V2 = "io.containerd.cgroups.v1", "io.containerd.cgroups.v2"


def payload(package: str, **values: Any) -> AnyValue:
    message = fill(CONTAINERD, CONTAINERD.message(f"{package}.Metrics"), values)
    return AnyValue(f"{package}.Metrics", message.SerializeToString())


@pytest.mark.parametrize(("package", "module"), [(V1, cgroups1), (V2, cgroups2)])
def test_a_record_for_each_message_with_each_field(package: str, module: ModuleType) -> None:
    records = {name: kind for name, kind in vars(module).items() if is_dataclass(kind)}
    messages = [name for name in CONTAINERD.names() if name.startswith(f"{package}.")]
    assert {f"{package}.{name}" for name in records} == set(messages)
    for name, kind in records.items():
        described = CONTAINERD.message(f"{package}.{name}").DESCRIPTOR.fields_by_name
        assert [one.name for one in fields(kind)] == list(described)
        for field, hint in get_type_hints(kind).items():
            (part,) = [one for one in (get_args(hint) or [hint]) if one not in (..., type(None))]
            nested = described[field].message_type
            if nested is not None:
                assert part is records[nested.name]
            else:
                assert type(described[field].default_value) in (part, list)


def numbered(kind: type, start: int = 1) -> tuple[dict[str, Any], int]:
    """A value of its own for each field, two for each that is repeated; and the next number."""
    values: dict[str, Any] = {}
    for one in fields(kind):
        hint = get_type_hints(kind)[one.name]
        part = next((part for part in get_args(hint) if is_dataclass(part)), None)
        count = 2 if str(hint).startswith("tuple") else 1
        made: list[Any] = []
        for _ in range(count):
            if isinstance(part, type):
                value, start = numbered(part, start)
                made.append(value)
            else:
                scalar = (get_args(hint) or [hint])[0]
                made.append(scalar(start))
                start += 1
        values[one.name] = made if count == 2 else made[0]
    return values, start


def assert_is(record: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        found = getattr(record, name)
        if isinstance(value, list):
            assert isinstance(found, tuple)
        for one, wanted in zip(
            found if isinstance(value, list) else [found],
            value if isinstance(value, list) else [value],
            strict=True,
        ):
            if isinstance(wanted, dict):
                assert_is(one, wanted)
            else:
                assert (one, type(one)) == (wanted, type(wanted)), name


@pytest.mark.parametrize(("package", "module"), [(V1, cgroups1), (V2, cgroups2)])
def test_each_value_comes_where_it_belongs(package: str, module: ModuleType) -> None:
    values, count = numbered(module.Metrics)
    assert count > 100
    record = decode_metrics(payload(package, **values))
    assert type(record) is module.Metrics
    assert_is(record, values)
    assert pickle.loads(pickle.dumps(record)) == record
    assert len({record, decode_metrics(payload(package, **values))}) == 1


def test_version_2_byte_by_byte() -> None:
    """The field numbers, written by hand: pids 1, memory 4 (usage 32, psi 38), no limit."""
    most = b"\xff" * 9 + b"\x01"
    pids = b"\x08\x03\x10" + most
    some = b"\x09" + b"\0\0\0\0\0\0\xf8\x3f"  # avg10, the double 1.5
    memory = b"\x80\x02\x80\x20" + b"\xb2\x02" + bytes([len(some) + 2]) + b"\x0a\x09" + some
    raw = b"\x0a" + bytes([len(pids)]) + pids + b"\x22" + bytes([len(memory)]) + memory
    found = decode_metrics(AnyValue(f"{V2}.Metrics", raw))
    assert isinstance(found, cgroups2.Metrics)
    assert found.pids == cgroups2.PidsStat(3, 2**64 - 1)
    assert found.memory == cgroups2.MemoryStat(
        usage=4096, psi=cgroups2.PSIStats(some=cgroups2.PSIData(avg10=1.5))
    )
    assert (found.cpu, found.network) == (None, ())


def test_what_was_not_measured_is_none() -> None:
    assert decode_metrics(payload(V1)) == cgroups1.Metrics()
    assert decode_metrics(payload(V1, cpu={})) == cgroups1.Metrics(cpu=cgroups1.CPUStat())


def test_a_type_that_nobody_knows_stays() -> None:
    unknown = AnyValue("io.containerd.cgroups.v9.Metrics", b"\xff")
    assert decode_metrics(unknown) is unknown


def test_broken_bytes() -> None:
    with pytest.raises(ProtocolError, match=r"not a valid io\.containerd\.cgroups\.v2\.Metrics"):
        decode_metrics(AnyValue(f"{V2}.Metrics", b"\xff"))


def test_a_metric() -> None:
    kind = CONTAINERD.message("containerd.types.Metric")
    data = {"type_url": "a.B", "value": b"x"}
    found = metric_of(kind(id="one", timestamp={"seconds": 1, "nanos": 5000}, data=data))
    when = datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=timezone.utc)
    assert (found.id, found.timestamp, found.data) == ("one", when, AnyValue("a.B", b"x"))
    assert metric_of(kind(id="two")).data is None

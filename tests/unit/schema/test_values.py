"""Plain Python to fields, and back."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerd_lite.schema import values
from containerd_lite.schema.pool import CONTAINERD

UTC = timezone.utc
TIMESTAMP = CONTAINERD.message("google.protobuf.Timestamp")
ANY = CONTAINERD.message("google.protobuf.Any")


@pytest.mark.parametrize(
    ("moment", "seconds", "nanos"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0, 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1, 999_999_000),
        (datetime(1900, 1, 1, tzinfo=UTC), -2_208_988_800, 0),
        (datetime(1, 1, 1, tzinfo=UTC), -62_135_596_800, 0),  # Go's zero time
        (datetime(2038, 1, 19, 3, 14, 8, 1, tzinfo=UTC), 1 << 31, 1000),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), 253_402_300_799, 0),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0, 0),
    ],
)
def test_time(moment: datetime, seconds: int, nanos: int) -> None:
    assert values.timestamp(moment) == {"seconds": seconds, "nanos": nanos}
    found = values.datetime_of(TIMESTAMP(seconds=seconds, nanos=nanos))
    assert found == moment
    assert found.utcoffset() == timedelta(0)


@given(st.datetimes(timezones=st.just(UTC)))
def test_time_round_trip(moment: datetime) -> None:
    assert values.datetime_of(TIMESTAMP(**values.timestamp(moment))) == moment


def test_nanoseconds_are_cut_off() -> None:
    found = values.datetime_of(TIMESTAMP(seconds=-1, nanos=999_999_999))
    assert found == datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        values.timestamp(datetime(2020, 1, 1))


def test_json() -> None:
    body = values.json_bytes({"cwd": "/é", "args": ["a"]})
    assert json.loads(body) == {"cwd": "/é", "args": ["a"]}
    assert values.json_bytes({"b": 1, "a": 2}) == values.json_bytes({"a": 2, "b": 1})
    assert values.RUNTIME_SPEC != values.RUNTIME_PROCESS


def test_message_any() -> None:
    message = TIMESTAMP(seconds=7)
    one = ANY(**values.message_any(message))
    assert one.type_url == "google.protobuf.Timestamp"  # containerd's: no host before it
    assert TIMESTAMP.FromString(one.value).seconds == 7


def test_mask() -> None:
    kind = CONTAINERD.message("google.protobuf.FieldMask")
    assert list(kind(**values.mask(["labels.a", "target"])).paths) == ["labels.a", "target"]

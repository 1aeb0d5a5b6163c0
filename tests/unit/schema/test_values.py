"""Plain Python to fields, and back."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerd_lite.errors import InvalidArgument, ProtocolError
from containerd_lite.schema import values
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.schema.values import bytes_field

pytestmark = pytest.mark.backend

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
    with pytest.raises(InvalidArgument, match="no time zone"):
        values.timestamp(datetime(2020, 1, 1))


def test_json() -> None:
    body = values.json_bytes({"cwd": "/é", "args": ["a"]})
    assert json.loads(body) == {"cwd": "/é", "args": ["a"]}
    assert values.json_bytes({"b": 1, "a": 2}) == values.json_bytes({"a": 2, "b": 1})
    assert values.RUNTIME_SPEC != values.RUNTIME_PROCESS


def test_mask() -> None:
    kind = CONTAINERD.message("google.protobuf.FieldMask")
    assert list(kind(**values.mask(["labels.a", "target"])).paths) == ["labels.a", "target"]


def test_a_bytes_field_is_found_without_decoding() -> None:
    kind = CONTAINERD.message("containerd.services.content.v1.ReadContentResponse")
    for offset in (0, 1, 1 << 40, -1):
        for data in (b"", b"x", bytes(300), bytes(70_000)):
            encoded = kind(offset=offset, data=data).SerializeToString()
            assert bytes(bytes_field(encoded, 2)) == data
            assert bytes(bytes_field(bytearray(encoded), 3)) == b""
    # The last one counts; fields of every wire type are passed over.
    others = b"\x0d1234" + b"\x1112345678" + b"\x08\x96\x01"
    assert bytes(bytes_field(b"\x12\x01a" + others + b"\x12\x02bc" + others, 2)) == b"bc"


@pytest.mark.parametrize(
    "broken",
    [
        b"\x12",
        b"\x12\x05abc",
        b"\x08",
        b"\x0b",
        b"\x0c",
        b"\x0f",
        b"\x11123",
        b"\xff" * 20,
        b"\x12\xff",
    ],
)
def test_what_is_no_message_has_no_fields(broken: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a valid message"):
        bytes_field(broken, 2)


def test_a_message_of_very_many_fields_is_refused() -> None:
    with pytest.raises(ProtocolError, match="1000 fields"):
        bytes_field(b"\x08\0" * 1001, 2)
    assert bytes(bytes_field(b"\x08\0" * 999 + b"\x12\1x", 2)) == b"x"

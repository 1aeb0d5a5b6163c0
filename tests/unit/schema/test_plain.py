"""Plain Python to messages of any kind, and back."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.schema.plain import fill, plain
from containerd_lite.schema.pool import CONTAINERD

pytestmark = pytest.mark.backend

NOON = datetime(2026, 1, 2, 12, 0, 0, 250_000, timezone.utc)


def filled(name: str, /, **fields: object) -> object:
    return fill(CONTAINERD, CONTAINERD.message(name), fields)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (
            "containerd.services.images.v1.Image",
            {
                "name": "a",
                "labels": {"k": "v"},
                "target": {
                    "media_type": "t",
                    "digest": "d",
                    "size": 1 << 40,
                    "annotations": {},
                },
                "created_at": NOON,
                "updated_at": None,
            },
        ),
        (
            "containerd.types.Mount",
            {"type": "t", "source": "", "target": "", "options": ["a", "b"]},
        ),
        ("google.protobuf.Any", {"type_url": "t", "value": b"\0\xff"}),
        ("google.rpc.RetryInfo", {"retry_delay": timedelta(seconds=-2, milliseconds=250)}),
        (
            "containerd.types.transfer.AuthResponse",
            {"authType": "REFRESH", "secret": "s", "username": "u", "expire_at": NOON},
        ),
        (
            "containerd.types.Sandbox.Runtime",
            {"name": "n", "options": {"type_url": "t", "value": b"v"}},
        ),
        (
            "containerd.services.containers.v1.CreateContainerRequest",
            {"container": None},
        ),
    ],
)
def test_what_goes_in_comes_out(name: str, fields: dict[str, object]) -> None:
    found = plain(filled(name, **fields))
    assert found == fields
    assert plain(filled(name, **found)) == fields


def test_maps_of_messages_and_messages_as_they_are() -> None:
    value = CONTAINERD.message("google.protobuf.Any")(type_url="t", value=b"v")
    made = filled(
        "containerd.services.containers.v1.Container", extensions={"one": value, "two": {}}
    )
    assert plain(made)["extensions"] == {
        "one": {"type_url": "t", "value": b"v"},
        "two": {"type_url": "", "value": b""},
    }


def test_a_message_without_fields_is_there() -> None:
    made = filled("containerd.services.images.v1.CreateImageRequest", image={})
    assert plain(made)["image"]["name"] == ""


def test_numbers_of_enums_that_have_no_name() -> None:
    made = filled("containerd.types.transfer.AuthResponse", authType=77)
    assert plain(made)["authType"] == 77


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"nam": "x"}, r"has no field 'nam'.*Did you mean 'name'\?.*labels, name, target"),
        ({"target": {"dgst": "x"}}, r"Descriptor has no field 'target.dgst'.*digest"),
        ({"zzz": 1}, r"has no field 'zzz'. Its fields are"),
        ({"name": 7}, "name cannot be 7"),
        ({"labels": ["a"]}, "labels cannot be .*expected a mapping"),
        ({"labels": {"a": 1}}, "labels cannot be"),
        (
            {"target": 3},
            "target cannot be 3: expected a mapping of the fields of containerd.types.Desc",
        ),
        ({"target": {"size": "x"}}, "target.size cannot be 'x'"),
        ({"target": {"size": 1 << 70}}, "target.size cannot be"),
    ],
)
def test_what_does_not_fit(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        filled("containerd.services.images.v1.Image", **fields)


@pytest.mark.parametrize("value", ["ro", b"ro", {"ro": 1}, 7])
def test_a_list_is_a_list(value: object) -> None:
    with pytest.raises(InvalidArgument, match="expected a list"):
        filled("containerd.types.Mount", options=value)


def test_an_enum_lists_its_values() -> None:
    with pytest.raises(InvalidArgument, match="NONE, CREDENTIALS, REFRESH, HEADER"):
        filled("containerd.types.transfer.AuthResponse", authType="PASSWORD")

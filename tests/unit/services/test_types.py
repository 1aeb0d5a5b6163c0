"""``Any`` values: containerd's bare names, JSON of the runtime spec, unknown types; and mounts."""

from __future__ import annotations

import pickle

import pytest

from containerd_lite.errors import InvalidArgument, ProtocolError
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._types import AnyValue, Mount, runtime_spec

pytestmark = pytest.mark.backend

#: Every option that containerd takes as an Any, with each of its fields.
OPTIONS: dict[str, dict[str, object]] = {
    "containerd.runc.v1.Options": {
        "no_pivot_root": True,
        "no_new_keyring": True,
        "shim_cgroup": "/a",
        "io_uid": 1,
        "io_gid": 2,
        "binary_name": "crun",
        "root": "/r",
        "criu_path": "/criu",
        "systemd_cgroup": True,
        "criu_image_path": "/i",
        "criu_work_path": "/w",
        "task_api_address": "",
        "task_api_version": 0,
    },
    "runtimeoptions.v1.Options": {"type_url": "t", "config_path": "/c", "config_body": b"b"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_come_back(name: str) -> None:
    known = {field.name for field in CONTAINERD.message(name).DESCRIPTOR.fields}
    fields = {key: value for key, value in OPTIONS[name].items() if key in known}
    value = AnyValue.of(name, fields)
    assert value.type_url == name
    found = value.plain()
    assert found is not None
    assert {key: found[key] for key in fields} == fields
    assert AnyValue.of(name, found) == value


def test_the_runtime_spec_is_json() -> None:
    spec = runtime_spec({"process": {"args": ["é"]}})
    assert spec.type_url == "types.containerd.io/opencontainers/runtime-spec/1/Spec"
    assert spec.plain() == {"process": {"args": ["é"]}}
    resources = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
    assert AnyValue.of(resources, {"cpu": {"shares": 2}}).plain() == {"cpu": {"shares": 2}}


def test_an_unknown_type_stays_as_it_is() -> None:
    value = AnyValue("not.Known", b"\xff\x00")
    assert value.plain() is None
    assert pickle.loads(pickle.dumps(value)) == value
    with pytest.raises(InvalidArgument, match=r"no message 'not\.Known'"):
        AnyValue.of("not.Known", {})


def test_a_name_as_go_writes_it_elsewhere() -> None:
    value = AnyValue("type.googleapis.com/google.rpc.RetryInfo", b"")
    assert value.plain() == {"retry_delay": None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("containerd.types.Mount", b"\xff\xff"),
        ("types.containerd.io/x", b"{"),
        ("types.containerd.io/x", b"\xff"),
        ("types.containerd.io/x", b"[1]"),
        ("types.containerd.io/x", b"[" * 100_000),
    ],
)
def test_bytes_that_are_no_such_thing(name: str, value: bytes) -> None:
    with pytest.raises(ProtocolError):
        AnyValue(name, value).plain()


def test_fields_that_are_none() -> None:
    with pytest.raises(InvalidArgument, match="has no field 'no_pivot'"):
        AnyValue.of("containerd.runc.v1.Options", {"no_pivot": True})


@pytest.mark.parametrize(
    ("kind", "options", "is_read_only"),
    [
        ("bind", ("rbind", "ro"), True),
        ("bind", ("rbind", "rw"), False),
        ("bind", (), False),
        ("erofs", ("rw",), True),
        ("format/erofs", (), True),
        ("overlay", ("lowerdir=/a:/b",), True),
        ("overlay", ("upperdir=/u", "workdir=/w", "lowerdir=/a"), False),
        ("overlay", ("lowerdir=/a,upperdir=/u",), False),
        ("overlay", ("upperdir=/u,ro",), True),
        ("format/mkdir/overlay", ("upperdir={{ mount 0 }}/upper",), False),
        ("format/mkdir/overlay", ("ro", "lowerdir={{ overlay 0 1 }}"), True),
        ("ext4", ("rw", "loop"), False),
        ("ext4", ("ro,loop",), False),  # only an overlay's options are split
    ],
)
def test_mounts_that_are_read_only(kind: str, options: tuple[str, ...], is_read_only: bool) -> None:
    """core/mount/mount.go, ReadOnly."""
    assert Mount(kind, "/source", options=options).is_read_only is is_read_only

"""Introspection's records, every field; and what asks a daemon before it does a thing."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.oci.platform import Platform
from containerd_lite.schema.plain import plain
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._types import AnyValue
from containerd_lite.services.introspection import (
    Deprecation,
    IntrospectionService,
    Plugin,
    PluginInfo,
    RuntimeInfo,
    RuntimeRequest,
    Server,
)
from containerd_lite.services.snapshots import SnapshotService
from tests.unit.services.scripted import Answers, serving

pytestmark = pytest.mark.backend

NAME = "containerd.services.introspection.v1.Introspection"
OPTION = AnyValue("a.B", b"c")
PLUGIN: dict[str, Any] = {
    "type": "io.containerd.snapshotter.v1",
    "id": "erofs",
    "requires": ["x", "y"],
    "platforms": [
        {
            "os": "linux",
            "architecture": "arm",
            "variant": "v7",
            "os_version": "6",
            "os_features": ["f"],
        }
    ],
    "exports": {"root": "/r"},
    "capabilities": ["rebase", "other"],
    "init_err": {"code": 9, "message": "no", "details": [vars(OPTION)]},
}
FULL = Plugin(
    "io.containerd.snapshotter.v1",
    "erofs",
    ("x", "y"),
    (Platform("linux", "arm", "v7", "6", ("f",)),),
    {"root": "/r"},
    ("rebase", "other"),
    "no",
    9,
    (OPTION,),
)


def test_plugins_and_their_info() -> None:
    asked: list[Any] = []
    answers: Answers = {
        f"{NAME}/Plugins": lambda request: [{"plugins": [PLUGIN, {"id": "b"}]}],
        f"{NAME}/PluginInfo": lambda request: [{"plugin": PLUGIN, "extra": vars(OPTION)}],
    }
    with serving(answers, asked) as (channel, context):
        service = IntrospectionService(channel, context)
        first, second = service.plugins("id==a", "id==b")
        info = service.plugin_info("t", "i", OPTION)
        service.plugin_info("t", "i")
    assert vars(first) == vars(FULL)
    assert vars(second) == vars(Plugin("", "b"))
    assert info == PluginInfo(FULL, OPTION)
    assert [plain(one) for one in asked] == [
        {"filters": ["id==a", "id==b"]},
        {"type": "t", "id": "i", "options": vars(OPTION)},
        {"type": "t", "id": "i", "options": None},
    ]


def test_the_server() -> None:
    warned = {"id": "a", "message": "m", "last_occurrence": {"seconds": 1, "nanos": 5000}}
    server = {"uuid": "u", "pid": 1, "pidns": 2, "deprecations": [warned, {"id": "b"}]}
    with serving({f"{NAME}/Server": lambda request: [server]}, []) as (channel, context):
        found = IntrospectionService(channel, context).server()
    when = datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=timezone.utc)
    assert found == Server("u", 1, (Deprecation("a", "m", when), Deprecation("b", "")), 2)


def test_runtimes() -> None:
    request = RuntimeRequest("io.containerd.runc.v2", OPTION).to_any()
    assert request.plain() == {
        "runtime_path": "io.containerd.runc.v2",
        "options": vars(OPTION),
    }
    assert RuntimeRequest("x").to_any().plain() == {"runtime_path": "x", "options": None}
    kind = CONTAINERD.message("containerd.types.RuntimeInfo")
    message = kind(
        name="n",
        version={"version": "1", "revision": "r"},
        options=vars(OPTION),
        features={"type_url": "j", "value": b"{}"},
        annotations={"a": "b"},
    )
    value = AnyValue(kind.DESCRIPTOR.full_name, message.SerializeToString())
    found = RuntimeInfo.from_any(value)
    assert vars(found) == vars(RuntimeInfo("n", "1", "r", OPTION, AnyValue("j", b"{}"), {"a": "b"}))
    assert RuntimeInfo.from_any(AnyValue(value.type_url, b"")) == RuntimeInfo("")
    with pytest.raises(InvalidArgument):
        RuntimeInfo.from_any(OPTION)


def test_a_snapshotter_that_can_rebase_is_given_the_parent() -> None:
    asked: list[Any] = []
    answers: Answers = {
        f"{NAME}/Plugins": lambda request: [{"plugins": [PLUGIN]}],
        "containerd.services.snapshots.v1.Snapshots/Commit": lambda request: [{}],
    }
    with serving(answers, asked) as (channel, context):
        SnapshotService(channel, context, "erofs").commit("n", "k", {"a": "b"}, parent="p")
    assert plain(asked[0]) == {"filters": ['type=="io.containerd.snapshotter.v1",id=="erofs"']}
    assert plain(asked[1]) == {
        "snapshotter": "erofs",
        "name": "n",
        "key": "k",
        "labels": {"a": "b"},
        "parent": "p",
    }

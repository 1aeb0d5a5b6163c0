"""The daemon's plugins and its identity, beside what ``ctr`` and the kernel say of them."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import NotFound, Unimplemented
from containerd_lite.services.filters import Filter
from containerd_lite.services.introspection import RuntimeInfo, RuntimeRequest
from tests.e2e.services.leftovers import (
    lacks,
    nothing_stays,  # noqa: F401
    rows,
)
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]

SNAPSHOTTER = "io.containerd.snapshotter.v1"
#: A setting that 1.7 warns of, and one that 2.x warns of. Nobody listens there.
TRACING = """
[plugins."io.containerd.tracing.processor.v1.otlp"]
endpoint = "http://127.0.0.1:1"
"""
MIRROR = """
[plugins."io.containerd.cri.v1.images".registry]
config_path = ""
mirrors."example.com".endpoint = ["http://127.0.0.1:1"]
"""


def details(daemon: Daemon, namespace: str) -> list[dict[str, str]]:
    """Each plugin of ``ctr plugins ls -d``: its lines by what stands before the colon."""
    said = daemon.ctr("plugins", "ls", "-d", namespace=namespace).stdout.decode()
    blocks = re.split(r"\n\s*\n", said)
    found: list[dict[str, str]] = []
    for block in blocks:
        lines = re.findall(r"^(\w[\w ]*):[ \t]*(.*)$", block, re.M)
        if any(name == "Type" for name, _ in lines):
            found.append({"block": block, **dict(lines)})
    return found


def test_plugins(client: Client, daemon: Daemon, namespace: str) -> None:
    found = client.introspection_service.plugins()
    listed = {
        (line[0], line[1]): (line[2], line[-1]) for line in rows(daemon, namespace, "plugins", "ls")
    }
    assert len(found) == len(listed)
    for plugin in found:
        platforms, status = listed[plugin.type, plugin.id]
        names = {str(replace(platform, os_features=())) for platform in plugin.platforms}
        assert (",".join(sorted(names)) or "-") == platforms  # ctr prints no features
        assert (status == "ok") == (plugin.error == "" and plugin.error_code == 0)
    told = {(one["Type"], one["ID"]): one["block"] for one in details(daemon, namespace)}
    assert set(told) == set(listed)
    for plugin in found:
        block = told[plugin.type, plugin.id]
        words = block.split()
        parts = [*plugin.requires, *plugin.exports, *plugin.exports.values()]
        assert [part for part in parts if part not in words] == []
        capabilities = re.search(r"^Capabilities: *(\S+)", block, re.M)
        assert ",".join(plugin.capabilities) == (capabilities[1] if capabilities else "")
        if plugin.error:
            assert " ".join(plugin.error.split()) in " ".join(words)
    snapshotters = {one.id: one for one in found if one.type == SNAPSHOTTER}
    root = str(daemon.root / f"{SNAPSHOTTER}.overlayfs")
    assert snapshotters["overlayfs"].exports == {"root": root}
    if daemon.version_info >= (2, 3):  # the snapshotter unpacks native layers of EROFS, too
        plain, native = snapshotters["erofs"].platforms
        assert (plain.os_features, native.os_features) == ((), ("erofs",))
        assert str(native) == str(plain).replace("linux", "linux(+erofs)")


def test_errors_have_a_code(client: Client, daemon: Daemon, namespace: str) -> None:
    broken = [one for one in client.introspection_service.plugins() if one.error]
    assert broken
    told = {(one["Type"], one["ID"]): one["block"] for one in details(daemon, namespace)}
    for plugin in broken:
        code = re.search(r"Code:\s*(\w+)", told[plugin.type, plugin.id])
        names = {2: "Unknown", 9: "FailedPrecondition", 12: "Unimplemented"}
        assert code is not None
        assert names.get(plugin.error_code, "") == code[1]


def test_filters(client: Client) -> None:
    service = client.introspection_service
    wanted = (Filter("type") == SNAPSHOTTER) & (Filter("id") == "native")
    assert [plugin.id for plugin in service.plugins(wanted)] == ["native"]
    some = service.plugins(wanted, f"type=={SNAPSHOTTER},id==overlayfs")
    assert {plugin.id for plugin in some} == {"native", "overlayfs"}


def test_the_server(client: Client, daemon: Daemon, namespace: str) -> None:
    server = client.introspection_service.server()
    said = daemon.ctr("version", namespace=namespace).stdout.decode()
    assert server.uuid == re.findall(r"UUID:\s*(\S+)", said)[-1]
    if daemon.version_info >= (1, 7):
        assert server.pid == daemon.pid
        assert server.pidns == os.stat(f"/proc/{daemon.pid}/ns/pid").st_ino
    else:
        assert (server.pid, server.pidns) == (0, 0)


def test_deprecations(daemon: Daemon) -> None:
    always = set()
    if daemon.version_info >= (2, 2) and not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        always.add("io.containerd.deprecation/cgroup-v1")  # because of this machine
    with Daemon(daemon.generation) as new, Client(new.address) as client:
        assert {one.id for one in client.introspection_service.server().deprecations} == always
    is_2 = daemon.version_info >= (2,)
    extra = MIRROR if is_2 else TRACING
    with Daemon(daemon.generation, extra=extra) as old, Client(old.address) as client:
        found = client.introspection_service.server().deprecations
        if daemon.version_info < (1, 7):
            assert found == ()
            return
        told = json.loads(old.ctr("deprecations", "list", "--format", "json").stdout)
        told.sort(key=lambda one: one["id"])  # neither is in any order
        found = tuple(sorted(found, key=lambda one: one.id))
        assert [(one.id, one.message) for one in found] == [
            (one["id"], one["message"]) for one in told
        ]
        setting = "cri-registry-mirrors" if is_2 else "tracing-processor-config"
        expected = {*always, f"io.containerd.deprecation/{setting}"}
        assert {one.id for one in found} == expected
        for one, theirs in zip(found, told, strict=True):
            assert one.last_occurrence is not None
            when = one.last_occurrence.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0")
            assert theirs["lastOccurrence"].startswith(when)


def test_plugin_info(client: Client, daemon: Daemon, namespace: str) -> None:
    service = client.introspection_service
    ask = RuntimeRequest("io.containerd.runc.v2").to_any()
    if daemon.version_info < (2,):
        with pytest.raises(Unimplemented) as caught:
            service.plugin_info(SNAPSHOTTER, "native")
        assert lacks(caught.value, daemon, "2.0")
        return
    plain = service.plugin_info(SNAPSHOTTER, "native")
    assert plain.extra is None
    assert [plain.plugin] == service.plugins(f"type=={SNAPSHOTTER},id==native")
    info = service.plugin_info("io.containerd.runtime.v2", "task", ask)
    assert info.extra is not None
    runtime = RuntimeInfo.from_any(info.extra)
    told = json.loads(daemon.ctr("plugins", "inspect-runtime", namespace=namespace).stdout)
    assert runtime.name == told["Name"] == "io.containerd.runc.v2"
    assert runtime.version == told["Version"]["Version"]
    assert runtime.revision == told["Version"]["Revision"]
    assert runtime.features is not None
    assert json.loads(runtime.features.value) == told["Features"]
    assert runtime.annotations == (told["Annotations"] or {})
    with pytest.raises(NotFound):
        service.plugin_info(SNAPSHOTTER, "no such")
    with pytest.raises(Unimplemented):
        service.plugin_info(SNAPSHOTTER, "native", ask)


def test_version(client: Client, daemon: Daemon, namespace: str) -> None:
    found = client.version_service.version()
    server = daemon.ctr("version", namespace=namespace).stdout.decode().partition("Server:")[2]
    told = dict(re.findall(r"(Version|Revision): *(\S*)", server))
    assert (found.version, found.revision) == (told["Version"], told["Revision"])
    assert Path(f"/proc/{daemon.pid}").exists()

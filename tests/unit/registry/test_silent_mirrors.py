"""Mirrors that take connections and say nothing, before a registry that is well."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import RegistryUnavailable
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.registry import Registry
from tests.unit.registry.scripted import Scripted, reply

BLOB = b"a layer"
LAYER = Descriptor(media_types.OCI_LAYER, digests.of(BLOB), len(BLOB))
INDEX = b'{"schemaVersion":2,"manifests":[]}'


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as server:
        server.on("HEAD", "/v2/a/manifests/1", reply(404))
        found = reply(200, INDEX, Content_Type=media_types.OCI_INDEX)
        server.on("GET", "/v2/a/manifests/1", found)
        server.on("GET", f"/v2/a/blobs/{LAYER.digest}", reply(200, BLOB))
        yield server


@pytest.fixture
def mirrored(server: Scripted, tmp_path: Path) -> Iterator[Path]:
    """The folder of a ``hosts.toml`` that puts two silent mirrors before the registry."""
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        folder = tmp_path / server.host
        folder.mkdir()
        mirrors = [f'[host."http://127.0.0.1:{one.getsockname()[1]}"]\n' for one in silent]
        (folder / "hosts.toml").write_text(f'server = "{server.origin}"\n{"".join(mirrors)}')
        yield tmp_path


def test_each_host_has_all_of_the_time(server: Scripted, mirrored: Path) -> None:
    reference = Reference.parse(f"{server.host}/a:1")
    with Registry(server.host, hosts_dirs=[mirrored], timeout=0.3) as registry:
        assert registry.resolve(reference).digest == digests.of(INDEX)
        with registry.open_blob(reference, LAYER) as reader:
            assert reader.read() == BLOB


def test_a_deadline_is_for_all_of_them(server: Scripted, mirrored: Path) -> None:
    reference = Reference.parse(f"{server.host}/a:1")
    with (
        Registry(server.host, hosts_dirs=[mirrored], timeout=60) as registry,
        pytest.raises(RegistryUnavailable, match="in time"),
    ):
        registry.resolve(reference, deadline=Deadline(0.3))

"""Past the typed services: any method by its name, with messages or plain mappings."""

from __future__ import annotations

import pytest

from containerd_lite import Client, schema
from containerd_lite.errors import InvalidArgument, NotFound, Unimplemented
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._base import MessageStream
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
]

_NAMESPACES = "containerd.services.namespaces.v1.Namespaces"


def test_call(daemon: Daemon, client: Client, namespace: str) -> None:
    fields = {"namespace": {"name": namespace, "labels": {"a": "b"}}}
    made = client.call(f"{_NAMESPACES}/Create", fields)
    assert made.namespace.labels["a"] == "b"
    assert f"{namespace} a=b" in " ".join(daemon.ctr("namespaces", "list").stdout.decode().split())
    kind = CONTAINERD.method(f"{_NAMESPACES}/Delete").request
    client.call(f"{_NAMESPACES}/Delete", kind(name=namespace))
    assert namespace not in daemon.namespaces()
    with pytest.raises(NotFound):
        client.call(f"{_NAMESPACES}/Delete", {"name": namespace}, timeout=30)


@pytest.mark.registry
def test_a_stream_of_messages(client: Client, busybox: str) -> None:
    image = client.pull(busybox)
    found = client.call("containerd.services.content.v1.Content/List", {"filters": []})
    assert isinstance(found, MessageStream)
    with found:
        digests = {info.digest for message in found for info in message.info}
    assert image.target.digest in digests
    image.delete(sync=True)


def test_stub(client: Client, daemon: Daemon) -> None:
    stub = client.stub("containerd.services.version.v1.Version", timeout=30)
    assert daemon.version in stub.Version().version
    assert dir(stub) == ["Version"]
    assert "Version" in repr(stub)
    with pytest.raises(AttributeError, match="it has: Version"):
        stub.Vershun  # noqa: B018


def test_a_service_that_came_with_2_2(client: Client, daemon: Daemon) -> None:
    service = "containerd.services.mounts.v1.Mounts"
    if daemon.version_info >= (2, 2):
        assert list(client.call(f"{service}/List", {})) == []
        return
    for method in CONTAINERD.methods(service):
        with pytest.raises(Unimplemented) as caught:
            list(client.call(f"{service}/{method}", {}))
        assert caught.value.remedy.startswith(f"This is containerd {daemon.version}")
        assert caught.value.remedy.endswith("the method came with 2.2")


@pytest.mark.parametrize(
    ("method", "request_", "said"),
    [
        (f"{_NAMESPACES}/Get", {"nam": "x"}, "has no field 'nam'.*'name'"),
        (f"{_NAMESPACES}/Create", {"namespace": {"nam": "x"}}, "'namespace.nam'"),
        (f"{_NAMESPACES}/Gett", {}, "no method .*Use one of: Create, Delete, Get, List, Update"),
        ("containerd.services.Namespaces/Get", {}, f"no service .*Use one of: {_NAMESPACES}"),
        ("nothing.Like/This", {}, "no service"),
        (f"{_NAMESPACES}/Get", object(), "takes a .*GetNamespaceRequest of this schema"),
    ],
)
def test_names_that_are_wrong(client: Client, method: str, request_: object, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        client.call(method, request_)


def test_a_request_or_its_fields(client: Client) -> None:
    stub = client.stub(_NAMESPACES)
    with pytest.raises(InvalidArgument, match="Pass only one"):
        stub.Get({"name": "x"}, name="y")


def test_a_descriptor_set_of_ones_own(client: Client, namespace: str) -> None:
    """As protoc writes it; Google's well-known types need not be in it."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    files = FileDescriptorSet()
    files.file.add().MergeFromString(CONTAINERD._read("services.namespaces.v1.namespace.binpb"))
    own = schema.load(files.SerializeToString())
    assert own.methods(_NAMESPACES) == ["Get", "List", "Create", "Update", "Delete"]
    stub = client.stub(_NAMESPACES, schema=own)
    stub.Create(namespace={"name": namespace})
    assert namespace in {one.name for one in stub.List().namespaces}
    theirs = CONTAINERD.method(f"{_NAMESPACES}/Delete").request
    with pytest.raises(InvalidArgument, match="of this schema"):
        stub.Delete(theirs(name=namespace))
    stub.Delete(name=namespace)


def test_fields_that_the_schema_lacks_are_kept(client: Client, daemon: Daemon) -> None:
    """As with a daemon that is newer than the schema."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    files = FileDescriptorSet()
    files.file.add().MergeFromString(CONTAINERD._read("services.version.v1.version.binpb"))
    (response,) = files.file[0].message_type
    del response.field[1:]
    old = schema.load(files.SerializeToString())
    answer = client.call("containerd.services.version.v1.Version/Version", schema=old)
    assert daemon.version in answer.version
    assert not hasattr(answer, "revision")
    whole = CONTAINERD.message("containerd.services.version.v1.VersionResponse")
    kept = whole.FromString(answer.SerializeToString())
    found = client.version()
    assert (kept.version, kept.revision) == (found.version, found.revision)

"""Images moved by the daemon, beside what ``ctr`` and the registry say of them.

Streams are opened within a lease: garbage collection ends a stream outside one if its namespace
does not exist yet.
"""

from __future__ import annotations

import http.client
import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import Cancelled, ContainerdError, NotFound, Unimplemented
from containerd_lite.oci import platform as platforms
from containerd_lite.services._types import AnyValue
from containerd_lite.services.streaming import ByteReader, ByteWriter, Stream
from containerd_lite.services.transfer import TransferOptions
from containerd_lite.services.transfer_types import (
    AuthRequest,
    AuthResponse,
    ImageExportStream,
    ImageImportStream,
    ImageReference,
    ImageStore,
    OCIRegistry,
    Progress,
    TransferResolver,
    UnpackConfiguration,
    transfer_value,
)
from tests.e2e.services.leftovers import (
    labels_of,
    lacks,
    nothing_stays,  # noqa: F401
    rows,
)
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry
from tests.harness.tls import Pair, localhost_pem

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]

IMAGE = images.random_image([100_000, 5], seed=4)
USER = ("user", "the-secret")
PLAIN = TransferResolver(default_scheme="http")


@pytest.fixture(scope="module")
def pushed(registry: Registry) -> str:
    return images.push(IMAGE, registry.host, "library/two-layers", "1")


@pytest.fixture
def there(client: Client, daemon: Daemon, namespace: str, pushed: str) -> Iterator[str]:
    """The name of an image that ``ctr`` has pulled."""
    local = ("--local",) if daemon.version_info >= (2,) else ()
    daemon.ctr("images", "pull", "--plain-http", *local, pushed, namespace=namespace)
    yield pushed
    collect(client)


def collect(client: Client) -> None:
    for image in client.image_service.list():
        client.image_service.delete(image.name, sync=True)


def table(daemon: Daemon, namespace: str) -> dict[str, list[str]]:
    """Type, digest and so on by name, as ``ctr images ls`` has them."""
    return {line[0]: line[1:] for line in rows(daemon, namespace, "images", "ls")}


def progress(stream: Stream) -> list[Progress]:
    found = [transfer_value(value) for value in stream]  # until the daemon ends it
    assert all(isinstance(one, Progress) for one in found)
    return [one for one in found if isinstance(one, Progress)]


def has_transfer(client: Client, daemon: Daemon) -> bool:
    """1.6 has none, and says so."""
    if daemon.version_info >= (1, 7):
        return True
    with pytest.raises(Unimplemented) as caught:
        client.transfer(ImageStore("a"), ImageStore("b"))
    assert lacks(caught.value, daemon, "1.7")
    return False


def test_tag(client: Client, daemon: Daemon, namespace: str, there: str) -> None:
    if not has_transfer(client, daemon):
        return
    client.transfer(ImageStore(there), ImageStore("tagged:1", labels={"a": "b"}), TransferOptions())
    found = table(daemon, namespace)
    assert set(found) == {there, "tagged:1"}
    assert found["tagged:1"][1] == IMAGE.digest == found[there][1]
    with pytest.raises(NotFound):
        client.transfer(ImageStore("no:1"), ImageStore("other:1"))


def test_what_cannot_be(client: Client, daemon: Daemon) -> None:
    if not has_transfer(client, daemon):
        return
    transfer = client.transfer_service.transfer
    one = OCIRegistry("127.0.0.1:1/a/b:1")
    with pytest.raises(Unimplemented):
        transfer(one, one)
    with pytest.raises(NotFound):
        transfer(ImageImportStream("no-such-stream"), ImageStore("a"))
    with pytest.raises(NotFound):
        transfer(ImageStore("a"), ImageStore("b"), TransferOptions("no-such-stream"))
    with pytest.raises(ContainerdError):
        transfer(AnyValue("no.such.Type", b""), ImageStore("a"))
    with client.lease(), client.streaming_service.stream() as stream:
        with pytest.raises(ContainerdError, match=r"127\.0\.0\.1:1"):
            transfer(one, ImageStore("a"), TransferOptions(stream.id))
        assert progress(stream)[0].event.startswith("Resolving")  # and its stream was ended


def export(client: Client, destination: ImageExportStream, stream: Stream, name: str) -> bytes:
    """The archive; its stream gets the progress too, and so an end."""
    told: list[AnyValue] = []
    reader = ByteReader(stream, other=told.append, timeout=20)
    with ThreadPoolExecutor(1) as pool:
        archive = pool.submit(reader.readall)
        client.transfer(ImageStore(name), destination, TransferOptions(destination.stream))
        body: bytes = archive.result()
    events = [one.event for one in map(transfer_value, told) if isinstance(one, Progress)]
    assert events == ["Exporting", "Completed export"]
    return body


def test_export(client: Client, daemon: Daemon, there: str) -> None:
    if not has_transfer(client, daemon):
        return
    for is_plain in (False, True):
        with client.streaming_service.stream() as stream:
            destination = ImageExportStream(stream.id, skip_compatibility_manifest=is_plain)
            body = export(client, destination, stream, there)
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            names = set(archive.getnames())
            for digest, blob in IMAGE.blobs.items():
                file = archive.extractfile(f"blobs/{digest.replace(':', '/')}")
                assert file is not None
                assert file.read() == blob
        assert {"index.json", "oci-layout"} <= names
        assert ("manifest.json" in names) is not is_plain


def test_an_export_of_some_platforms(
    client: Client, daemon: Daemon, registry: Registry, namespace: str
) -> None:
    if not has_transfer(client, daemon):
        return
    parts = {
        name: images.scratch({"name": name.encode()}, platform=name)
        for name in (images.machine_platform(), "linux/s390x")
    }
    whole = images.index_of(parts)
    name = images.push(whole, registry.host, "library/index", "1")
    local = ("--local",) if daemon.version_info >= (2,) else ()
    how = ("--plain-http", "--all-platforms", *local)
    daemon.ctr("images", "pull", *how, name, namespace=namespace)
    wanted = parts["linux/s390x"]
    for exported, platform in ((wanted, platforms.parse("linux/s390x")), (whole, None)):
        with client.streaming_service.stream() as stream:
            destination = ImageExportStream(
                stream.id,
                platforms=() if platform is None else (platform,),
                all_platforms=platform is None,
            )
            body = export(client, destination, stream, name)
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            names = {member.name for member in archive if member.isfile()}
        blobs = {f"blobs/{digest.replace(':', '/')}" for digest in exported.blobs}
        own = {f"blobs/{whole.digest.replace(':', '/')}"}
        assert {one for one in names if one.startswith("blobs/")} == blobs | own
    collect(client)


def test_import_of_what_ctr_exported(
    client: Client, daemon: Daemon, there: str, tmp_path: Path
) -> None:
    if not has_transfer(client, daemon):
        return
    path = tmp_path / "archive.tar"
    daemon.export(there, client.namespace, str(path))
    other = client.in_namespace(daemon.new_namespace())

    def send(stream: Stream) -> None:
        writer = ByteWriter(stream, timeout=20)
        writer.write(path.read_bytes())
        writer.finish()

    with (
        other.lease(),
        other.streaming_service.stream() as up,
        other.streaming_service.stream() as told,
    ):
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(send, up)
            other.transfer_service.transfer(
                ImageImportStream(up.id),
                ImageStore(
                    labels={"from": "ctr"},
                    extra_references=(ImageReference("x/", is_prefix=True, allow_overwrite=True),),
                ),
                TransferOptions(told.id),
            )
            sent.result()
        events = progress(told)
    assert [one.name for one in events if one.event == "saved"] == [there]
    if daemon.version_info >= (2,):
        (saved,) = [one.descriptor for one in events if one.event == "saved"]
        assert saved is not None
        assert (saved.digest, saved.size) == (IMAGE.digest, IMAGE.manifest["size"])
    found = table(daemon, other.namespace)
    assert set(found) == {there}
    assert found[there][1] == IMAGE.digest
    assert labels_of(found[there][-1])["from"] == "ctr"
    assert [
        word
        for line in rows(daemon, other.namespace, "images", "check")
        for word in line
        if word == "complete"
    ] == ["complete"]
    collect(other)


def check_pulled(client: Client, daemon: Daemon, name: str, events: list[Progress]) -> None:
    """What came is what ``ctr`` says that it is, and so is what was told of it."""
    place = client.namespace
    found = table(daemon, place)
    assert found[name][1] == IMAGE.digest
    for digest, blob in IMAGE.blobs.items():
        assert daemon.ctr("content", "get", digest, namespace=place).stdout == blob
    kinds = {one.name.split("-")[0] for one in events if one.event == "complete"}
    assert {"manifest", "config", "layer"} <= kinds
    done = {one.name.partition("-")[2]: one for one in events if one.event == "complete"}
    for digest, blob in IMAGE.blobs.items():
        assert done[digest].total == done[digest].progress == len(blob)
        if daemon.version_info >= (2,):
            descriptor = done[digest].descriptor
            assert descriptor is not None
            assert (descriptor.digest, descriptor.size) == (digest, len(blob))
    layer = done[IMAGE.layers[0]["digest"]]
    assert IMAGE.digest in layer.parents[0]


def test_pull_over_plain_http(
    client: Client, daemon: Daemon, registry: Registry, pushed: str, tmp_path: Path
) -> None:
    if not has_transfer(client, daemon):
        return
    if daemon.version_info < (2,):  # its resolver has no such field, and speaks TLS alone
        with pytest.raises(ContainerdError, match="HTTP"):
            client.transfer_service.transfer(OCIRegistry(pushed, PLAIN), ImageStore(pushed))
        return
    folder = tmp_path / registry.host
    folder.mkdir()
    (folder / "hosts.toml").write_text(f'server = "http://{registry.host}"\n')
    for name, resolver in (
        ("scheme:1", PLAIN),
        ("folder:1", TransferResolver(host_dir=str(tmp_path), headers={"X-Test": "sent"})),
    ):
        with client.lease(), client.streaming_service.stream() as stream:
            client.transfer_service.transfer(
                OCIRegistry(pushed, resolver), ImageStore(name), TransferOptions(stream.id)
            )
            events = progress(stream)
        check_pulled(client, daemon, name, events)
        collect(client)


def test_pull_with_unpacking(client: Client, daemon: Daemon, pushed: str) -> None:
    if not has_transfer(client, daemon) or daemon.version_info < (2,):
        return
    store = ImageStore(
        pushed,
        labels={"a": "b"},
        platforms=(platforms.default(),),
        manifest_limit=1,
        unpacks=(UnpackConfiguration(platforms.default(), "overlayfs"),),
    )
    client.transfer_service.transfer(OCIRegistry(pushed, PLAIN), store)
    assert labels_of(table(daemon, client.namespace)[pushed][-1])["a"] == "b"
    kinds = [line[-1] for line in rows(daemon, client.namespace, "snapshots", "ls")]
    assert kinds == ["Committed"] * len(IMAGE.layers)
    collect(client)


def test_logs_of_http(daemon: Daemon, pushed: str) -> None:
    """On a daemon of its own, which downloads one layer at a time.

    containerd (at least 2.1 to 2.4) does not lock this log, and two downloads at once can make it
    panic. The other tests here would lose their daemon.
    """
    if daemon.version_info < (2, 1):
        return
    one_by_one = '[plugins."io.containerd.transfer.v1.local"]\nmax_concurrent_downloads = 1'
    with (
        Daemon(daemon.generation, extra=one_by_one) as own,
        Client(own.address, namespace=own.namespace) as client,
        client.lease(),
        client.streaming_service.stream() as logs,
        ThreadPoolExecutor(1) as pool,
    ):
        said = pool.submit(ByteReader(logs, timeout=20).readall)
        resolver = TransferResolver(default_scheme="http", http_debug="debug", logs_stream=logs.id)
        client.transfer_service.transfer(OCIRegistry(pushed, resolver), ImageStore(pushed))
        assert b"HEAD /v2/library/two-layers/manifests/1" in said.result()


def answer(stream: Stream, asked: list[AuthRequest]) -> None:
    """Tell the daemon who we are, each time that it asks, until the stream is cancelled."""
    with suppress(Cancelled):
        for value in stream:
            request = transfer_value(value)
            assert isinstance(request, AuthRequest)
            asked.append(request)
            username, secret = USER
            stream.send(AuthResponse("credentials", secret, username).to_any())


def registry_says(registry: Registry, path: str) -> int:
    """The status of a manifest in a registry that lets everybody in."""
    with closing(http.client.HTTPConnection(registry.host, timeout=10)) as connection:
        connection.request("HEAD", path, headers={"Accept": images.OCI_MANIFEST})
        return connection.getresponse().status


def test_pull_and_push_with_credentials(daemon: Daemon, registry: Registry, pushed: str) -> None:
    """Over TLS, that 1.7 can do it too: a daemon of its own, which trusts the certificate."""
    if daemon.version_info < (1, 7):
        return
    storage = {"filesystem": {"rootdirectory": str(registry.storage)}}  # the same images
    pem = localhost_pem()
    trust = {"SSL_CERT_FILE": str(pem)}
    with (
        Registry(USER, tls=Pair(pem, pem), overrides={"storage": storage}) as guarded,
        Daemon(daemon.generation, env=trust) as own,
        Client(own.address, namespace=own.namespace) as client,
        client.lease(),
        client.streaming_service.stream() as auth,
        ThreadPoolExecutor(1) as pool,
    ):
        asked: list[AuthRequest] = []
        answering = pool.submit(answer, auth, asked)
        place = f"{guarded.host}/library/two-layers"
        resolver = TransferResolver(auth_stream=auth.id)
        try:
            with client.streaming_service.stream() as stream:
                client.transfer_service.transfer(
                    OCIRegistry(f"{place}:1", resolver),
                    ImageStore("mine:1"),
                    TransferOptions(stream.id),
                )
                events = progress(stream)
            check_pulled(client, own, "mine:1", events)
            path = f"/v2/library/two-layers/manifests/by-{daemon.generation}"
            assert registry_says(registry, path) == 404
            client.transfer_service.transfer(
                ImageStore("mine:1"), OCIRegistry(f"{place}:by-{daemon.generation}", resolver)
            )
            assert registry_says(registry, path) == 200
        finally:
            auth.cancel()
        answering.result()
        assert {request.host for request in asked} == {guarded.host}
        assert {request.reference for request in asked} == {
            f"{place}:1",
            f"{place}:by-{own.generation}",
        }

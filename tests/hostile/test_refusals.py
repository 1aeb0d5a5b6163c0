"""What goes wrong from outside: each its own typed error, a remedy, and nothing half-made."""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client, Layout
from containerd_lite.errors import (
    ConnectionRefused,
    ContainerdError,
    DiffIDMismatch,
    DigestMismatch,
    InvalidArgument,
    NoMatchingPlatform,
    NotFound,
    ProtocolError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    SizeMismatch,
    SocketNotFound,
    SocketPermissionDenied,
    Unauthenticated,
    Unavailable,
)
from containerd_lite.images.resolver import RegistryResolver
from containerd_lite.registry.credentials import Credentials
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry
from tests.hostile.conftest import LOCK

pytestmark = [pytest.mark.registry, pytest.mark.dependencies]

Pull = Callable[..., object]


def refused(call: Callable[[], object], kind: type[ContainerdError], *said: str) -> Any:
    """The error of exactly this class, which says all that, and pickles."""
    with pytest.raises(kind) as caught:
        call()
    error = caught.value
    assert type(error) is kind
    for text in said:
        assert text in str(error)
    assert error.remedy, "it should say what to do"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (kind, str(error))
    return error


# ---- the daemon -------------------------------------------------------------------------------


def test_no_socket(tmp_path: Path) -> None:
    with Client(f"unix://{tmp_path}/none.sock") as client:
        refused(client.version, SocketNotFound, "none.sock", "Version.Version")
        refused(lambda: client.pull("busybox"), SocketNotFound, "none.sock")
        assert not client.is_serving(timeout=0.01)


def test_a_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale.sock"))
    with Client(str(tmp_path / "stale.sock")) as client:
        refused(client.version, ConnectionRefused, "stale.sock")


@pytest.mark.daemon
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become nobody")
def test_no_permission(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        client.version()
        error = as_nobody(client.version)
    assert type(error) is SocketPermissionDenied
    assert daemon.address in str(error)
    assert "65534" in str(error)
    assert "root" in error.remedy


def as_nobody(call: Callable[[], object]) -> Any:
    """What ``call`` returns or raises in a child that has given up root."""
    end_in, end_out = os.pipe()
    pid = os.fork()
    if not pid:  # pragma: no cover - the child's coverage is lost
        result: object = None
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            result = call()
        except BaseException as error:
            result = error
        finally:
            os.write(end_out, pickle.dumps(result))
            os._exit(0)
    os.close(end_out)
    with os.fdopen(end_in, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(data)


@contextmanager
def server(path: Path, answer: bytes) -> Iterator[None]:
    """Something that listens, reads a little, answers, and hangs up."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.recv(100)
                peer.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProtocolError),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ProtocolError),
        (b"\0" * 100, ProtocolError),
    ],
)
def test_a_socket_of_something_else(
    tmp_path: Path, answer: bytes, kind: type[ContainerdError]
) -> None:
    with server(tmp_path / "s", answer), Client(str(tmp_path / "s")) as client:
        refused(client.version, kind, "HTTP/2", f"{tmp_path}/s")


def test_a_socket_that_hangs_up(tmp_path: Path) -> None:
    with (
        server(tmp_path / "s", b""),
        Client(str(tmp_path / "s")) as client,
        pytest.raises(Unavailable, match="the connection"),
    ):
        client.version()


# ---- images -----------------------------------------------------------------------------------


@pytest.fixture(params=["daemon", "layout"])
def pull(
    request: pytest.FixtureRequest, client: Client, no_leftovers: object, tmp_path: Path
) -> Iterator[Pull]:
    """Pulling into each store; afterwards neither has anything half-made."""
    layout = Layout(tmp_path / "layout")
    yield client.pull if request.param == "daemon" else layout.pull
    assert layout.list_images() == []
    assert layout.content_store.statuses() == []
    assert not list((tmp_path / "layout").glob(".*"))
    assert client.list_images() == []
    assert client.content_store.statuses() == []
    assert client.lease_service.list() == []
    assert list(client.snapshot_service().list()) == []
    assert list(client.content_store.walk()) == []


@pytest.mark.daemon
def test_an_unknown_image(pull: Pull, registry: Registry) -> None:
    name = f"{registry.host}/no/such:tag"
    error = refused(lambda: pull(name), RegistryNotFound, name)
    assert error.status == 404
    assert isinstance(error, NotFound)


@pytest.mark.daemon
def test_a_name_that_is_none(pull: Pull) -> None:
    refused(lambda: pull("Not A Name"), InvalidArgument, "Not A Name")
    refused(lambda: pull("a/b@sha256:../../etc"), InvalidArgument)


@pytest.mark.daemon
def test_unauthorised(pull: Pull, locked_registry: Registry) -> None:
    user, secret = LOCK
    name = images.push(images.random_image([10]), locked_registry.host, "x", "1", (user, secret))
    error = refused(lambda: pull(name), RegistryUnauthorized, locked_registry.host)
    assert isinstance(error, Unauthenticated)
    wrong = Credentials(user, "wrong-" + secret)
    with RegistryResolver(credentials=wrong) as resolver:
        error = refused(lambda: pull(name, resolver=resolver), RegistryUnauthorized)
    assert secret not in str(error)
    assert secret not in repr(error.__dict__)


@pytest.mark.daemon
def test_with_credentials_it_works(client: Client, locked_registry: Registry) -> None:
    user, secret = LOCK
    name = images.push(images.random_image([10]), locked_registry.host, "x", "2", (user, secret))
    with RegistryResolver(credentials=Credentials(user, secret)) as resolver:
        assert client.pull(name, resolver=resolver).is_unpacked()


@pytest.mark.daemon
def test_the_wrong_platform(pull: Pull, registry: Registry) -> None:
    other = images.random_image([10], platform="linux/s390x")
    index = images.index_of({"linux/s390x": other})
    name = images.push(index, registry.host, "platform", "latest")
    refused(lambda: pull(name), NoMatchingPlatform, name, "linux/s390x", "linux/")
    plain = images.push(other, registry.host, "platform", "plain")
    refused(lambda: pull(plain), NoMatchingPlatform, plain, "linux/s390x")


@pytest.mark.daemon
def test_a_registry_that_is_down(pull: Pull) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        error = refused(lambda: pull(f"{host}/a/b"), RegistryUnavailable, host)
    assert isinstance(error, Unavailable)


def spoil(registry: Registry, digest: str, body: bytes) -> None:
    """Put other bytes in a blob's place, behind the registry's back."""
    hexes = digest.removeprefix("sha256:")
    (data,) = registry.storage.glob(f"**/blobs/sha256/{hexes[:2]}/{hexes}/data")
    data.write_bytes(body)


@pytest.mark.daemon
def test_a_blob_with_a_wrong_digest(pull: Pull, registry: Registry) -> None:
    image = images.random_image([100_000, 3_000_000], seed=21)
    name = images.push(image, registry.host, "wrong-digest", "latest")
    layer = image.layers[1]["digest"]
    spoil(registry, layer, bytes(len(image.blobs[layer])))
    refused(lambda: pull(name), DigestMismatch, layer)


@pytest.mark.daemon
@pytest.mark.parametrize("part", ["config", "manifest"])
def test_a_document_with_a_wrong_digest(pull: Pull, registry: Registry, part: str) -> None:
    image = images.random_image([100], seed=22)
    name = images.push(image, registry.host, f"wrong-{part}", "latest")
    digest = image.digest if part == "manifest" else image.json()["config"]["digest"]
    spoil(registry, digest, b" " * len(image.blobs[digest]))
    with pytest.raises(ContainerdError):
        pull(name)


@pytest.mark.daemon
def test_a_blob_cut_short(pull: Pull, registry: Registry) -> None:
    image = images.random_image([2_000_000], seed=23)
    name = images.push(image, registry.host, "short", "latest")
    layer = image.layers[0]["digest"]
    spoil(registry, layer, image.blobs[layer][:1_000_000])
    with pytest.raises((SizeMismatch, RegistryUnavailable)):
        pull(name)


@pytest.mark.daemon
def test_a_layer_whose_diff_id_does_not_match(client: Client, registry: Registry) -> None:
    image = images.random_image([10, 10], seed=24, change_config=images.wrong_diff_ids)
    name = images.push(image, registry.host, "diff-id", "latest")
    error = refused(lambda: client.pull(name), DiffIDMismatch, image.layers[0]["digest"])
    assert isinstance(error, DigestMismatch)
    assert client.list_images() == []
    assert client.lease_service.list() == []
    assert list(client.snapshot_service().list()) == []
    assert list(client.content_store.walk()) == []


@pytest.mark.daemon
def test_fewer_diff_ids_than_layers(client: Client, registry: Registry) -> None:
    def drop(config: dict[str, Any]) -> None:
        config["rootfs"]["diff_ids"].pop()

    image = images.random_image([10, 10], seed=25, change_config=drop)
    name = images.push(image, registry.host, "fewer", "latest")
    refused(lambda: client.pull(name), InvalidArgument, "2 layers", "1 diff ID")
    assert list(client.snapshot_service().list()) == []


@pytest.mark.daemon
def test_a_layer_that_is_no_archive(client: Client, registry: Registry) -> None:
    junk = images.Layer(b"this is no gzip", "sha256:" + "1" * 64)
    name = images.push(images.build([junk]), registry.host, "junk", "latest")
    with pytest.raises(ContainerdError, match=r"Diff\.Apply"):
        client.pull(name)
    assert list(client.snapshot_service().list()) == []
    assert client.lease_service.list() == []


@pytest.mark.daemon
def test_another_writer_has_the_blob_and_gives_up(client: Client, registry: Registry) -> None:
    """containerd #1545: the lock on a ref is waited for, not failed on."""
    image = images.random_image([500_000], seed=26)
    name = images.push(image, registry.host, "locked", "latest")
    layer = image.layers[0]
    store = client.content_store
    waiting = threading.Event()

    def progress(event: Any) -> None:
        if event.stage == "waiting":
            waiting.set()

    with client.lease():
        other = store.writer(
            f"layer-{layer['digest']}", size=layer["size"], expected=layer["digest"]
        )
        other.write(b"half of it")

        def give_up() -> None:
            waiting.wait(5)
            other.close()

        thread = threading.Thread(target=give_up)
        thread.start()
        pulled = client.pull(name, progress=progress)
        thread.join()
    assert waiting.is_set()
    assert pulled.is_unpacked()

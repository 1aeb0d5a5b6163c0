"""Images and registries that a daemon would trust too much, were it not for the client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from containerd_lite import Client, ContainerdError
from containerd_lite.images.daemon.by_daemon import DaemonTransfers
from containerd_lite.images.platforms import Platforms
from containerd_lite.oci.config import chain_ids
from containerd_lite.registry.credentials import Credentials
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.leaks import Watch
from tests.unit.images.own import OwnResolver

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("no_leftovers")]

PREFIX = "containerd.io/snapshot/"
RESERVED = ("remote", "uidmapping", "gidmapping", "diff-id", "parent-chain-id")
DIFF_ID = f"{PREFIX}diff-id"


@pytest.mark.generations
def test_annotations_of_layers_that_snapshotters_obey(client: Client, no_leftovers: Watch) -> None:
    """The mappings would give the files of a layer to users of the host."""
    no_leftovers.keep_snapshots()
    good = images.busybox()
    value = {"uidmapping": "0:100000:65536", "gidmapping": "0:100000:65536"}
    annotations = {f"{PREFIX}{name}": value.get(name, "sha256:" + "a" * 64) for name in RESERVED}
    manifest = good.json()
    for layer in manifest["layers"]:
        layer["annotations"] = {**annotations, f"{PREFIX}harmless": "kept"}
    body = images.encode(manifest)
    target = images.descriptor(good.manifest["mediaType"], body)
    image = images.Image(target, {**good.blobs, images.digest_of(body): body})
    pulled = client.pull("Own Name!", resolver=OwnResolver(image))
    (key, *_) = chain_ids(pulled.rootfs())
    info = client.snapshot_service().stat(key)
    assert {f"{PREFIX}{name}" for name in RESERVED} & set(info.labels) == {DIFF_ID}
    assert info.labels[DIFF_ID] == pulled.rootfs()[0]
    assert info.labels[f"{PREFIX}harmless"] == "kept"


@dataclass
class Server:
    """Answers each request by one function, and records what it was told."""

    host: str
    authorizations: list[str] = field(default_factory=list)


@contextmanager
def serving(address: str, status: int, name: str, value: str) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if text := self.headers.get("Authorization"):
                found.authorizations.append(text)
            self.send_response(status)
            self.send_header(name, value.replace("{path}", self.path))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer((address, 0), Handler) as server:
        found = Server(f"{address}:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.generations
def test_a_registry_sends_the_daemon_to_another_host(daemon: Daemon, client: Client) -> None:
    """The daemon asks for credentials of the other host, and gets none."""
    if daemon.version_info < (2,):
        pytest.skip("the Transfer service of this daemon does not pull without TLS")
    asked: list[str] = []

    def find(host: str) -> Credentials:
        asked.append(host)
        return Credentials("canary", "canary-3d1f")

    with (
        serving("127.0.0.3", 401, "WWW-Authenticate", 'Basic realm="x"') as other,
        serving("127.0.0.1", 307, "Location", f"http://{other.host}{{path}}") as registry,
        pytest.raises(ContainerdError),
    ):
        DaemonTransfers.of(client).pull(
            f"{registry.host}/app:1", platforms=Platforms(None), credentials=find, plain_http=True
        )
    assert other.authorizations == registry.authorizations == []
    assert set(asked) <= {registry.host}

"""Errors, records, clients and progress events go to another process; clients survive a fork."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest

from containerd_lite import Client, ContainerdError, ProgressEvent, errors
from tests.harness.daemon import Daemon

pytestmark = [pytest.mark.backend, pytest.mark.dependencies, pytest.mark.interpreter]

AFTER_FORK = """
import os, sys
from containerd_lite import Client
with Client(sys.argv[1], namespace=sys.argv[2]) as client:
    with client.in_namespace("other") as view:
        told = client.version()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                assert client.version() == view.version() == told
                assert client.list_images() == []
                code = 0
            finally:
                os._exit(code)
        assert client.version() == told  # the parent's connection is still its own
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert view.version() == told
"""

UNPICKLE = """
import pickle, sys
client = pickle.load(sys.stdin.buffer)
with client:
    sys.stdout.buffer.write(pickle.dumps((client.namespace, client.version())))
"""


def tree(root: type[ContainerdError]) -> Iterator[type[ContainerdError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", dict.fromkeys(tree(ContainerdError)))
def test_errors(kind: type[ContainerdError], protocol: int) -> None:
    error = kind("no such thing", operation="Images.Get", address="unix:///x", remedy="Look again")
    error.details = (("type.googleapis.com/google.rpc.ErrorInfo", b"\x00\xff"),)
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_what_an_error_adds() -> None:
    broken = pickle.loads(pickle.dumps(errors.ProtocolError("x", remote=False)))
    assert broken.remote is False
    refused = errors.RegistryNotFound("x", status=404, codes=("MANIFEST_UNKNOWN",))
    copy = pickle.loads(pickle.dumps(refused))
    assert (copy.status, copy.codes) == (404, ("MANIFEST_UNKNOWN",))


@pytest.mark.daemon
def test_an_error_of_a_daemon(client: Client) -> None:
    with pytest.raises(ContainerdError) as caught:
        client.load_container("no-such")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is errors.NotFound
    assert str(copy) == str(caught.value)


@pytest.mark.daemon
@pytest.mark.registry
def test_records_and_progress(client: Client, busybox: str) -> None:
    events: list[ProgressEvent] = []
    image = client.pull(busybox, progress=events.append)
    client.run(image, ["true"])
    records: list[object] = [*events, image.target, client.version(), image.config()]
    records += [client.image_service.get(busybox), *client.image_service.list()]
    records += client.snapshot_service().list()
    records += client.content_store.walk()
    records += client.namespace_service.list()
    records += client.introspection_service.plugins()
    with client.lease():
        records += client.lease_service.list()
    client.new_container("kept", image=image, args=["true"])
    records += [client.container_service.get("kept"), *client.container_service.list()]
    client.load_container("kept").delete()
    assert len({type(record) for record in records}) >= 9
    for record in records:
        assert pickle.loads(pickle.dumps(record)) == record


@pytest.mark.daemon
def test_a_client_connects_again_elsewhere(client: Client) -> None:
    told = client.version()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", UNPICKLE],
        input=pickle.dumps(client),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert pickle.loads(done.stdout) == (client.namespace, told)


@pytest.mark.daemon
def test_a_client_in_a_forked_child(daemon: Daemon, namespace: str) -> None:
    argv = [sys.executable, "-W", "error", "-c", AFTER_FORK, daemon.address, namespace]
    done = subprocess.run(argv, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()

"""Streams of a daemon, and bytes through them."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from containerd_lite import Client
from containerd_lite.errors import Cancelled, DeadlineExceeded, Unimplemented, Unknown
from containerd_lite.services.streaming import ByteReader, ByteWriter, Stream
from containerd_lite.services.transfer_types import ImageExportStream, ImageImportStream
from tests.e2e.services.leftovers import (
    lacks,
    nothing_stays,  # noqa: F401
)
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]


def has_streams(client: Client, daemon: Daemon) -> bool:
    """1.6 has none, and says so."""
    if daemon.version_info >= (1, 7):
        return True
    with pytest.raises(Unimplemented) as caught:
        client.streaming_service.stream()
    assert lacks(caught.value, daemon, "1.7")
    return False


def test_open_and_close(client: Client, daemon: Daemon) -> None:
    if not has_streams(client, daemon):
        return
    lease = client.lease_service.create().id  # or garbage collection may end them
    service = client.streaming_service.with_options(lease=lease)
    with service.stream("mine") as stream, service.stream() as other:
        assert stream.id == "mine" != other.id
        assert "mine" in repr(stream)
        with pytest.raises(Unknown):  # "already exists", but not as a status
            service.stream("mine")
        with client.in_namespace(client.namespace + "x").streaming_service.stream("mine"):
            pass  # names are a namespace's own
        with pytest.raises(DeadlineExceeded):
            stream.receive(0.01)
        assert stream.poll() is None
        assert not stream.is_done
        stream.cancel()
        with pytest.raises(Cancelled):
            stream.receive()
    client.lease_service.delete(lease)


def test_a_lease_ends_its_streams(client: Client, daemon: Daemon) -> None:
    if not has_streams(client, daemon):
        return
    lease = client.lease_service.create().id
    with client.streaming_service.with_options(lease=lease).stream() as stream:
        client.lease_service.delete(lease, sync=True)
        assert list(stream) == []  # ended well
        assert stream.is_done


@pytest.mark.parametrize("size", [0, 1, 32 << 10, 1_000_003])
def test_bytes_through_the_daemon(client: Client, daemon: Daemon, size: int) -> None:
    """From an import to an export: the daemon passes on what it gets."""
    if not has_streams(client, daemon):
        return
    body = random.Random(size).randbytes(size)

    def send(stream: Stream) -> None:
        writer = ByteWriter(stream, timeout=10)
        half = len(body) // 2
        assert writer.write(body[:half]) == half
        assert writer.write(memoryview(body)[half:]) == len(body) - half
        writer.finish()

    service = client.streaming_service
    with (
        client.lease(),
        service.stream() as up,
        service.stream() as down,
        ThreadPoolExecutor(2) as pool,
    ):
        sent = pool.submit(send, up)
        came = pool.submit(ByteReader(down, timeout=10).readall)
        client.transfer_service.transfer(ImageImportStream(up.id), ImageExportStream(down.id))
        sent.result()
        assert came.result() == body
        assert up.receive(10) is None or up.is_done

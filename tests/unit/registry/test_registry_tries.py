"""What is tried again, how long the client waits, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import RegistryUnavailable
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.session import MAX_TRIES
from tests.unit.registry.samples import (
    BLOB,
    BLOB_PATH,
    BODY,
    LAYER,
    PINNED,
    TAGGED,
    TARGET,
    Naps,
    manifest,
)
from tests.unit.registry.scripted import Request, Scripted, reply


def test_resets_and_passing_statuses_are_tried_again(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    server.on("HEAD", TAGGED, b"", reply(503), b"HTTP/1.1 20", reply(429), manifest())
    assert registry.resolve(ref) == TARGET
    assert len(naps) == 4
    assert all(0 < nap <= 5 for nap in naps)


def test_five_tries_and_no_more(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    server.on("HEAD", TAGGED, reply(503))
    with pytest.raises(RegistryUnavailable, match="503"):
        registry.resolve(ref)
    assert (len(server.requests), len(naps)) == (MAX_TRIES, MAX_TRIES - 1)


def test_retry_after_is_kept_to(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    dated = reply(503, Retry_After="Wed, 01 Jan 2020 00:00:00 GMT")
    server.on("HEAD", TAGGED, reply(429, Retry_After="7"), dated, manifest())
    registry.resolve(ref)
    assert naps == [7.0, 0.0]


def test_a_wait_that_is_too_long_is_told(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    server.on("HEAD", TAGGED, reply(429, Retry_After="86400"))
    with pytest.raises(RegistryUnavailable) as told:
        registry.resolve(ref)
    assert told.value.retry_after == 86400
    assert (len(server.requests), len(naps)) == (1, 0)


def test_retry_after_is_kept_to_when_what_was_cut_is_gone_on_with(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    def cut(_: Request) -> Iterator[bytes]:
        yield reply(200, BLOB)[:-1]

    server.on("GET", BLOB_PATH, cut, reply(429, Retry_After="2"))
    with registry.open_blob(ref, LAYER) as reader, pytest.raises(RegistryUnavailable):
        reader.readall()
    assert naps[0] < 1
    assert set(naps[1:]) == {2.0}


@pytest.mark.parametrize("value", ["soon", "-1", "9" * 5000, "1e9", "²"])
def test_retry_after_that_cannot_be_read(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps, value: str
) -> None:
    server.on("HEAD", TAGGED, reply(429, Retry_After=value), manifest())
    registry.resolve(ref)
    assert len(naps) == 1
    assert naps[0] < 1


def test_no_wait_goes_beyond_the_deadline(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    server.on("HEAD", TAGGED, reply(429, Retry_After="3600"))
    with pytest.raises(RegistryUnavailable, match="429"):
        registry.resolve(ref)
    assert naps == []


def test_a_cut_manifest_is_tried_again(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    cut = reply(200, BODY[:9], length=len(BODY), Connection="close")
    server.on("GET", PINNED, cut, manifest())
    assert registry.fetch_manifest(ref, TARGET) == BODY
    assert len(naps) == 1


# time


def stalling(server: Scripted, head: bytes) -> Callable[[Request], Iterator[bytes]]:
    def script(_: Request) -> Iterator[bytes]:
        yield head
        server.outlasted = not server.closing.wait(5)

    return script


def test_a_stalled_answer(server: Scripted, ref: Reference) -> None:
    server.on("HEAD", TAGGED, stalling(server, b"HTTP/1.1 200 OK\r\n"))
    with (
        Registry(server.host, stall_timeout=0.05) as registry,
        pytest.raises(RegistryUnavailable, match="in time"),
    ):
        registry.resolve(ref)
    assert len(server.requests) == 1


def test_a_deadline_sooner_than_a_stall(server: Scripted, ref: Reference) -> None:
    server.on("HEAD", TAGGED, stalling(server, b"HTTP/1.1 200 OK\r\n"))
    with (
        Registry(server.host, stall_timeout=30, timeout=0.05) as registry,
        pytest.raises(RegistryUnavailable, match="in time"),
    ):
        registry.resolve(ref)
    assert not server.outlasted


def test_a_stalled_body(server: Scripted, ref: Reference) -> None:
    server.on("GET", BLOB_PATH, stalling(server, reply(200, BLOB[:9], length=len(BLOB))))
    with Registry(server.host, stall_timeout=0.05) as registry:
        reader = registry.open_blob(ref, LAYER)
        with pytest.raises(RegistryUnavailable, match="in time") as caught:
            reader.read(100)
        assert LAYER.digest in str(caught.value)
        assert reader.closed


def dripping(server: Scripted, head: bytes, drop: bytes) -> Callable[[Request], Iterator[bytes]]:
    def script(_: Request) -> Iterator[bytes]:
        yield head
        while not server.closing.wait(0.005):
            yield drop

    return script


def test_dripping_headers_do_not_outlast_the_deadline(server: Scripted, ref: Reference) -> None:
    server.on("HEAD", TAGGED, dripping(server, b"HTTP/1.1 200 OK\r\nA: ", b"b"))
    with (
        Registry(server.host, timeout=0.1) as registry,
        pytest.raises(RegistryUnavailable, match="in time"),
    ):
        registry.resolve(ref)


def test_a_dripping_body_does_not_outlast_a_deadline_given(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("GET", BLOB_PATH, dripping(server, reply(200, b"", length=len(BLOB)), BLOB[:1]))
    with (
        registry.open_blob(ref, LAYER, deadline=Deadline(0.1)) as reader,
        pytest.raises(RegistryUnavailable, match="in time"),
    ):
        reader.read(len(BLOB))


def test_an_expired_deadline_sends_nothing(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    with pytest.raises(RegistryUnavailable):
        registry.resolve(ref, deadline=Deadline(0))
    assert server.requests == []


@pytest.mark.parametrize(
    "earlier", [FileNotFoundError(2, "No such file"), RegistryUnavailable("earlier")]
)
def test_what_the_caller_was_about_is_not_the_cause(
    server: Scripted, registry: Registry, ref: Reference, earlier: Exception
) -> None:
    """Of a connection that is refused, and of a body that stalls."""

    def stall(_: Request) -> Iterator[bytes]:
        yield reply(200, BLOB)[:-1]
        server.outlasted |= not server.closing.wait(5)

    server.on("GET", BLOB_PATH, stall)
    with (
        Registry(server.host, stall_timeout=0.1, sleep=lambda _: None) as hasty,
        hasty.open_blob(ref, LAYER) as reader,
    ):
        stalled = failure(earlier, reader.readall)
    assert isinstance(stalled.__cause__, TimeoutError)
    server.let_nobody_in()
    refused = failure(earlier, lambda: registry.resolve(ref))
    assert isinstance(refused.__cause__, ConnectionRefusedError)
    assert "(Connection refused)" in str(refused)


def failure(earlier: Exception, work: Callable[[], object]) -> RegistryUnavailable:
    """Of work that is done while an earlier error is handled."""
    try:
        raise earlier
    except (FileNotFoundError, RegistryUnavailable):
        with pytest.raises(RegistryUnavailable) as caught:
            work()
    return caught.value

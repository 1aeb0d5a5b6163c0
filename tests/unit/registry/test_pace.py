"""The bandwidth limit, and the rate below which a peer is given up."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from containerd_lite.errors import InvalidArgument, RegistryUnavailable
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.pace import BandwidthLimit, LeastRate, TooSlow
from containerd_lite.registry.registry import Registry
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER, TAGGED, Naps, manifest
from tests.unit.registry.scripted import Request, Scripted, reply

SIZE = len(BLOB)
#: Seconds between two bytes of a server that drips, and after how many it gives up.
DRIP, DROPS = 0.02, 100


@pytest.mark.parametrize("rate", [0, 0.5, -1, float("-inf")])
def test_limits_that_cannot_be(rate: float) -> None:
    with pytest.raises(InvalidArgument, match="max_rate"):
        BandwidthLimit(rate)


def test_without_a_limit_nobody_waits(naps: Naps) -> None:
    pace = BandwidthLimit(sleep=naps)
    pace.throttle(1 << 40)
    assert (pace.portion, naps) == (None, [])


def test_what_was_spent_is_waited_for(naps: Naps) -> None:
    pace = BandwidthLimit(10, sleep=naps)
    pace.throttle(10_000)
    pace.throttle(0)
    pace.throttle(20_000)
    assert len(naps) == 2
    assert naps[0] == pytest.approx(1000)
    assert 2500 < naps[1] <= 3000  # the first thousand was not slept through


def test_the_waits_of_threads_add_up(naps: Naps) -> None:
    """One limit for all: each waits for its own bytes and for those before it."""
    pace = BandwidthLimit(1, sleep=naps)
    threads = [threading.Thread(target=pace.throttle, args=(1000,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(naps) == 8
    for place, nap in enumerate(sorted(naps), start=1):
        assert 1000 * place - 500 < nap <= 1000 * place + 0.001


@pytest.mark.parametrize(("rate", "portion"), [(1, 4096), (80_000, 10_000), (8e9, 10**9)])
def test_pieces_are_a_part_of_a_second_long(rate: float, portion: int) -> None:
    assert BandwidthLimit(rate).portion == portion


def test_blobs_come_within_the_limit(server: Scripted, ref: Reference, naps: Naps) -> None:
    server.on("GET", BLOB_PATH, reply(200, BLOB))
    with Registry(server.host, sleep=naps, max_rate=1) as registry:
        with registry.open_blob(ref, LAYER) as reader:
            assert reader.readall() == BLOB
        assert len(naps) >= 3  # pieces of 4 KiB at most
        assert SIZE - 100 < max(naps) <= SIZE
        with registry.open_blob(ref, LAYER) as reader:
            reader.readall()
    assert max(naps) > 2 * SIZE - 100  # one limit for both


# The least rate


def test_a_floor_is_looked_at_when_its_window_has_been_waited_for() -> None:
    least_rate = LeastRate(100, 10)
    least_rate.record(4, 0)
    least_rate.record(5.9, 0)
    with pytest.raises(TooSlow, match="100 bytes"):
        least_rate.record(0.1, 999)


def test_a_peer_that_is_just_quick_enough_is_kept() -> None:
    least_rate = LeastRate(100, 10)
    for _ in range(3):
        least_rate.record(5, 0)
        least_rate.record(5, 1000)


def test_what_came_before_the_window_does_not_count() -> None:
    least_rate = LeastRate(100, 10)
    least_rate.record(10, 1 << 30)
    with pytest.raises(TooSlow):
        least_rate.record(10, 999)


def test_bytes_that_nobody_waited_for_are_no_fault_of_the_peers() -> None:
    least_rate = LeastRate(100, 10)
    for _ in range(10_000):
        least_rate.record(0.0, 1)  # a consumer that takes its time finds them there


def test_without_a_rate_any_peer_is_quick_enough() -> None:
    LeastRate(0, 1).record(1000, 0)


def drip(server: Scripted, head: bytes, drop: bytes) -> Iterator[bytes]:
    yield head
    for _ in range(DROPS):
        if server.closing.wait(DRIP):
            return
        yield drop
    server.outlasted = True


def test_a_blob_that_drips_is_given_up(server: Scripted, ref: Reference, naps: Naps) -> None:
    head = reply(200, length=SIZE)
    server.on("GET", BLOB_PATH, lambda _: drip(server, head, b"x"))
    with (
        Registry(
            server.host, sleep=naps, stall_timeout=0.2, least_rate=1000, connect_timeout=5
        ) as registry,
        pytest.raises(RegistryUnavailable, match="less than 1000 bytes"),
        registry.open_blob(ref, LAYER) as reader,
    ):
        reader.readall()
    assert not server.outlasted
    assert len(server.requests) <= 3 + len(naps)


def test_a_blob_that_comes_quickly_enough_is_kept(
    server: Scripted, ref: Reference, naps: Naps
) -> None:
    piece = SIZE // 20

    def script(_: Request) -> Iterator[bytes]:
        yield reply(200, length=SIZE)
        for at in range(0, SIZE, piece):
            server.closing.wait(DRIP)
            yield BLOB[at : at + piece]

    server.on("GET", BLOB_PATH, script)
    with (
        Registry(server.host, sleep=naps, stall_timeout=2, least_rate=10) as registry,
        registry.open_blob(ref, LAYER) as reader,
    ):
        assert reader.readall() == BLOB
    assert naps == []


def test_headers_that_drip_are_given_up(server: Scripted, ref: Reference, naps: Naps) -> None:
    server.on("HEAD", TAGGED, lambda _: drip(server, b"HTTP/1.1 200 OK\r\nX: ", b"x"))
    with (
        Registry(server.host, sleep=naps, stall_timeout=0.2, least_rate=1000) as registry,
        pytest.raises(RegistryUnavailable, match="less than 1000 bytes"),
    ):
        registry.resolve(ref)
    assert not server.outlasted


def test_a_slow_answer_that_is_not_too_slow(server: Scripted, ref: Reference) -> None:
    def script(_: Request) -> Iterator[bytes]:
        yield from (bytes([byte]) for byte in manifest().partition(b"\r\n\r\n")[0] + b"\r\n\r\n")

    server.on("HEAD", TAGGED, script)
    with Registry(server.host, least_rate=1) as registry:
        assert registry.resolve(ref).size

"""The wire beside grpcio and grpclib, on the same daemon in the same run.

    python -m benchmarks.wire [--suite bookworm] [--rounds 7]

wants root, and grpcio and grpclib installed beside the package; prints a table, and rows of TSV
on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import grpclib.client
from grpclib.config import Configuration

from benchmarks.measure import Run, measure, report
from containerd_lite import Client
from containerd_lite.oci import digest as digests
from containerd_lite.schema.pool import CONTAINERD, Method
from containerd_lite.store.daemon import DaemonStore
from tests.harness.daemon import SUITES, Daemon

_MIB = 1 << 20
_CALLS = 500


def _method(name: str) -> Method:
    return CONTAINERD.method(f"containerd.services.{name}")


def _unary_of_grpcio(channel: grpc.Channel, method: Method) -> grpc.UnaryUnaryMultiCallable:
    return channel.unary_unary(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )


def unary(daemon: Daemon, client: Client, channel: grpc.Channel, rounds: int) -> None:
    """``Version`` from one thread, one call after the other."""
    method = _method("version.v1.Version/Version")
    service, peer, request = (
        client.version_service,
        _unary_of_grpcio(channel, method),
        method.request(),
    )
    metadata = (("containerd-namespace", "default"),)

    def ours() -> int:
        for _ in range(_CALLS):
            service.version()
        return _CALLS

    def grpcio() -> int:
        for _ in range(_CALLS):
            peer(request, metadata=metadata, timeout=60)
        return _CALLS

    loop = asyncio.new_event_loop()
    contenders: dict[str, Run] = {
        "containerd_lite": ours,
        "grpcio": grpcio,
        "grpclib": _grpclib_unary(loop, daemon, method),
    }
    try:
        report("unary Version, one thread", measure(contenders, rounds), "us/call", 1e6)
    finally:
        loop.close()


def _grpclib_unary(loop: asyncio.AbstractEventLoop, daemon: Daemon, method: Method) -> Run:
    async def calls() -> int:
        channel = grpclib.client.Channel(path=str(daemon.socket), config=Configuration())
        call = grpclib.client.UnaryUnaryMethod(
            channel, method.path, method.request, method.response
        )
        for _ in range(_CALLS):
            await call(method.request(), metadata={"containerd-namespace": "default"}, timeout=60)
        channel.close()
        return _CALLS

    return lambda: loop.run_until_complete(calls())


def threads(client: Client, channel: grpc.Channel, rounds: int) -> None:
    """``Version`` from 16 threads on one client."""
    method = _method("version.v1.Version/Version")
    service, peer, request = (
        client.version_service,
        _unary_of_grpcio(channel, method),
        method.request(),
    )

    def ours(_: int) -> None:
        for _ in range(_CALLS // 4):
            service.version()

    def grpcio(_: int) -> None:
        for _ in range(_CALLS // 4):
            peer(request, metadata=(("containerd-namespace", "default"),), timeout=60)

    with ThreadPoolExecutor(16) as pool:

        def run(work: object) -> int:
            list(pool.map(work, range(16)))  # type: ignore[arg-type]
            return 16 * (_CALLS // 4)

        contenders: dict[str, Run] = {
            "containerd_lite": lambda: run(ours),
            "grpcio": lambda: run(grpcio),
        }
        report("unary Version, 16 threads", measure(contenders, rounds), "us/call", 1e6)


def _ours_read(store: DaemonStore, digest: str) -> int:
    with store._service.read(digest) as chunks:
        return sum(map(len, chunks))


def read(client: Client, daemon: Daemon, channel: grpc.Channel, rounds: int, size: int) -> None:
    """``Content.Read`` of one blob, to nowhere."""
    method = _method("content.v1.Content/Read")
    peer = channel.unary_stream(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    body = os.urandom(_MIB) * (size // _MIB)
    digest = digests.of(body)
    with client.lease():
        with client.content_store.writer("bench", size=size, expected=digest) as writer:
            writer.write(body)
            writer.commit()
        metadata = (("containerd-namespace", client.namespace),)

        def grpcio() -> int:
            replies = peer(method.request(digest=digest), metadata=metadata)
            return sum(len(reply.data) for reply in replies)

        def ctr() -> int:
            return len(daemon.ctr("content", "get", digest, namespace=client.namespace).stdout)

        contenders: dict[str, Run] = {
            "containerd_lite": lambda: _ours_read(client.content_store, digest),
            "grpcio": grpcio,
            "ctr content get": ctr,
        }
        report(
            f"Content.Read of {size >> 20} MiB", measure(contenders, rounds), "ms/MiB", 1e3 * _MIB
        )


def write(client: Client, channel: grpc.Channel, rounds: int, size: int) -> None:
    """``Content.Write`` of one blob in chunks of 1 MiB; the daemon's commit included."""
    method = _method("content.v1.Content/Write")
    peer = channel.stream_stream(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    chunk = os.urandom(_MIB)
    digest = digests.of(chunk * (size // _MIB))
    store = client.content_store
    metadata = (("containerd-namespace", client.namespace),)

    # The digest is told at the commit alone: the daemon need not write what it still has.
    def ours() -> int:
        with store.writer("bench", size=size) as writer:
            for _ in range(size // _MIB):
                writer.write(chunk)
            writer.commit()
        store.delete(digest)
        return size

    def requests() -> Iterator[object]:
        yield method.request(action=0, ref="bench", total=size)
        for n in range(size // _MIB):
            yield method.request(action=1, ref="bench", offset=n * _MIB, data=chunk)
        yield method.request(action=2, ref="bench", total=size, offset=size, expected=digest)

    def grpcio() -> int:
        for _ in peer(requests(), metadata=metadata):
            pass
        store.delete(digest)
        return size

    with client.lease():
        contenders: dict[str, Run] = {"containerd_lite": ours, "grpcio": grpcio}
        title = f"Content.Write of {size >> 20} MiB"
        report(title, measure(contenders, rounds), "ms/MiB", 1e3 * _MIB)


@contextmanager
def _setting(suite: str) -> Iterator[tuple[Daemon, Client, grpc.Channel]]:
    options = [("grpc.max_receive_message_length", 16 * _MIB)]
    with (
        Daemon(suite) as daemon,
        Client(daemon.address, namespace=daemon.namespace) as client,
        grpc.insecure_channel(daemon.address, options=options) as channel,
    ):
        print(f"containerd {client.version().version}")
        yield daemon, client, channel


def main() -> None:
    """Run all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default=SUITES[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mib", type=int, default=512, help="size of the blobs")
    parser.add_argument("work", nargs="*", help="unary, threads, read, write (all)")
    options = parser.parse_args()
    size, rounds = options.mib * _MIB, options.rounds
    with _setting(options.suite) as (daemon, client, channel):
        work = {
            "unary": lambda: unary(daemon, client, channel, rounds),
            "threads": lambda: threads(client, channel, rounds),
            "read": lambda: read(client, daemon, channel, rounds, size),
            "write": lambda: write(client, channel, rounds, size),
        }
        for name in options.work or work:
            work[name]()


if __name__ == "__main__":
    main()

"""The wire beside grpcio and grpclib, on the same daemon in the same run.

    python -m benchmarks.wire [--suite bookworm] [--rounds 7] [WORK…]

wants root, and grpcio and grpclib installed beside the package; prints tables, and rows of TSV
on stderr.  The unary calls are here; the other works have files of their own.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import grpclib.client
from grpclib.config import Configuration

from benchmarks import content
from benchmarks.events import subscribe
from benchmarks.measure import Run, measure, report
from benchmarks.start import start
from containerd_lite import Client
from containerd_lite.schema.pool import CONTAINERD, Method
from tests.harness.daemon import SUITES, Daemon

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


@contextmanager
def _setting(suite: str) -> Iterator[tuple[Daemon, Client, grpc.Channel]]:
    options = [("grpc.max_receive_message_length", 16 * content.MIB)]
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
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--stream", type=int, default=2048, help="MiB streamed to watch memory")
    names = "unary, threads, read, write, events, start, memory"
    parser.add_argument("work", nargs="*", help=f"{names} (all)")
    options = parser.parse_args()
    rounds, size = options.rounds, options.mib * content.MIB
    with _setting(options.suite) as (daemon, client, channel):
        work = {
            "unary": lambda: unary(daemon, client, channel, rounds),
            "threads": lambda: threads(client, channel, rounds),
            "read": lambda: content.read(daemon, client, rounds, size),
            # The daemon's disk makes these rounds differ more than the others'.
            "write": lambda: content.write(daemon, client, 2 * rounds + 1, size),
            "events": lambda: subscribe(daemon, client, rounds, options.events),
            "start": lambda: start(daemon, rounds),
            "memory": lambda: content.memory(daemon, client, options.stream * content.MIB),
        }
        for name in options.work or work:
            work[name]()


if __name__ == "__main__":
    main()

"""Measures unary ``Version`` calls against grpcio and grpclib, from one thread and from 16.

Each contender runs in a process of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import grpclib.client
from grpclib.config import Configuration

from benchmarks.child import Child
from benchmarks.measure import Run, measure, report
from containerd_lite import Client
from containerd_lite.schema.pool import CONTAINERD, Method
from tests.harness.daemon import Daemon

_CALLS = 500
_THREADS = 16
_METADATA = {"containerd-namespace": "default"}


def _version() -> Method:
    return CONTAINERD.method("containerd.services.version.v1.Version/Version")


# ---- contenders, each in a process of its own --------------------------------------------------


def _our_call(address: str) -> Callable[[], object]:
    return Client(address).version_service.version


def _grpcio_call(address: str) -> Callable[[], object]:
    method = _version()
    call = grpc.insecure_channel(address).unary_unary(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    metadata = tuple(_METADATA.items())
    return lambda: call(method.request(), metadata=metadata, timeout=60)


_CALLERS = {"ours": _our_call, "grpcio": _grpcio_call}


def one_thread(contender: str, address: str) -> Run:
    call = _CALLERS[contender](address)

    def run() -> int:
        for _ in range(_CALLS):
            call()
        return _CALLS

    return run


def many_threads(contender: str, address: str) -> Run:
    call, pool = _CALLERS[contender](address), ThreadPoolExecutor(_THREADS)

    def calls(_: int) -> None:
        for _ in range(_CALLS // 4):
            call()

    def run() -> int:
        list(pool.map(calls, range(_THREADS)))
        return _THREADS * (_CALLS // 4)

    return run


def grpclib_calls(socket: str) -> Run:
    method, loop = _version(), asyncio.new_event_loop()

    async def calls() -> int:
        channel = grpclib.client.Channel(path=socket, config=Configuration())
        call = grpclib.client.UnaryUnaryMethod(
            channel, method.path, method.request, method.response
        )
        for _ in range(_CALLS):
            await call(method.request(), metadata=_METADATA, timeout=60)
        channel.close()
        return _CALLS

    return lambda: loop.run_until_complete(calls())


# ---- workloads ---------------------------------------------------------------------------------


def unary(daemon: Daemon, rounds: int) -> None:
    """Compare calls in a row from one thread, and then calls from 16 threads on one client."""
    for work, title, peers in (
        ("one_thread", "one thread", {"grpclib": ("grpclib_calls", str(daemon.socket))}),
        ("many_threads", f"{_THREADS} threads", {}),
    ):
        contenders = {
            "containerd_lite": (work, "ours", daemon.address),
            "grpcio": (work, "grpcio", daemon.address),
            **peers,
        }
        with ExitStack() as stack:
            children = {
                name: stack.enter_context(Child(f"benchmarks.unary:{function}", *arguments))
                for name, (function, *arguments) in contenders.items()
            }
            report(f"unary Version, {title}", measure(children, rounds), "us/call", 1e6)

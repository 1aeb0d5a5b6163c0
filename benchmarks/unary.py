"""Measures unary ``Version`` calls against grpcio and grpclib, from one thread and from 16.

Each contender runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count

import grpc
import grpclib.client
from grpclib.config import Configuration

from benchmarks.child import Child
from benchmarks.measure import Run, measure, report
from containerd_lite import Client
from containerd_lite.schema.pool import CONTAINERD, Method
from containerd_lite.wire import frames
from containerd_lite.wire.connection import Connection
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


def _bare_call(address: str) -> Callable[[], object]:
    """Send the same bytes for each call, and look only for the end of the response.

    No client that makes headers and reads responses can be faster in Python.
    """
    method, wire = _version(), Connection()
    preface = b"".join(wire.outgoing)
    wire.outgoing.clear()
    call = wire.start(method.path, (("containerd-namespace", "default"),))
    wire.send(call, method.request().SerializeToString(), last=True)
    request, ids = bytearray(b"".join(wire.outgoing)), list[int]()
    at = 0
    while at < len(request):
        ids.append(at + 5)
        at += 9 + int.from_bytes(request[at : at + 3], "big")
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(address.removeprefix("unix://"))
    sock.sendall(preface + frames.header(frames.SETTINGS, frames.ACK, 0, 0))
    sock.sendall(frames.window_update(0, 1 << 30))
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    buffer, streams = bytearray(1 << 16), count(1, 2)

    def call_bare() -> None:
        stream = next(streams)
        for place in ids:
            struct.pack_into(">I", request, place, stream)
        sock.sendmsg([request])
        end = 0
        while not _ends(buffer, end, stream):
            poll.poll(60_000)
            end += sock.recv_into(memoryview(buffer)[end:])

    return call_bare


def _ends(buffer: bytearray, end: int, stream: int) -> bool:
    """Return whether the buffer has the frame that ends the response on a stream."""
    at = 0
    while at + 9 <= end:
        of_stream = int.from_bytes(buffer[at + 5 : at + 9], "big")
        if of_stream == stream and buffer[at + 4] & frames.END_STREAM:
            return True
        at += 9 + int.from_bytes(buffer[at : at + 3], "big")
    return False


_CALLERS = {"ours": _our_call, "grpcio": _grpcio_call, "bare": _bare_call}


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

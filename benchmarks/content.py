"""Measures ``Content.Read`` and ``Content.Write`` against grpcio and ctr, and their memory use.

A contender called "pure" uses protobuf's pure-Python backend. ``ctr`` is a program, and its start
is part of its figures.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import grpc

from benchmarks.child import Child
from benchmarks.measure import Run, measure, report
from containerd_lite import Client
from containerd_lite.oci import digest as digests
from containerd_lite.schema.pool import CONTAINERD, Method
from containerd_lite.wire import frames
from containerd_lite.wire.connection import Connection
from tests.harness.daemon import Daemon

MIB = 1 << 20
_OPTIONS = [("grpc.max_receive_message_length", 16 * MIB)]
_PURE = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}


def _method(name: str) -> Method:
    return CONTAINERD.method(f"containerd.services.content.v1.Content/{name}")


# ---- contenders, in this process or in a process of their own ----------------------------------


def read_ours(address: str, namespace: str, digest: str) -> Run:
    service = Client(address, namespace=namespace).content_store._service

    def run() -> int:
        with service.read(digest) as chunks:
            return sum(map(len, chunks))

    return run


def read_grpcio(address: str, namespace: str, digest: str) -> Run:
    method = _method("Read")
    rpc = grpc.insecure_channel(address, options=_OPTIONS).unary_stream(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    metadata = (("containerd-namespace", namespace),)

    def run() -> int:
        responses = rpc(method.request(digest=digest), metadata=metadata)
        return sum(len(response.data) for response in responses)

    return run


def read_bare(socket_path: str, namespace: str, digest: str, size: int) -> Run:
    """Read the same bytes off the socket without parsing. No client that parses can be faster."""
    method = _method("Read")
    metadata = (("containerd-namespace", namespace),)

    def run() -> int:
        wire = Connection()
        call = wire.start(method.path, metadata)
        wire.send(call, method.request(digest=digest).SerializeToString(), last=True)
        wire.outgoing.append(frames.header(frames.SETTINGS, frames.ACK, 0, 0))
        wire.outgoing += (frames.window_update(stream_id, 1 << 30) for stream_id in (0, 1))
        buffer, left = bytearray(256 << 10), size
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(socket_path)
            sock.sendall(b"".join(wire.outgoing))
            while left > 0:  # counts frame headers too, so it ends slightly before the content
                left -= sock.recv_into(buffer)
        return size

    return run


# Neither contender names the digest when the write starts. Otherwise a daemon that still has the
# content would not write it again.
def write_ours(address: str, namespace: str, mib: str) -> Run:
    client = Client(address, namespace=namespace)
    chunk, size = os.urandom(MIB), int(mib) * MIB
    digest = digests.of(chunk * int(mib)) if int(mib) <= 1024 else ""
    store = client.content_store

    def run() -> int:
        with store.writer("bench", size=size) as writer:
            for _ in range(size // MIB):
                writer.write(chunk)
            if not digest:  # over 1 GiB: a commit would take too long
                return size
            writer.commit()
        store.delete(digest)
        return size

    return run


def write_grpcio(address: str, namespace: str, mib: str) -> Run:
    method = _method("Write")
    channel = grpc.insecure_channel(address, options=_OPTIONS)
    rpc = channel.stream_stream(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    client = Client(address, namespace=namespace)
    chunk, size = os.urandom(MIB), int(mib) * MIB
    digest = digests.of(chunk * int(mib))
    metadata = (("containerd-namespace", namespace),)

    def requests() -> Iterator[object]:
        yield method.request(action=0, ref="bench", total=size)
        for number in range(size // MIB):
            yield method.request(action=1, ref="bench", offset=number * MIB, data=chunk)
        yield method.request(action=2, ref="bench", total=size, offset=size, expected=digest)

    def run() -> int:
        for _ in rpc(requests(), metadata=metadata):
            pass
        client.content_store.delete(digest)
        return size

    return run


# ---- workloads ---------------------------------------------------------------------------------


def _blob(client: Client, size: int) -> str:
    """Write a blob of ``size`` bytes, which the caller's lease keeps; return its digest."""
    body = os.urandom(MIB) * (size // MIB)
    digest = digests.of(body)
    with client.content_store.writer("bench", size=size, expected=digest) as writer:
        writer.write(body)
        writer.commit()
    return digest


def read(daemon: Daemon, client: Client, rounds: int, size: int) -> None:
    """Compare reads of one blob whose content is discarded."""
    with client.lease():
        digest = _blob(client, size)
        arguments = (daemon.address, client.namespace, digest)

        def ctr() -> int:
            return len(daemon.ctr("content", "get", digest, namespace=client.namespace).stdout)

        with (
            Child("benchmarks.content:read_ours", *arguments) as ours,
            Child("benchmarks.content:read_ours", *arguments, **_PURE) as pure,
            Child("benchmarks.content:read_grpcio", *arguments) as grpcio,
        ):
            contenders: dict[str, Run] = {
                "containerd_lite": ours,
                "containerd_lite, pure": pure,
                "grpcio": grpcio,
                "ctr content get": ctr,
                "bare socket": read_bare(str(daemon.socket), client.namespace, digest, size),
            }
            title = f"Content.Read of {size // MIB} MiB"
            report(title, measure(contenders, rounds), "ms/MiB", 1e3 * MIB)


def write(daemon: Daemon, client: Client, rounds: int, size: int) -> None:
    """Compare writes of one blob in chunks of 1 MiB, including the daemon's commit."""
    arguments = (daemon.address, client.namespace, str(size // MIB))
    body = os.urandom(MIB) * (size // MIB)
    digest = digests.of(body)

    def ctr() -> int:
        options = ("--expected-size", str(size), "--expected-digest", digest, "bench-ctr")
        daemon.ctr("content", "ingest", *options, input=body, namespace=client.namespace)
        client.content_store.delete(digest)
        return size

    with (
        client.lease(),
        Child("benchmarks.content:write_ours", *arguments) as ours,
        Child("benchmarks.content:write_grpcio", *arguments) as grpcio,
    ):
        contenders: dict[str, Run] = {
            "containerd_lite": ours,
            "grpcio": grpcio,
            "ctr content ingest": ctr,
        }
        title = f"Content.Write of {size // MIB} MiB"
        report(title, measure(contenders, rounds), "ms/MiB", 1e3 * MIB)


def memory(daemon: Daemon, client: Client, size: int) -> None:
    """Print how far the peak memory of a process rises above its idle memory while it streams."""
    print(f"\npeak memory above the idle process, {size // MIB} MiB streamed")
    with client.lease():
        digest = _blob(client, min(size, 512 * MIB))
        arguments = (daemon.address, client.namespace)
        contenders = {
            "read": ("benchmarks.content:read_ours", *arguments, digest),
            "write": ("benchmarks.content:write_ours", *arguments, str(size // MIB)),
            "read, grpcio": ("benchmarks.content:read_grpcio", *arguments, digest),
        }
        for name, command in contenders.items():
            with Child(*command) as child:
                streamed = 0
                while streamed < size:
                    streamed += child().units
                print(f"{name:26}{(child.peak - child.idle) / 1024:10.1f} MiB")

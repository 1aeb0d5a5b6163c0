"""``Content.Read`` and ``Content.Write`` beside grpcio and ctr, and how much memory they take.

What lives here: the contenders.  What may not: rounds and tables (``measure`` has them).
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


# ---- contenders, here or in a process of their own ---------------------------------------------


def read_ours(address: str, namespace: str, digest: str) -> Run:
    service = Client(address, namespace=namespace).content_store._service

    def run() -> int:
        with service.read(digest) as chunks:
            return sum(map(len, chunks))

    return run


def read_grpcio(address: str, namespace: str, digest: str) -> Run:
    method = _method("Read")
    peer = grpc.insecure_channel(address, options=_OPTIONS).unary_stream(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    metadata = (("containerd-namespace", namespace),)

    def run() -> int:
        replies = peer(method.request(digest=digest), metadata=metadata)
        return sum(len(reply.data) for reply in replies)

    return run


def read_bare(socket_path: str, namespace: str, digest: str, size: int) -> Run:
    """The same bytes off the socket, unseen: no client that looks at them can be quicker."""
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
            while left > 0:  # the frames around the content are some more
                left -= sock.recv_into(buffer)
        return size

    return run


# The digest is told at the commit alone: the daemon need not write what it still has.
def write_ours(address: str, namespace: str, mib: str) -> Run:
    client = Client(address, namespace=namespace)
    chunk, size = os.urandom(MIB), int(mib) * MIB
    digest = digests.of(chunk * int(mib)) if int(mib) <= 1024 else ""
    store = client.content_store

    def run() -> int:
        with store.writer("bench", size=size) as writer:
            for _ in range(size // MIB):
                writer.write(chunk)
            if not digest:  # too large to be worth a commit
                return size
            writer.commit()
        store.delete(digest)
        return size

    return run


def write_grpcio(address: str, namespace: str, mib: str) -> Run:
    method = _method("Write")
    channel = grpc.insecure_channel(address, options=_OPTIONS)
    peer = channel.stream_stream(
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
        for _ in peer(requests(), metadata=metadata):
            pass
        client.content_store.delete(digest)
        return size

    return run


# ---- the work ----------------------------------------------------------------------------------


def _blob(client: Client, size: int) -> str:
    """Content of ``size`` bytes, kept by the lease of the caller; its digest."""
    body = os.urandom(MIB) * (size // MIB)
    digest = digests.of(body)
    with client.content_store.writer("bench", size=size, expected=digest) as writer:
        writer.write(body)
        writer.commit()
    return digest


def read(daemon: Daemon, client: Client, rounds: int, size: int) -> None:
    """One blob, to nowhere."""
    with client.lease():
        digest = _blob(client, size)
        where = (daemon.address, client.namespace, digest)

        def ctr() -> int:
            return len(daemon.ctr("content", "get", digest, namespace=client.namespace).stdout)

        with (
            Child("benchmarks.content:read_ours", *where) as ours,
            Child("benchmarks.content:read_ours", *where, **_PURE) as pure,
            Child("benchmarks.content:read_grpcio", *where) as grpcio,
        ):
            contenders: dict[str, Run] = {
                "containerd_lite": ours,
                "the same, pure protobuf": pure,
                "grpcio": grpcio,
                "ctr content get": ctr,
                "a bare socket": read_bare(str(daemon.socket), client.namespace, digest, size),
            }
            title = f"Content.Read of {size // MIB} MiB"
            report(title, measure(contenders, rounds), "ms/MiB", 1e3 * MIB)


def write(daemon: Daemon, client: Client, rounds: int, size: int) -> None:
    """One blob in chunks of 1 MiB; the daemon's commit included."""
    where = (daemon.address, client.namespace, str(size // MIB))
    body = os.urandom(MIB) * (size // MIB)
    digest = digests.of(body)

    def ctr() -> int:
        options = ("--expected-size", str(size), "--expected-digest", digest, "bench-ctr")
        daemon.ctr("content", "ingest", *options, input=body, namespace=client.namespace)
        client.content_store.delete(digest)
        return size

    with (
        client.lease(),
        Child("benchmarks.content:write_ours", *where) as ours,
        Child("benchmarks.content:write_grpcio", *where) as grpcio,
    ):
        contenders: dict[str, Run] = {
            "containerd_lite": ours,
            "grpcio": grpcio,
            "ctr content ingest": ctr,
        }
        title = f"Content.Write of {size // MIB} MiB"
        report(title, measure(contenders, rounds), "ms/MiB", 1e3 * MIB)


def memory(daemon: Daemon, client: Client, size: int) -> None:
    """How much more than the idle process a stream takes, at most."""
    print(f"\nmemory over the idle process, {size // MIB} MiB streamed")
    with client.lease():
        digest = _blob(client, min(size, 512 * MIB))
        where = (daemon.address, client.namespace)
        works = {
            "read": ("benchmarks.content:read_ours", *where, digest),
            "write": ("benchmarks.content:write_ours", *where, str(size // MIB)),
            "read, grpcio": ("benchmarks.content:read_grpcio", *where, digest),
        }
        for name, work in works.items():
            with Child(*work) as child:
                done = 0
                while done < size:
                    done += child().units
                print(f"{name:26}{(child.peak - child.idle) / 1024:10.1f} MiB")

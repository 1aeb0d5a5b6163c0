"""Measures lists of many images, containers and blobs against grpcio and ctr.

Usage:

    python -m benchmarks.services [--daemon 1.6] [--rounds 7] [--images N] [--content N]

Needs root, and grpcio installed beside the package. Prints tables, and rows of TSV on stderr.
containerd_lite returns records; grpcio returns messages, as generated code does. In a second
table, both also read two fields of each entry. Both run with protobuf's default backend, and with
its pure-Python backend in the rows called "pure". The tables give the time for an entry;
``ours/peer`` below 1 means that containerd_lite is faster.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc

from benchmarks.child import Child
from benchmarks.measure import Run, measure, report
from containerd_lite import Client
from containerd_lite.oci import digest as digests
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._types import runtime_spec
from containerd_lite.services.containers import ContainerRecord
from tests.harness.daemon import Daemon
from tests.harness.generations import GENERATIONS, OLDEST

_PURE = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
_LIMIT = [("grpc.max_receive_message_length", 16 << 20)]
_THREADS = 8


# ---- contenders, each in a process of its own --------------------------------------------------


def images_ours(address: str, namespace: str, read: str) -> Run:
    service = Client(address, namespace=namespace).image_service
    if not read:
        return lambda: len(service.list())
    return lambda: len([(image.name, image.target.digest) for image in service.list()])


def containers_ours(address: str, namespace: str, read: str) -> Run:
    service = Client(address, namespace=namespace).container_service
    if not read:
        return lambda: len(service.list())
    return lambda: len([(container.id, container.image) for container in service.list()])


def content_ours(address: str, namespace: str, read: str) -> Run:
    store = Client(address, namespace=namespace).content_store
    if not read:
        return lambda: len(list(store.walk()))
    return lambda: len([(info.digest, info.size) for info in store.walk()])


def _grpcio(name: str, address: str, namespace: str, read: Callable[[object], int]) -> Run:
    method = CONTAINERD.method(name)
    channel = grpc.insecure_channel(address, options=_LIMIT)
    make = channel.unary_stream if method.server_streaming else channel.unary_unary
    call = make(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    metadata = (("containerd-namespace", namespace),)
    return lambda: read(call(method.request(), metadata=metadata))


def images_grpcio(address: str, namespace: str, read: str) -> Run:
    def count(response: object) -> int:
        images = response.images  # type: ignore[attr-defined]
        return len([(i.name, i.target.digest) for i in images] if read else list(images))

    return _grpcio("containerd.services.images.v1.Images/List", address, namespace, count)


def containers_grpcio(address: str, namespace: str, read: str) -> Run:
    def count(responses: object) -> int:
        containers = [response.container for response in responses]  # type: ignore[attr-defined]
        return len([(c.id, c.image) for c in containers] if read else containers)

    name = "containerd.services.containers.v1.Containers/ListStream"
    return _grpcio(name, address, namespace, count)


def content_grpcio(address: str, namespace: str, read: str) -> Run:
    def count(responses: object) -> int:
        infos = [info for response in responses for info in response.info]  # type: ignore[attr-defined]
        return len([(info.digest, info.size) for info in infos] if read else infos)

    return _grpcio("containerd.services.content.v1.Content/List", address, namespace, count)


# ---- workloads ---------------------------------------------------------------------------------


def _fill(client: Client, many: int, content: int) -> None:
    """Create the images, containers and blobs. The caller's lease keeps the blobs."""
    target = Descriptor("application/octet-stream", digests.of(b"x"), 1)
    spec = runtime_spec({"process": {"args": ["sh"] * 200}})
    labels = {"containerd.io/a": "b" * 40, "c": "d"}

    def blob(number: int) -> None:
        body = b"%d of many" % number
        with client.content_store.writer(f"bench-{number}", size=len(body)) as writer:
            writer.write(body)
            writer.commit({"containerd.io/gc.root": "yes", **labels})

    for number in range(many):
        client.image_service.create(f"example.com/image-{number}:latest", target, labels)
        client.container_service.create(
            ContainerRecord(f"container-{number}", "image", "io.containerd.runc.v2", None, spec)
        )
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(blob, range(content)))


def _compare(
    kind: str,
    count: int,
    daemon: Daemon,
    namespace: str,
    rounds: int,
    command: list[str],
    read: str,
) -> None:
    arguments = (daemon.address, namespace, read)
    contenders: Mapping[str, tuple[str, dict[str, str]]] = {
        "containerd_lite": (f"{kind}_ours", {}),
        "grpcio": (f"{kind}_grpcio", {}),
        "containerd_lite, pure": (f"{kind}_ours", _PURE),
        "grpcio, pure": (f"{kind}_grpcio", _PURE),
    }

    def ctr() -> int:
        listed = daemon.ctr(*command, namespace=namespace).stdout.splitlines()
        assert len(listed) >= count
        return count

    with ExitStack() as stack:
        children = {
            name: stack.enter_context(Child(f"benchmarks.services:{function}", *arguments, **env))
            for name, (function, env) in contenders.items()
        }
        runs: dict[str, Run] = {**children, f"ctr {' '.join(command)}": ctr}
        for name, child in children.items():
            assert child().units == count, name
        report(f"list of {kind}, {count} entries{read}", measure(runs, rounds), "us/entry", 1e6)
        for name, child in children.items():
            print(f"{name:26}{(child.peak - child.idle) / 1024:10.1f} MiB above the idle process")


def _clean(client: Client) -> Iterator[None]:
    for image in client.image_service.list():
        yield client.image_service.delete(image.name)
    for container in client.container_service.list():
        yield client.container_service.delete(container.id)


def main() -> None:
    """Create many images, containers and blobs, and measure the lists of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--daemon", choices=GENERATIONS, default=OLDEST)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--images", type=int, default=2000, help="and as many containers (%(default)s)"
    )
    parser.add_argument("--content", type=int, default=20_000)
    options = parser.parse_args()
    namespace = f"bench-{os.urandom(4).hex()}"
    with Daemon(options.daemon) as daemon, Client(daemon.address, namespace=namespace) as client:
        print(f"containerd {client.version().version}")
        with client.lease():
            _fill(client, options.images, options.content)
            for kind, count, command in (
                ("images", options.images, ["images", "ls"]),
                ("containers", options.images, ["containers", "ls"]),
                ("content", options.content, ["content", "ls"]),
            ):
                for read in ("", ", and read two fields of each"):
                    _compare(kind, count, daemon, namespace, options.rounds, command, read)
        for _ in _clean(client):
            pass


if __name__ == "__main__":
    main()

"""Measures ``Events.Subscribe`` against grpcio: the CPU time of an event, and lost events.

Both contenders subscribe at the same time, each in a process of its own, and receive the same
events until an image is deleted. An event that a contender has not received by then counts as
lost. Both read only the topic of each event.
"""

from __future__ import annotations

import secrets

import grpc

from benchmarks.child import Child
from benchmarks.measure import Run, Sample, report
from containerd_lite import Client
from containerd_lite.oci import digest as digests
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.schema.pool import CONTAINERD
from tests.harness.daemon import Daemon

_UPDATE, _DELETE = "/images/update", "/images/delete"


def _filters(namespace: str) -> list[str]:
    return [f'namespace=={namespace},topic=="{topic}"' for topic in (_UPDATE, _DELETE)]


def ours(address: str, namespace: str) -> Run:
    stream = Client(address).event_service.subscribe(*_filters(namespace))
    stream.wait_until_subscribed()

    def run() -> int:
        received = 0
        for event in stream:
            if event.topic == _DELETE:
                break
            received += 1
        return received

    return run


def grpcio(address: str, namespace: str) -> Run:
    method = CONTAINERD.method("containerd.services.events.v1.Events/Subscribe")
    rpc = grpc.insecure_channel(address).unary_stream(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    responses = rpc(method.request(filters=_filters(namespace)))

    def run() -> int:
        received = 0
        for message in responses:
            if message.topic == _DELETE:
                break
            received += 1
        return received

    return run


def subscribe(daemon: Daemon, client: Client, rounds: int, events: int) -> None:
    """Update the labels of one image as fast as the daemon allows, and compare the subscribers."""
    images, arguments = client.image_service, (daemon.address, client.namespace)
    samples = {"containerd_lite": Sample(), "grpcio": Sample()}
    lost = dict.fromkeys(samples, 0)
    name, body = f"bench-{secrets.token_hex(4)}", secrets.token_bytes(8)
    target = Descriptor("application/octet-stream", digests.of(body), len(body))
    with (
        Child("benchmarks.events:ours", *arguments) as mine,
        Child("benchmarks.events:grpcio", *arguments) as peer,
    ):
        children = {"containerd_lite": mine, "grpcio": peer}
        for _ in range(rounds):
            images.create(name, target)
            for child in children.values():
                child.start()
            for number in range(events):
                images.update(name, target, {"n": str(number)})
            images.delete(name)
            for contender, child in children.items():
                result = child.finish()
                samples[contender].add(result)
                lost[contender] += events - result.units
    report(f"Events.Subscribe, {events} events", samples, "us/event", 1e6)
    print(f"lost events: {lost}")

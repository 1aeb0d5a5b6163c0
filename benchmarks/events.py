"""``Events.Subscribe`` beside grpcio: CPU for an event, and events lost.

Both subscribe at once and see the same events, each in a process of its own, until an image is
deleted; what they have not seen by then is lost.  Neither reads more of an event than its topic.
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
        found = 0
        for event in stream:
            if event.topic == _DELETE:
                break
            found += 1
        return found

    return run


def grpcio(address: str, namespace: str) -> Run:
    method = CONTAINERD.method("containerd.services.events.v1.Events/Subscribe")
    peer = grpc.insecure_channel(address).unary_stream(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    replies = peer(method.request(filters=_filters(namespace)))

    def run() -> int:
        found = 0
        for message in replies:
            if message.topic == _DELETE:
                break
            found += 1
        return found

    return run


def subscribe(daemon: Daemon, client: Client, rounds: int, events: int) -> None:
    """Updates of one image's labels, as fast as the daemon makes them."""
    images, where = client.image_service, (daemon.address, client.namespace)
    samples = {"containerd_lite": Sample(), "grpcio": Sample()}
    lost = dict.fromkeys(samples, 0)
    name, body = f"bench-{secrets.token_hex(4)}", secrets.token_bytes(8)
    target = Descriptor("application/octet-stream", digests.of(body), len(body))
    with (
        Child("benchmarks.events:ours", *where) as mine,
        Child("benchmarks.events:grpcio", *where) as peer,
    ):
        children = {"containerd_lite": mine, "grpcio": peer}
        for _ in range(rounds):
            images.create(name, target)
            for child in children.values():
                child.start()
            for number in range(events):
                images.update(name, target, {"n": str(number)})
            images.delete(name)
            for who, child in children.items():
                result = child.finish()
                samples[who].add(result)
                lost[who] += events - result.units
    report(f"Events.Subscribe, {events} events", samples, "us/event", 1e6)
    print(f"lost: {lost}")

"""Connections that are cut in mid-stream, and a registry that is started anew meanwhile."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import pytest

from containerd_lite.errors import RegistryUnavailable
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.progress import ProgressEvent
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.upload import Outcome
from tests.e2e.registry.relay import DOWN, UP, Relay
from tests.e2e.registry.rounds import asked, named
from tests.harness.images import digest_of
from tests.harness.registry import Registry as Server
from tests.harness.tls import Files

pytestmark = pytest.mark.registry

Open = Callable[[Any], Any]
Meanwhile = Callable[[Server], None]

BODY = random.Random(1).randbytes(12 << 20)
BLOB = Descriptor(media_types.OCI_LAYER, digest_of(BODY), len(BODY))
#: Three cuts, each at a place of its own (bytes from one to the next).
PLACES = [1 << 20, 3 << 20, 5 << 20]
#: What heads, status requests and lost pieces may come to (bytes): far less than to begin again.
SLACK = 1 << 20

started_anew = pytest.mark.parametrize("anew", [False, True], ids=["cut", "started anew"])


def start_anew(server: Server) -> None:
    """Ends the registry, and starts it on what it stored."""
    server.stop()
    server.start()


def nothing(_: Server) -> None:
    """Leaves the registry alone."""


meanwhile = pytest.mark.parametrize("meanwhile", [nothing, start_anew])
over = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])


def client(host: str, events: list[ProgressEvent], **options: Any) -> Registry:
    """A client that does not wait between tries."""
    return Registry(host, progress=events.append, sleep=lambda _: None, **options)


def served(opened: Open, files: Files, tls: bool) -> tuple[Server, dict[str, Any]]:
    """A registry, and what its clients are given."""
    server = opened(Server(tls=files.server if tls else None))
    return server, {"tls": TlsFiles((files.authority.certificate,))} if tls else {}


def retries(events: list[ProgressEvent]) -> list[ProgressEvent]:
    """What was told of cuts, and nothing was told without a reason."""
    found = [one for one in events if one.stage == "retrying"]
    assert all(one.reason and BLOB.digest in one.name for one in found)
    return found


def drain(reader: io.RawIOBase, came: bytearray) -> None:
    """Reads to the end, or to the error that comes first."""
    while piece := reader.read(100_000):
        came += piece


def check_stored(registry: Registry) -> None:
    """The registry has the blob, byte for byte."""
    reference = named(registry.host)
    assert registry.upload_blob(reference, BLOB, b"") is Outcome.EXISTS
    with registry.open_blob(reference, BLOB) as reader:
        assert digest_of(reader.read()) == BLOB.digest


@meanwhile
@pytest.mark.parametrize("connections", [1, 4])
@over
def test_a_read_goes_on_where_it_was_cut(
    tls: bool, connections: int, meanwhile: Meanwhile, opened: Open, files: Files
) -> None:
    server, options = served(opened, files, tls)
    opened(client(server.host, [], **options)).upload_blob(named(server.host), BLOB, BODY)
    relay = opened(Relay(server.host, DOWN, PLACES, lambda: meanwhile(server)))
    events: list[ProgressEvent] = []
    registry = opened(client(relay.host, events, **options))
    with registry.open_blob(named(relay.host), BLOB, connections=connections) as reader:
        assert digest_of(reader.read()) == BLOB.digest
    assert relay.cuts == len(PLACES)
    assert len(retries(events)) >= relay.cuts
    if connections == 1:
        assert relay.carried[DOWN] < BLOB.size + SLACK
        offsets = [one.offset for one in events]
        assert offsets == sorted(set(offsets))
        assert offsets[0] > 0
    if not tls:  # of what was cut by the end of the registry there is nothing in its log
        gets = [status for line, status in asked(server) if line.endswith(BLOB.digest)]
        assert gets.count(206) >= (1 if meanwhile is start_anew else len(PLACES))


@pytest.mark.parametrize("anew", [False, True], ids=["cut", "start_anew"])
@over
def test_an_upload_goes_on_with_its_session(
    tls: bool, anew: bool, opened: Open, files: Files
) -> None:
    server, options = served(opened, files, tls)
    relay = opened(Relay(server.host))
    places = {3 << 20, 4 << 20, 9 << 20}
    begun: list[int] = []

    def content(offset: int) -> io.BytesIO:
        if offset in places:  # the registry has all before it, and the head of a chunk
            places.remove(offset)
            # Ended right after a cut, this registry may leave a file half-written behind.
            start_anew(server) if anew else relay.cut()
        begun.append(offset)
        return io.BytesIO(memoryview(BODY)[offset:])

    events: list[ProgressEvent] = []
    registry = opened(client(relay.host, events, **options))
    outcome = registry.upload_blob(named(relay.host), BLOB, content, chunk_size=1 << 20)
    assert outcome is Outcome.UPLOADED
    # The registry may still be at what was cut, and refuse the first try.
    assert sorted({one.offset for one in retries(events)}) == [3 << 20, 4 << 20, 9 << 20]
    assert sorted(set(begun)) == [place << 20 for place in range(12)]
    assert begun == sorted(begun)
    assert relay.carried[UP] < BLOB.size + SLACK
    check_stored(opened(client(server.host, [], **options)))
    if not tls:
        done = [line.split(" ")[0] for line, status in asked(server) if status in (201, 202, 204)]
        assert [done.count(method) for method in ("POST", "PATCH", "PUT")] == [1, 12, 1]


@meanwhile
@pytest.mark.parametrize("chunk_size", [None, 1 << 20, 5_000_000])
@over
def test_an_upload_whose_session_the_registry_gives_up_is_begun_again(
    tls: bool, chunk_size: int | None, meanwhile: Meanwhile, opened: Open, files: Files
) -> None:
    # This registry does not take up a session of which it stored a part of a chunk.
    server, options = served(opened, files, tls)
    relay = opened(Relay(server.host, UP, PLACES[1:2], lambda: meanwhile(server)))
    events: list[ProgressEvent] = []
    registry = opened(client(relay.host, events, **options))
    outcome = registry.upload_blob(named(relay.host), BLOB, BODY, chunk_size=chunk_size)
    assert outcome is Outcome.UPLOADED
    assert relay.cuts == 1
    assert retries(events)
    check_stored(opened(client(server.host, [], **options)))


def test_a_read_from_a_registry_that_stays_away_can_be_taken_up_later(
    server: Server, opened: Open
) -> None:
    opened(Registry(server.host)).upload_blob(named(server.host), BLOB, BODY)
    relay = opened(Relay(server.host, DOWN, PLACES[:1], server.stop))
    events: list[ProgressEvent] = []
    registry = opened(client(relay.host, events))
    reader = registry.open_blob(named(relay.host), BLOB)
    came = bytearray()
    with pytest.raises(RegistryUnavailable, match=relay.host):
        drain(reader, came)
    assert 0 < len(came) == reader.tell() < BLOB.size
    assert retries(events) == events != []
    server.start()
    with registry.open_blob(named(relay.host), BLOB, reader.tell()) as rest:
        assert digest_of(bytes(came) + rest.read()) == BLOB.digest


def test_an_upload_to_a_registry_that_stays_away_can_be_begun_again(
    server: Server, opened: Open
) -> None:
    relay = opened(Relay(server.host, UP, PLACES[:1], server.stop))
    events: list[ProgressEvent] = []
    registry = opened(client(relay.host, events))
    with pytest.raises(RegistryUnavailable, match=relay.host):
        registry.upload_blob(named(relay.host), BLOB, BODY)
    assert retries(events) == events != []
    server.start()
    assert registry.upload_blob(named(relay.host), BLOB, BODY) is Outcome.UPLOADED

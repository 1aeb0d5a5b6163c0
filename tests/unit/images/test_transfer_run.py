"""One transfer while it runs, without a daemon: what it tells, and when it says nothing."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from containerd_lite.errors import (
    DeadlineExceeded,
    NotFound,
    ProtocolError,
    RegistryUnavailable,
)
from containerd_lite.images.daemon.by_daemon import DaemonTransfers
from containerd_lite.images.daemon.transfer_run import QUIET_FACTOR, ProgressTracker, StallLimits
from containerd_lite.images.job import Job
from containerd_lite.images.platforms import Platforms
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.progress import ProgressEvent, Stage
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._base import CallContext, joined_lease
from containerd_lite.services._types import AnyValue
from containerd_lite.services.streaming import StreamingService
from containerd_lite.services.transfer import TransferService
from containerd_lite.services.transfer_types import Progress
from containerd_lite.services.version import VersionService
from containerd_lite.transport.channel import Channel
from tests.wire.peer import (
    DATA,
    HEADERS,
    PING,
    RST_STREAM,
    Closed,
    Peer,
    Wire,
    data,
    descriptors,
    message,
    ping,
    settings,
)

ALL = Platforms(None)
DIGEST = "sha256:" + "a" * 64
LAYER = Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", DIGEST, 1000)


# ---- what is told ------------------------------------------------------------------------------


def taken(
    *told: Progress, complete: Stage = "downloaded", least: float = 1e9
) -> tuple[list[ProgressEvent], list[bool], ProgressTracker]:
    events: list[ProgressEvent] = []
    tracker = ProgressTracker(Job(events.append), "ref:1", complete, least)
    signs = [tracker.report(one.to_any()) for one in told]
    return events, signs, tracker


def test_events() -> None:
    name = f"layer-{DIGEST}"
    events, _, tracker = taken(
        Progress("Resolving from OCI Registry (ref:1)"),
        Progress("Pulling from OCI Registry (ref:1)"),
        Progress("fetching image content", "ref:1"),
        Progress("waiting", name, (), 0, 1000, LAYER),
        Progress("downloading", name, (), 400, 1000, LAYER),
        Progress("complete", name, (), 1000, 1000, LAYER),
        Progress("extracting", name, (), 0, 1000, LAYER),
        Progress("extracted", name, (), 1000, 1000, LAYER),
        Progress("saved", "ref:1"),
        Progress("Completed pull from OCI Registry (ref:1)"),
    )
    of_layer = {"name": DIGEST, "total": 1000, "media_type": LAYER.media_type}
    assert events == [
        ProgressEvent("resolving", "ref:1"),
        ProgressEvent("resolved", "ref:1"),
        ProgressEvent("waiting", offset=0, **of_layer),  # type: ignore[arg-type]
        ProgressEvent("downloading", offset=400, **of_layer),  # type: ignore[arg-type]
        ProgressEvent("downloaded", offset=1000, **of_layer),  # type: ignore[arg-type]
        ProgressEvent("unpacking", offset=0, **of_layer),  # type: ignore[arg-type]
        ProgressEvent("unpacked", offset=1000, **of_layer),  # type: ignore[arg-type]
    ]
    assert tracker.saved == ["ref:1"]


@pytest.mark.parametrize("word", ["exists", "already exists"])
def test_names_as_they_come_from_daemons_without_descriptors(word: str) -> None:
    events, _, _ = taken(
        Progress(word, "config-x", (), 5, 5),
        Progress("complete", "layer-y", (), 7, 7),
        Progress("a word that comes later", "layer-z"),
        complete="uploaded",
    )
    assert events == [
        ProgressEvent("exists", "config-x", 5, 5),
        ProgressEvent("uploaded", "layer-y", 7, 7),
    ]


def test_what_is_no_progress_is_no_sign_of_life() -> None:
    tracker = ProgressTracker(Job(), "ref:1", "downloaded", 1)
    assert tracker.report(AnyValue("some.Other", b"")) is False


def test_a_registry_is_waited_for_until_all_is_there() -> None:
    tracker = ProgressTracker(Job(), "ref:1", "downloaded", 1)
    seen = [tracker.is_fetching]
    for told in (
        Progress("Resolving from x"),
        Progress("Pulling from x"),
        Progress("waiting", "a"),
        Progress("waiting", "b"),
        Progress("already exists", "a"),
        Progress("downloading", "b", (), 1, 2),
        Progress("complete", "b", (), 2, 2),
    ):
        tracker.report(told.to_any())
        seen.append(tracker.is_fetching)
    assert seen == [True, True, False, True, True, True, True, False]


def test_a_drip_is_no_sign_of_life() -> None:
    """Another stage is one, and bytes are when enough have come since the last."""
    told = [Progress("downloading", "a", (), offset, 1000) for offset in (0, 40, 90, 110, 150, 209)]
    _, signs, _ = taken(*told, Progress("complete", "a", (), 1000, 1000), least=100)
    assert signs == [True, False, False, True, False, False, True]


# ---- limits ------------------------------------------------------------------------------------


def refused() -> None:
    raise DeadlineExceeded("no answer")


def test_a_silent_daemon_is_told_from_a_silent_registry() -> None:
    asked: list[int] = []
    limits = StallLimits(lambda: asked.append(1), 0)
    with pytest.raises(RegistryUnavailable):
        limits.check(is_fetching=True)
    with pytest.raises(DeadlineExceeded, match="not advance"):
        limits.check(is_fetching=False)
    assert asked == [1, 1]
    assert not limits.is_daemon_silent
    limits = StallLimits(refused, 0)
    with pytest.raises(DeadlineExceeded, match="does not answer"):
        limits.check(is_fetching=True)
    assert limits.is_daemon_silent


def test_nobody_is_asked_in_time_or_while_it_is_our_turn() -> None:
    StallLimits(refused, 60).check(is_fetching=True)
    limits = StallLimits(refused, 0)
    limits.suspend()
    limits.check(is_fetching=True)
    limits.restart()
    with pytest.raises(DeadlineExceeded):
        limits.check(is_fetching=True)


def test_a_daemon_that_works_is_asked_again_and_again() -> None:
    rounds: list[int] = []
    limits = StallLimits(lambda: rounds.append(1), 0.005)

    def look_on() -> None:
        while True:
            limits.check(is_fetching=False)

    with pytest.raises(DeadlineExceeded, match=f"{0.005 * QUIET_FACTOR:g} seconds"):
        look_on()
    assert len(rounds) > 1


# ---- daemons that do not what they should ------------------------------------------------------


def services(channel: Channel) -> tuple[TransferService, StreamingService, VersionService]:
    context = CallContext("ns", timeout=5)
    return (
        TransferService(channel, context),
        StreamingService(channel, context),
        VersionService(channel, context),
    )


ANY = CONTAINERD.message("google.protobuf.Any")
EMPTY = message(ANY(type_url="google.protobuf.Empty").SerializeToString())
Behaviour = Callable[[Wire, int], None]


class Script:
    """A daemon that opens streams as it should, and answers a transfer by ``transfer``.

    When the transfer is reset, it ends the streams of which the client waits for more; not before.
    ``seen`` has what was called, ended and cut off, in order.
    """

    def __init__(self, transfer: Behaviour) -> None:
        self._transfer = transfer
        self._lock = threading.Lock()
        self._streams: list[tuple[Wire, int]] = []
        self.seen: list[str] = []
        self.leases: set[str] = set()

    def run(self, wire: Wire) -> None:
        wire.send(settings())
        path = ""  # one call at a time for each connection
        while True:
            frame = wire.read()
            wire._take(frame)
            if frame.kind == HEADERS:
                path = wire.open[frame.stream_id].path.rpartition("/")[2]
                self.leases.add(wire.open[frame.stream_id].headers["containerd-lease"])
                self.seen.append(path)
                wire.send(wire.headers(frame.stream_id))
            elif frame.kind == DATA and frame.payload:
                self._answer(wire, frame.stream_id, path)
            elif frame.kind == RST_STREAM:
                self._reset(path)
            elif frame.kind == PING:  # the client reads still: it waits
                self.seen.append("ended")
                wire.send(*(wire.trailers(id) for of, id in self._streams if of is wire))

    def _answer(self, wire: Wire, stream_id: int, path: str) -> None:
        if path == "Transfer":
            self._transfer(wire, stream_id)
            return
        with self._lock:
            self._streams.append((wire, stream_id))
        wire.send(data(stream_id, EMPTY))

    def tell(self, value: bytes) -> None:
        """The same on each stream."""
        for wire, stream_id in self._streams:
            wire.send(data(stream_id, value))

    def _reset(self, path: str) -> None:
        if path == "Stream":
            self.seen.append("cut off")
            return
        for wire, _ in self._streams:
            with suppress(Closed):
                wire.send(ping())


@contextmanager
def daemon(script: Script) -> Iterator[DaemonTransfers]:
    before, threads = descriptors(), threading.active_count()
    with Peer(script.run) as peer:
        with Channel(peer.address) as channel, joined_lease(channel, "ns", "ours"):
            yield DaemonTransfers(*services(channel), stall_timeout=30)
        peer.stop()
    assert script.leases == {"ours"}
    assert (descriptors(), threading.active_count()) == (before, threads)


def test_a_transfer_that_ends_without_ending_its_progress() -> None:
    """Nobody waits for the stall time-out."""

    def end(wire: Wire, stream_id: int) -> None:
        wire.send(data(stream_id, message(b"")), wire.trailers(stream_id))

    events: list[ProgressEvent] = []
    script = Script(end)
    with daemon(script) as transfers:
        transfers.pull("r.example/a:1", platforms=ALL, job=Job(events.append))
    assert script.seen[:3] == ["Stream", "Stream", "Transfer"]
    assert events == [ProgressEvent("done", "r.example/a:1")]


def test_a_transfer_that_fails_without_ending_its_progress() -> None:
    script = Script(lambda wire, stream_id: wire.send(wire.trailers(stream_id, 5)))
    with daemon(script) as transfers, pytest.raises(NotFound):
        transfers.push("r.example/a:1", "a", platforms=ALL)


def test_the_end_of_what_was_stopped_is_waited_for() -> None:
    """A value on the auth stream that is no request for credentials stops the transfer."""
    other = message(ANY(type_url="some.Other").SerializeToString())
    script = Script(lambda wire, stream_id: script.tell(other))
    with daemon(script) as transfers:
        with pytest.raises(ProtocolError, match=r"some\.Other"):
            transfers.pull("r.example/a:1", platforms=ALL)
        assert "ended" in script.seen


def test_the_end_is_waited_for_when_the_callback_raises() -> None:
    def tell(event: ProgressEvent) -> None:
        raise ValueError(event.stage)

    told = Progress("Resolving from somewhere").to_any()
    script = Script(lambda wire, id: script.tell(message(ANY(**vars(told)).SerializeToString())))
    with daemon(script) as transfers, pytest.raises(ValueError, match="resolving"):
        transfers.export_stream(io.BytesIO(), ["a"], platforms=ALL, job=Job(tell))
    assert script.seen[:3] == ["Stream", "Transfer", "ended"]

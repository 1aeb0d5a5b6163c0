"""What an operation tells of its progress as a whole."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as some

from containerd_lite import Overall, ProgressEvent, Stage
from containerd_lite.images.job import Job
from containerd_lite.images.tally import Tally
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from tests.harness.images import digest_of
from tests.harness.overall import Told

STAGES = [stage for stage in get_args(Stage) if stage != "done"]
DIGESTS = [digest_of(bytes([number])) for number in range(6)]
KINDS = [media_types.OCI_MANIFEST, media_types.OCI_LAYER]
CONTENTS = some.builds(
    Descriptor, some.sampled_from(KINDS), some.sampled_from(DIGESTS), some.integers(0, 100)
)
STEPS = some.one_of(
    some.builds(
        ProgressEvent,
        some.sampled_from(STAGES),
        some.sampled_from([*DIGESTS, "ref:1"]),
        some.integers(0, 120),
        some.integers(0, 100),
    ),
    some.tuples(some.lists(CONTENTS, max_size=3), some.none() | CONTENTS),
)


@given(some.lists(STEPS, max_size=30), some.booleans())
def test_what_is_done_never_falls_and_the_total_stays(steps: list[object], verifies: bool) -> None:
    told, tally = Told(), Tally(verifies=verifies)
    for half in (steps[: len(steps) // 2], steps[len(steps) // 2 :]):
        job = Job(told, tally)  # as of an operation that starts again
        for step in half:
            if isinstance(step, ProgressEvent):
                job.report_event(step)
            elif isinstance(step, tuple):
                job.expect(*step)
    job.report("done", "ref:1")
    assert told.events[-1].overall.done == told.events[-1].overall.total


def descriptor(number: int, size: int, kind: str = media_types.OCI_LAYER) -> Descriptor:
    return Descriptor(kind, DIGESTS[number], size)


def test_the_total_is_known_when_the_last_manifest_is_read() -> None:
    told = Told()
    job = Job(told)
    index = descriptor(0, 10, media_types.OCI_INDEX)
    one, other = (descriptor(n, 20, media_types.OCI_MANIFEST) for n in (1, 2))
    job.expect([index])
    job.expect([one, other], index)
    job.expect([descriptor(3, 300), descriptor(4, 400)], one)
    assert {event.overall.total for event in told.events} == {None}
    job.expect([descriptor(3, 300), descriptor(5, 500)], other)
    assert told.events[-1].overall.total == 1250
    assert [(event.stage, event.name, event.total) for event in told.events] == [
        ("waiting", DIGESTS[number], size)
        for number, size in enumerate([10, 20, 20, 300, 400, 500])
    ]
    job.report("exists", DIGESTS[5], 500, 500)
    job.report("downloading", DIGESTS[4], 390, 400)
    job.report("downloading", DIGESTS[4], 10, 400)  # begun again
    assert told.events[-1].overall.done == 890
    job.report("downloading", digest_of(b"unknown"), 7, 9)
    assert told.events[-1].overall.done == 890


def test_the_rate_is_of_the_last_seconds_and_of_what_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 2.0, 12.0, 22.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    told = Told()
    job = Job(told)
    job.expect([descriptor(0, 10_000), descriptor(1, 1000)])
    job.seal()
    job.report("exists", DIGESTS[1], 1000, 1000)
    seen = []
    for offset in (0, 100, 200, 1200, 6200):
        job.report("downloading", DIGESTS[0], offset, 10_000)
        seen.append(told.events[-1].overall)
    assert [overall.rate for overall in seen] == [0.0, 100.0, 100.0, 100.0, 500.0]
    assert [overall.eta for overall in seen] == [None, 99.0, 98.0, 88.0, 7.6]
    assert seen[-1] == Overall(7200, 11_000, 500.0, 7.6)


def test_of_a_verification_the_verified_bytes_count() -> None:
    for verifies, done in ((True, 40), (False, 0)):
        told = Told()
        job = Job(told, Tally(verifies=verifies))
        job.expect([descriptor(0, 100)])
        job.report("verifying", DIGESTS[0], 40, 100)
        assert told.events[-1].overall.done == done

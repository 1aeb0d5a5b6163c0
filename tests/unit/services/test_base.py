"""Status to exception, leases in a context, call options."""

from __future__ import annotations

import contextvars
import threading

import pytest

from containerd_lite.errors import Conflict, ContainerdError, FailedPrecondition, NotModified
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._base import (
    CallContext,
    current_lease,
    joined_lease,
    translated,
)
from containerd_lite.services.snapshots import SnapshotService
from containerd_lite.services.version import VersionService
from containerd_lite.transport.channel import Channel
from containerd_lite.transport.stream import UNDECODED


def failed(message: str, **parts: str) -> FailedPrecondition:
    return FailedPrecondition(message, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("conflict", Conflict),
        ("update x: conflict", Conflict),
        ("not modified", NotModified),
        ("labels: not modified", NotModified),
        ("a conflict of interest", FailedPrecondition),
        ("the conflict", FailedPrecondition),
        ("failed precondition", FailedPrecondition),
        ("", FailedPrecondition),
    ],
)
def test_only_the_suffix_tells_these_apart(message: str, kind: type[ContainerdError]) -> None:
    error = translated(failed(message, operation="A.B", address="unix:///x", remedy="Do it"))
    assert type(error) is kind
    assert (error.message, error.operation) == (message, "A.B")
    assert str(error).endswith("[unix:///x]. Do it")


def test_details_are_decoded() -> None:
    status = CONTAINERD.message("google.rpc.Status")
    raw = status(code=9, details=[{"type_url": "a.B", "value": b"x"}]).SerializeToString()
    error = failed("no")
    error.details = ((UNDECODED, raw),)
    assert translated(error).details == (("a.B", b"x"),)


def test_broken_details_hide_nothing() -> None:
    error = failed("no")
    error.details = ((UNDECODED, b"\xff\xff\xff"),)
    found = translated(error)
    assert (found.message, found.details) == ("no", ())


@pytest.fixture
def channel() -> Channel:
    return Channel("unix:///nowhere")


def test_a_lease_is_its_context_s(channel: Channel) -> None:
    other = Channel("unix:///elsewhere")
    assert current_lease(channel, "ns") == ""
    with joined_lease(channel, "ns", "one"):
        assert current_lease(channel, "ns") == "one"
        assert current_lease(channel, "other") == ""
        assert current_lease(other, "ns") == ""
        with joined_lease(other, "ns", "two"):
            assert (current_lease(channel, "ns"), current_lease(other, "ns")) == ("one", "two")
        seen: list[str] = []
        context = contextvars.copy_context()
        plain = threading.Thread(target=lambda: seen.append(current_lease(channel, "ns")))
        copied = threading.Thread(
            target=lambda: context.run(lambda: seen.append(current_lease(channel, "ns")))
        )
        for thread in (plain, copied):
            thread.start()
            thread.join()
        assert seen == ["", "one"]
    assert current_lease(channel, "ns") == ""


def test_the_lease_goes_with_the_call(channel: Channel) -> None:
    service = VersionService(channel, CallContext("ns"))
    assert service._metadata() == (("containerd-namespace", "ns"),)
    with joined_lease(channel, "ns", "one"):
        assert service._metadata()[1:] == (("containerd-lease", "one"),)
        given = service.with_options(lease="mine")
        assert given._metadata()[1:] == (("containerd-lease", "mine"),)


def test_options_make_another_service_of_the_same_kind(channel: Channel) -> None:
    service = SnapshotService(channel, CallContext("ns"), "native")
    other = service.with_options(timeout=3, wait_for_ready=True, namespace="x")
    assert other.snapshotter == "native"
    assert other._context == CallContext("x", "", 3, 3, True)
    assert service._context == CallContext("ns")
    assert "namespace=x" in repr(other)

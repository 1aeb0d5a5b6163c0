"""Leases in a context, call options."""

from __future__ import annotations

import contextvars
import threading

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.services._base import (
    CallContext,
    current_lease,
    joined_lease,
)
from containerd_lite.services.images import ImageService
from containerd_lite.services.snapshots import SnapshotService
from containerd_lite.services.tasks import TaskService
from containerd_lite.services.version import VersionService
from containerd_lite.transport.channel import Channel

pytestmark = pytest.mark.backend


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


def test_what_no_message_can_hold(channel: Channel) -> None:
    images = ImageService(channel, CallContext("ns"))
    snapshots = SnapshotService(channel, CallContext("ns"), "\udcff")
    tasks = TaskService(channel, CallContext("ns"))
    for call, operation in (
        (lambda: images.get("\udcff"), "Images.Get"),
        (lambda: images.list("name==\udcff"), "Images.List"),
        (lambda: list(snapshots.list()), "Snapshots.List"),
        (lambda: tasks.kill("x", 1 << 40), "Tasks.Kill"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            call()
        assert caught.value.operation == operation
        assert caught.value.remedy


def test_options_make_another_service_of_the_same_kind(channel: Channel) -> None:
    service = SnapshotService(channel, CallContext("ns"), "native")
    other = service.with_options(timeout=3, wait_for_ready=True, namespace="x")
    assert other.snapshotter == "native"
    assert other._context == CallContext("x", "", 3, 3, True)
    assert service._context == CallContext("ns")
    assert "namespace=x" in repr(other)

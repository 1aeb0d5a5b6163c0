"""The soaks of grpc's interop-test-descriptions.md: large unary calls, one after the other.

As the description has it, no call may fail; and the process is to be as it was before.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from containerd_lite.transport.channel import Channel
from tests.conftest import Count
from tests.interop.messages import check_large, large_request, path
from tests.wire.peer import descriptors

REQUEST = large_request()
WARM_UP = 20
#: 16 MiB: what malloc may keep for itself, and less than 300 messages of 314159 bytes take.
FEW_PAGES = 4096


def call(channel: Channel) -> None:
    check_large(channel.unary(path("UnaryCall"), REQUEST))


def pages() -> int:
    """How much of this process's memory is resident."""
    return int(Path("/proc/self/statm").read_text().split()[1])


def soak(once: Callable[[], None], rounds: int) -> None:
    for _ in range(WARM_UP):
        once()
    gc.collect()
    before = descriptors(), threading.active_count()
    blocks, resident = sys.getallocatedblocks(), pages()
    for _ in range(rounds):
        once()
    gc.collect()
    assert sys.getallocatedblocks() - blocks < rounds  # the interpreter warms up, too
    assert pages() - resident < FEW_PAGES
    assert (descriptors(), threading.active_count()) == before


def test_rpc_soak(server: Path, count: Count) -> None:
    with Channel(f"unix://{server}") as channel:
        soak(lambda: call(channel), count(300, 10_000))


def test_channel_soak(server: Path, count: Count) -> None:
    def once() -> None:
        with Channel(f"unix://{server}") as channel:
            call(channel)

    soak(once, count(300, 10_000))

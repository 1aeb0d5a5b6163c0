"""A client in a process of its own, which meets one endless answer and tells how big it became.

    python endless.py HOST VERB SECONDS

It first asks for a healthy manifest, as an idle client would have.  What is printed is JSON: the
peak of resident memory before and after (KiB), and the class of the error.  What the servers do
is ``test_memory``'s.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from containerd_lite.deadline import Deadline
from containerd_lite.errors import ContainerdError
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.registry import Registry

DIGEST = "sha256:" + "0" * 64
LAYER = Descriptor("application/vnd.oci.image.layer.v1.tar", DIGEST, 1 << 40)


def peak() -> int:
    """The most memory that this process had at a time (KiB)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def _drain(registry: Registry, reference: Reference, deadline: Deadline) -> None:
    buffer = bytearray(1 << 16)
    with registry.open_blob(reference, LAYER, deadline=deadline) as reader:
        while reader.readinto(buffer):
            pass


def _stop(registry: Registry, reference: Reference, deadline: Deadline) -> None:
    """Reads a little from many connections, waits, and stops."""
    with registry.open_blob(reference, LAYER, connections=3, deadline=deadline) as reader:
        reader.read(10)
        _exhaust(deadline)


def _exhaust(deadline: Deadline) -> None:
    from threading import Event

    Event().wait(deadline.remaining())  # the consumer is busy: what comes has to wait


VERBS: dict[str, Callable[[Registry, Reference, Deadline], object]] = {
    "resolve": lambda registry, ref, deadline: registry.resolve(ref, deadline=deadline),
    "tags": lambda registry, ref, deadline: sum(1 for _ in registry.tags(ref, deadline=deadline)),
    "referrers": lambda registry, ref, deadline: registry.referrers(
        ref.with_digest(DIGEST), deadline=deadline
    ),
    "upload": lambda registry, ref, deadline: registry.upload_blob(
        ref, Descriptor(LAYER.media_type, DIGEST, 3), b"abc", deadline=deadline
    ),
    "drain": _drain,
    "stop": _stop,
}


def main(host: str, verb: str, seconds: str) -> None:
    """Asks twice: for something healthy, and for what this is about."""
    with Registry(host, credentials=Credentials("a", "b"), hosts_dirs=()) as registry:
        registry.resolve(Reference.parse(f"{host}/healthy:v1"))
        before, error = peak(), ""
        try:
            VERBS[verb](registry, Reference.parse(f"{host}/app:v1"), Deadline(float(seconds)))
        except ContainerdError as failure:
            error = type(failure).__name__
    json.dump({"before": before, "after": peak(), "error": error}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])

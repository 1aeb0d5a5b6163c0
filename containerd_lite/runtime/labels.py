"""Names of labels and extensions in the records of containers."""

from __future__ import annotations

#: A label: the image's stop signal, which asks the container's first process to end.
STOP_SIGNAL = "io.containerd.image.config.stop-signal"
#: An extension: the networks to which the container is connected.
NETWORKS = "containerd-lite.networks"
#: An extension: the networks to which a new task of the container must be connected.
WANTED_NETWORKS = "containerd-lite.wanted-networks"
#: Prefixes of the labels of containerd and of its CRI plugin (containerd's pkg/labels).
_RESERVED = ("containerd.io/", "io.containerd.", "io.cri-containerd")


def is_reserved(key: str) -> bool:
    """Return whether a label's name is reserved. An image must not set labels of containerd."""
    return key.startswith(_RESERVED)

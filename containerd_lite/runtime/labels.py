"""Names of containers' labels, as containerd's clients write them, and of extensions."""

from __future__ import annotations

#: Label: the signal that asks the image's process to stop.
STOP_SIGNAL = "io.containerd.image.config.stop-signal"
#: Extensions: the networks that a container is on, and the networks that its tasks must join.
NETWORKS = "containerd-lite.networks"
WANTED_NETWORKS = "containerd-lite.wanted-networks"
#: Prefixes of the labels that containerd and its CRI plugin use themselves (pkg/labels).
_RESERVED = ("containerd.io/", "io.containerd.", "io.cri-containerd")


def is_reserved(key: str) -> bool:
    """Tell whether a label's name is containerd's own; an image must not set such a label."""
    return key.startswith(_RESERVED)

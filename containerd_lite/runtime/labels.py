"""Labels of containers, as containerd's clients write them, and names of extensions.

What lives here: their names.  What may not: what is done with them.
"""

from __future__ import annotations

#: The signal by which the image's process wants to be ended.
STOP_SIGNAL = "io.containerd.image.config.stop-signal"
#: Extensions: the networks that a container is on, and those that its tasks are to be on.
NETWORKS = "containerd-lite.networks"
WANTED_NETWORKS = "containerd-lite.wanted-networks"
#: Names that mean something to containerd or to its CRI (pkg/labels).
_RESERVED = ("containerd.io/", "io.containerd.", "io.cri-containerd")


def is_reserved(key: str) -> bool:
    """Whether a label's name is containerd's own, which an image must not choose."""
    return key.startswith(_RESERVED)

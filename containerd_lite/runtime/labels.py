"""Names of labels and extensions in the records of containers."""

from __future__ import annotations

#: A label: the image's stop signal, which asks the container's first process to end.
STOP_SIGNAL = "io.containerd.image.config.stop-signal"
#: A label: the folder of the log of a detached container.
LOG = "containerd-lite.log"
#: An extension: the networks to which the container is connected.
NETWORKS = "containerd-lite.networks"
#: An extension: the networks to which a new task of the container must be connected.
WANTED_NETWORKS = "containerd-lite.wanted-networks"
#: Prefixes of labels that programs trust, because only such a program sets them:
#:
#: - ``containerd.io/``, ``io.containerd.`` and ``io.cri-containerd``: containerd and its CRI plugin
#:   (containerd's pkg/labels).
#: - ``containerd-lite``: this package.
#: - ``nerdctl/``: nerdctl writes logs to ``nerdctl/log-uri``, and deletes ``nerdctl/state-dir``.
#: - ``com.docker/`` and ``com.docker.``: dockerd deletes ``com.docker/engine.bundle.path``, and
#:   ``nerdctl compose`` deletes the containers of its projects.
#: - ``io.kubernetes.``: monitoring attributes a container to the pod in these labels.
_RESERVED = (
    "containerd.io/", "io.containerd.", "io.cri-containerd", "containerd-lite", "nerdctl/",
    "com.docker/", "com.docker.", "io.kubernetes.",
)  # fmt: skip


def is_reserved(key: str) -> bool:
    """Return whether a label's name is reserved. An image must not set such labels."""
    return key.startswith(_RESERVED)

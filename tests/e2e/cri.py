"""The pause image and the configuration of daemons that run pods."""

from __future__ import annotations

from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry


def push_pause(registry: Registry) -> str:
    """Push a pause image, whose process waits until it is killed; return its reference."""
    image = images.busybox(config={"Entrypoint": ["sleep", "86400"]}, cmd=[])
    return images.push(image, registry.host, "pause", "made-here")


def config(daemon: Daemon, pause: str) -> str:
    """Return configuration that names the pause image, for the generation of a daemon.

    Not every machine lets root lower a process's score, as the CRI does for a pause container.
    """
    if daemon.version_info < (2,):
        lines = ['[plugins."io.containerd.grpc.v1.cri"]', f'sandbox_image = "{pause}"']
    else:
        lines = [
            '[plugins."io.containerd.cri.v1.images".pinned_images]',
            f'sandbox = "{pause}"',
            '[plugins."io.containerd.cri.v1.runtime"]',
        ]
    return "\n".join([*lines, "restrict_oom_score_adj = true"])

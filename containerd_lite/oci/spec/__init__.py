"""Runtime specs of containers (runtime-spec config.md), in the form that containerd writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .mounts import Mount as Mount
    from .runtime_spec import RuntimeSpec as RuntimeSpec
    from .seccomp import default_profile as default_profile

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "mounts": ["Mount"],
        "runtime_spec": ["RuntimeSpec"],
        "seccomp": ["default_profile"],
    },
)

"""What may be asked of a container, as keyword arguments.

What lives here: their names and types, once for all that take them.  What may not: what they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict


class SpecOptions(TypedDict, total=False):
    """What is to be in a container's spec beside ``args``; ``None`` is as if it were not given."""

    #: Added to the image's.
    env: Mapping[str, str] | None
    cwd: str | None
    #: ``user``, ``uid``, ``user:group``, ``uid:gid``; names are looked up in the image.
    user: str | None


class ContainerOptions(SpecOptions, total=False):
    """What is to be in a container's record, its spec included."""

    snapshotter: str | None
    labels: Mapping[str, str] | None

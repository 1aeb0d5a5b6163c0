"""The runtime spec of containers (runtime-spec config.md), as containerd's ``pkg/oci`` writes it.

What lives here: plain functions that change one part of a spec, one noun a file.  What may not:
IO, images, what a caller's keywords are called beyond their names in errors.
"""

from __future__ import annotations

from .mounts import Mount as Mount

"""containerd.services.diff.v1: layers onto mounts, and mounts to layers, in the daemon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..oci.descriptor import Descriptor
from ._base import Service
from ._types import Mount, descriptor_fields, descriptor_of, mount_fields


class DiffService(Service):
    """The daemon's differ.  Its calls have no deadline: one that passed would end a mount."""

    _name = "containerd.services.diff.v1.Diff"

    def apply(self, layer: Descriptor, mounts: Iterable[Mount]) -> Descriptor:
        """Unpack a layer onto mounts; returns the uncompressed layer: its digest is the diff ID."""
        fields = {"diff": descriptor_fields(layer), "mounts": mount_fields(mounts)}
        return descriptor_of(self._call("Apply", fields, is_long=True).applied)

    def diff(
        self,
        lower: Iterable[Mount],
        upper: Iterable[Mount],
        *,
        media_type: str = "",
        ref: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> Descriptor:
        """Write what ``upper`` changes on ``lower`` into the content store as a layer."""
        fields = {
            "left": mount_fields(lower),
            "right": mount_fields(upper),
            "media_type": media_type,
            "ref": ref,
            "labels": dict(labels or {}),
        }
        return descriptor_of(self._call("Diff", fields, is_long=True).diff)

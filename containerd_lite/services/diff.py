"""containerd.services.diff.v1: layers onto mounts, and mounts to layers, in the daemon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from ..errors import ProtocolError
from ..oci.descriptor import Descriptor
from ..schema.values import timestamp
from ._base import Service
from ._types import (
    AnyValue,
    Mount,
    any_map_fields,
    descriptor_fields,
    descriptor_of,
    mount_fields,
)


class DiffService(Service):
    """The daemon's differ.  Its calls have no deadline: one that passed would end a mount.

    An ``Apply`` is given up, ``Unavailable``, when the daemon shows no sign of life.
    """

    _name = "containerd.services.diff.v1.Diff"

    def apply(
        self,
        layer: Descriptor,
        mounts: Iterable[Mount],
        *,
        payloads: Mapping[str, AnyValue] | None = None,
        sync_fs: bool = False,
    ) -> Descriptor:
        """Unpack a layer onto mounts; returns the uncompressed layer: its digest is the diff ID.

        ``payloads`` are for the daemon's stream processors, by the processor's id (since 1.3).
        ``sync_fs`` flushes the filesystem afterwards (since 2.0 and 1.7.14; older daemons do not
        look at it).  Raises ``NotFound`` where the layer's content is not there.
        """
        fields = {
            "diff": descriptor_fields(layer),
            "mounts": mount_fields(mounts),
            "payloads": any_map_fields(payloads or {}),
            "sync_fs": sync_fs,
        }
        with self._stream("Apply", fields) as call:
            answer = call.receive_patiently()
        if answer is None:
            raise ProtocolError(f"the daemon ended the unpacking of {layer.digest} without a word")
        return descriptor_of(answer.applied)

    def diff(
        self,
        lower: Iterable[Mount],
        upper: Iterable[Mount],
        *,
        media_type: str = "",
        ref: str = "",
        labels: Mapping[str, str] | None = None,
        source_date_epoch: datetime | None = None,
    ) -> Descriptor:
        """Write what ``upper`` changes on ``lower`` into the content store as a layer.

        ``media_type`` is the layer's, a gzipped OCI one unless given; ``ref`` names the ingest;
        ``labels`` are the content's.  ``source_date_epoch``, aware, is an upper bound for the
        times within (since 1.7; older daemons do not look at it).
        """
        fields: dict[str, object] = {
            "left": mount_fields(lower),
            "right": mount_fields(upper),
            "media_type": media_type,
            "ref": ref,
            "labels": dict(labels or {}),
        }
        if source_date_epoch is not None:
            fields["source_date_epoch"] = timestamp(source_date_epoch)
        return descriptor_of(self._call("Diff", fields, is_long=True).diff)

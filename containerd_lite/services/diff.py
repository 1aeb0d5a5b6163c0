"""The diff service, containerd.services.diff.v1, which unpacks layers and creates layers."""

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
    """The daemon's differ.

    The calls have no deadline by default, because an expired deadline would abort a mount.
    ``apply`` raises ``Unavailable`` when the daemon has stopped responding.
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
        """Unpack a layer into a snapshot.

        Args:
            layer: The descriptor of the layer. The daemon must have the content.
            mounts: The mounts of the snapshot.
            payloads: Values for the daemon's stream processors, by the ids of the processors.
                Since 1.3.
            sync_fs: Whether the daemon flushes the filesystem after it has unpacked the layer.
                Since 1.7.14 and 2.0. Older daemons ignore this argument.

        Returns:
            The descriptor of the uncompressed layer, whose digest is the diff ID.

        Raises:
            NotFound: The daemon does not have the layer's content.
            Unavailable: The daemon has stopped responding.
        """
        fields = {
            "diff": descriptor_fields(layer),
            "mounts": mount_fields(mounts),
            "payloads": any_map_fields(payloads or {}),
            "sync_fs": sync_fs,
        }
        with self._stream("Apply", fields) as call:
            response = call.receive_patiently()
        if response is None:
            raise ProtocolError(
                f"the daemon ended the unpacking of {layer.digest} without a response"
            )
        return descriptor_of(response.applied)

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
        """Store the changes between two snapshots as a layer in the content store.

        Args:
            lower: The mounts of the parent snapshot.
            upper: The mounts of the snapshot that contains the changes.
            media_type: The media type of the layer. Default: the type of a gzipped OCI layer.
            ref: The ref of the ingest. Default: the daemon chooses a ref.
            labels: The labels of the layer's content.
            source_date_epoch: The latest time that a file in the layer may have, as an aware
                datetime. Since 1.7. Older daemons ignore this argument.

        Returns:
            The descriptor of the layer.
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

"""The diff service, containerd.services.diff.v1: unpacks layers and makes them, in the daemon."""

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

    Its calls have no deadline by default, because a deadline that expires would abort a mount.
    ``apply`` gives up with ``Unavailable`` when the daemon has stopped answering.
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
        """Unpack a layer onto mounts.

        Args:
            layer: The layer, whose content the daemon has.
            mounts: The mounts of the snapshot.
            payloads: Values for the daemon's stream processors, by the processor's id. Since 1.3.
            sync_fs: Whether to flush the filesystem afterwards. Since 2.0 and 1.7.14; older
                daemons ignore it.

        Returns:
            The descriptor of the uncompressed layer, whose digest is the diff ID.

        Raises:
            NotFound: The daemon does not have the layer's content.
            Unavailable: The daemon has stopped answering.
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
        """Write the changes between two sets of mounts into the content store, as a layer.

        Args:
            lower: The mounts of the parent snapshot.
            upper: The mounts of the snapshot that has the changes.
            media_type: The media type of the layer. Default: a gzipped OCI layer.
            ref: The name of the ingest. Default: the daemon chooses one.
            labels: The labels of the content.
            source_date_epoch: The latest time that a file in the layer may have, as an aware
                datetime. Since 1.7; older daemons ignore it.

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

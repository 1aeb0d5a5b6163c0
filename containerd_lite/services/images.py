"""The images service, containerd.services.images.v1, which stores image names and their targets.

Garbage collection does not delete content that is the target of a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from operator import attrgetter

from ..errors import NotFound, Unimplemented
from ..oci.descriptor import Descriptor
from ..oci.image_record import ImageRecord
from ..schema.pool import CONTAINERD
from ..schema.values import datetime_of, dict_of, mask, timestamp
from ..unread import Readers, list_read_late, read_late
from ._base import Fields, Service
from ._types import descriptor_fields, descriptor_of

#: containerd added this method in the same release as the field ``target`` of ``Images/Delete``.
_ADDED_WITH_TARGET = "containerd.services.introspection.v1.Introspection/PluginInfo"


class ImageService(Service):
    """The images of a namespace."""

    _name = "containerd.services.images.v1.Images"

    def get(self, name: str) -> ImageRecord:
        """Return the image with this name.

        Raises:
            NotFound: The image does not exist.
        """
        return read_late(ImageRecord, self._call("Get", {"name": name}).image, _IMAGE)

    def list(self, *filters: str) -> list[ImageRecord]:
        """Return the images of the namespace.

        Args:
            filters: Only images that match one of these filters, in the syntax of containerd's
                pkg/filters. Default: all images.
        """
        return list_read_late(ImageRecord, self._call("List", {"filters": filters}).images, _IMAGE)

    def create(
        self,
        name: str,
        target: Descriptor,
        labels: Mapping[str, str] | None = None,
        *,
        source_date_epoch: datetime | None = None,
    ) -> ImageRecord:
        """Store a new name for a descriptor. The daemon does not check whether it has the content.

        Args:
            name: The name of the image.
            target: The descriptor.
            labels: The labels of the image.
            source_date_epoch: The creation time to store, as an aware datetime. Since 1.7. Older
                daemons ignore this argument.

        Raises:
            AlreadyExists: An image with this name exists.
        """
        request: dict[str, object] = {"image": _fields(name, target, labels)}
        if source_date_epoch is not None:
            request["source_date_epoch"] = timestamp(source_date_epoch)
        return read_late(ImageRecord, self._call("Create", request).image, _IMAGE)

    def update(
        self,
        name: str,
        target: Descriptor,
        labels: Mapping[str, str] | None = None,
        *,
        fields: Iterable[str] = (),
        source_date_epoch: datetime | None = None,
    ) -> ImageRecord:
        """Update fields of an image and return its new state.

        Args:
            name: The name of the image.
            target: The new descriptor.
            labels: The new labels.
            fields: The fields to replace: ``target``, ``annotations`` (of the target),
                ``labels`` or ``labels.<key>``. Default: ``target`` and ``labels``.
            source_date_epoch: The update time to store, as an aware datetime. Since 1.7. Older
                daemons ignore this argument.

        Raises:
            NotFound: The image does not exist.
            InvalidArgument: A field cannot be updated, or a value is invalid.
        """
        request: dict[str, object] = {"image": _fields(name, target, labels)}
        paths = tuple(fields)
        if paths:
            request["update_mask"] = mask(paths)
        if source_date_epoch is not None:
            request["source_date_epoch"] = timestamp(source_date_epoch)
        return read_late(ImageRecord, self._call("Update", request).image, _IMAGE)

    def delete(self, name: str, *, sync: bool = False, target: Descriptor | None = None) -> None:
        """Delete an image.

        Args:
            name: The name of the image.
            sync: Whether to wait until the daemon has collected garbage.
            target: Delete the image only if its descriptor is equal to ``target``. Since 2.0.
                Default: delete the image in any case.

        Raises:
            NotFound: The image does not exist, or its descriptor is not ``target``.
            Unimplemented: ``target`` is given, and the daemon is older than 2.0 and would ignore
                ``target``. In this case, the method deletes nothing.
        """
        request: dict[str, object] = {"name": name, "sync": sync}
        if target is not None:
            self._check_delete_target()
            request["target"] = descriptor_fields(target)
        self._call("Delete", request, is_long=sync)

    def _check_delete_target(self) -> None:
        """Raise ``Unimplemented`` if the daemon's ``Delete`` ignores ``target``.

        A daemon that lacks the method ``PluginInfo`` ignores ``target``.
        """
        try:
            self._unary(CONTAINERD.method(_ADDED_WITH_TARGET), b"", False)
        except NotFound:
            return  # the daemon has PluginInfo, and no plugin matches the empty request
        except Unimplemented as error:
            error.message = "this daemon ignores the target and would delete the image anyway"
            error.operation = "Images.Delete"
            error.remedy = error.remedy.replace("the method", "deleting by target")
            raise


def _fields(name: str, target: Descriptor, labels: Mapping[str, str] | None) -> Fields:
    return {"name": name, "target": descriptor_fields(target), "labels": dict(labels or {})}


_IMAGE: Readers = {
    "name": attrgetter("name"),
    "target": lambda message: descriptor_of(message.target),
    "labels": lambda message: dict_of(message.labels),
    "created_at": lambda message: datetime_of(message.created_at),
    "updated_at": lambda message: datetime_of(message.updated_at),
}

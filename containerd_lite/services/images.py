"""containerd.services.images.v1: names for content, and with them roots of garbage collection."""

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

_CAME_WITH_TARGET = "containerd.services.introspection.v1.Introspection/PluginInfo"


class ImageService(Service):
    """The images of a namespace."""

    _name = "containerd.services.images.v1.Images"

    def get(self, name: str) -> ImageRecord:
        """Raises ``NotFound``."""
        return read_late(ImageRecord, self._call("Get", {"name": name}).image, _IMAGE)

    def list(self, *filters: str) -> list[ImageRecord]:
        """Filters as containerd's pkg/filters writes them; an image must match one of them."""
        return list_read_late(ImageRecord, self._call("List", {"filters": filters}).images, _IMAGE)

    def create(
        self,
        name: str,
        target: Descriptor,
        labels: Mapping[str, str] | None = None,
        *,
        source_date_epoch: datetime | None = None,
    ) -> ImageRecord:
        """Name a descriptor; nobody looks whether its content is there.

        ``source_date_epoch``, aware, stands for the time of creation, since 1.7; older daemons do
        not look at it.  Raises ``AlreadyExists``.
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
        """Replace ``fields``, target and labels whole if none is named.

        They are ``target``, ``annotations`` (the target's), ``labels``, ``labels.<key>``.
        ``source_date_epoch``, aware, stands for the time of the update, since 1.7; older daemons
        do not look at it.  Raises ``NotFound``, ``InvalidArgument``.
        """
        request: dict[str, object] = {"image": _fields(name, target, labels)}
        paths = tuple(fields)
        if paths:
            request["update_mask"] = mask(paths)
        if source_date_epoch is not None:
            request["source_date_epoch"] = timestamp(source_date_epoch)
        return read_late(ImageRecord, self._call("Update", request).image, _IMAGE)

    def delete(self, name: str, *, sync: bool = False, target: Descriptor | None = None) -> None:
        """``sync`` collects garbage before it returns.  Raises ``NotFound``.

        With ``target``, since 2.0, the image is deleted only while it points there, else it is
        ``NotFound``.  Older daemons would delete it regardless, so they are asked first, and
        ``Unimplemented`` is raised for them.
        """
        request: dict[str, object] = {"name": name, "sync": sync}
        if target is not None:
            self._expect_targets()
            request["target"] = descriptor_fields(target)
        self._call("Delete", request, is_long=sync)

    def _expect_targets(self) -> None:
        """Whether ``Delete`` looks at ``target``: that came together with ``PluginInfo``."""
        try:
            self._exchange(CONTAINERD.method(_CAME_WITH_TARGET), b"", False)
        except NotFound:
            return  # no plugin has no name, but the method is there
        except Unimplemented as error:
            error.message = "this daemon would delete an image whatever it points to"
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

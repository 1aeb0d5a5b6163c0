"""containerd.services.images.v1: names for content, and with them roots of garbage collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ..oci.descriptor import Descriptor
from ..schema.pool import DynamicMessage
from ..schema.values import datetime_of, mask
from ._base import Fields, Service
from ._types import descriptor_fields, descriptor_of


@dataclass(frozen=True)
class ImageRecord:
    """What containerd stores of an image: a name for a descriptor, and labels."""

    name: str
    target: Descriptor
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    created_at: datetime | None = None
    updated_at: datetime | None = None


class ImageService(Service):
    """The images of a namespace."""

    _name = "containerd.services.images.v1.Images"

    def get(self, name: str) -> ImageRecord:
        """Raises ``NotFound``."""
        return _image(self._call("Get", {"name": name}).image)

    def list(self, *filters: str) -> list[ImageRecord]:
        """Filters as containerd's pkg/filters writes them; an image must match one of them."""
        return [_image(found) for found in self._call("List", {"filters": filters}).images]

    def create(
        self, name: str, target: Descriptor, labels: Mapping[str, str] | None = None
    ) -> ImageRecord:
        """Raises ``AlreadyExists``."""
        return _image(self._call("Create", {"image": _fields(name, target, labels)}).image)

    def update(
        self,
        name: str,
        target: Descriptor,
        labels: Mapping[str, str] | None = None,
        *,
        fields: Iterable[str] = (),
    ) -> ImageRecord:
        """Replace ``fields`` (``target``, ``labels``, ``labels.<key>``), all if none is named.

        Raises ``NotFound``.
        """
        request: dict[str, object] = {"image": _fields(name, target, labels)}
        paths = tuple(fields)
        if paths:
            request["update_mask"] = mask(paths)
        return _image(self._call("Update", request).image)

    def delete(self, name: str, *, sync: bool = False) -> None:
        """``sync`` collects garbage before it returns.  Raises ``NotFound``."""
        self._call("Delete", {"name": name, "sync": sync}, is_long=sync)


def _fields(name: str, target: Descriptor, labels: Mapping[str, str] | None) -> Fields:
    return {"name": name, "target": descriptor_fields(target), "labels": dict(labels or {})}


def _image(message: DynamicMessage) -> ImageRecord:
    return ImageRecord(
        message.name,
        descriptor_of(message.target),
        dict(message.labels),
        datetime_of(message.created_at),
        datetime_of(message.updated_at),
    )

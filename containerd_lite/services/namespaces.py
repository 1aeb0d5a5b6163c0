"""containerd.services.namespaces.v1: namespaces and their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..schema.pool import DynamicMessage
from ..schema.values import mask
from ._base import Service


@dataclass(frozen=True)
class Namespace:
    """A namespace; labels under ``containerd.io/defaults/`` set defaults for its clients."""

    name: str
    labels: dict[str, str] = field(default_factory=dict, hash=False)


class NamespaceService(Service):
    """The namespaces of a daemon."""

    _name = "containerd.services.namespaces.v1.Namespaces"

    def get(self, name: str) -> Namespace:
        """containerd answers for a namespace that is not there too, with no labels."""
        return _namespace(self._call("Get", {"name": name}).namespace)

    def list(self) -> list[Namespace]:
        return [_namespace(found) for found in self._call("List").namespaces]

    def create(self, name: str, labels: Mapping[str, str] | None = None) -> Namespace:
        """Raises ``AlreadyExists``."""
        fields = {"namespace": {"name": name, "labels": dict(labels or {})}}
        return _namespace(self._call("Create", fields).namespace)

    def update(self, name: str, labels: Mapping[str, str]) -> Namespace:
        """Set these labels and leave the others; an empty value removes one."""
        fields = {
            "namespace": {"name": name, "labels": dict(labels)},
            "update_mask": mask(f"labels.{key}" for key in labels),
        }
        self._call("Update", fields)  # its response carries no labels
        return self.get(name)

    def delete(self, name: str) -> None:
        """Raises ``FailedPrecondition`` for a namespace that is not empty, ``NotFound``."""
        self._call("Delete", {"name": name})


def _namespace(message: DynamicMessage) -> Namespace:
    return Namespace(message.name, dict(message.labels))

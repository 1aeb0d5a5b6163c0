"""containerd.services.namespaces.v1: namespaces and their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..records import field, record
from ..schema.pool import DynamicMessage
from ..schema.values import dict_of, mask
from ._base import Service


@record(frozen=True)
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

    def list(self, filter: str = "") -> list[Namespace]:
        """All of them: the message has a ``filter``, but no daemon so far looks at it."""
        found = self._call("List", {"filter": filter}).namespaces
        return [_namespace(namespace) for namespace in found]

    def create(self, name: str, labels: Mapping[str, str] | None = None) -> Namespace:
        """Raises ``AlreadyExists``."""
        fields = {"namespace": {"name": name, "labels": dict(labels or {})}}
        return _namespace(self._call("Create", fields).namespace)

    def update(
        self, name: str, labels: Mapping[str, str], *, fields: Iterable[str] | None = None
    ) -> Namespace:
        """Set these labels and leave the others; an empty value removes one.

        ``fields`` names the labels to set (``labels.<key>``) where it is not all that are given;
        an empty one replaces the labels whole.  Raises ``NotFound``, ``InvalidArgument``.
        """
        paths = [f"labels.{key}" for key in labels] if fields is None else list(fields)
        request: dict[str, object] = {"namespace": {"name": name, "labels": dict(labels)}}
        if paths:
            request["update_mask"] = mask(paths)
        if paths or fields is not None:  # without a mask it would replace them
            self._call("Update", request)  # its response carries no labels
        return self.get(name)

    def delete(self, name: str) -> None:
        """Raises ``FailedPrecondition`` for a namespace that is not empty, ``NotFound``."""
        self._call("Delete", {"name": name})


def _namespace(message: DynamicMessage) -> Namespace:
    return Namespace(message.name, dict_of(message.labels))

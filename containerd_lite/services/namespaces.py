"""The namespaces service, containerd.services.namespaces.v1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..records import field, record
from ..schema.pool import DynamicMessage
from ..schema.values import dict_of, mask
from ._base import Service


@record(frozen=True)
class Namespace:
    """A namespace.

    Labels that begin with ``containerd.io/defaults/`` set defaults for clients of the namespace.
    """

    name: str
    labels: dict[str, str] = field(default_factory=dict, hash=False)


class NamespaceService(Service):
    """The namespaces of a daemon."""

    _name = "containerd.services.namespaces.v1.Namespaces"

    def get(self, name: str) -> Namespace:
        """Return a namespace and its labels.

        If the namespace does not exist, this method returns a namespace without labels, because
        containerd does not respond with an error.
        """
        return _namespace(self._call("Get", {"name": name}).namespace)

    def list(self, filter: str = "") -> list[Namespace]:
        """Return the namespaces of the daemon.

        Args:
            filter: A filter. All daemons so far ignore the filter.
        """
        namespaces = self._call("List", {"filter": filter}).namespaces
        return [_namespace(namespace) for namespace in namespaces]

    def create(self, name: str, labels: Mapping[str, str] | None = None) -> Namespace:
        """Create a namespace.

        Args:
            name: The name of the namespace.
            labels: The labels of the namespace.

        Raises:
            AlreadyExists: The namespace exists.
        """
        fields = {"namespace": {"name": name, "labels": dict(labels or {})}}
        return _namespace(self._call("Create", fields).namespace)

    def update(
        self, name: str, labels: Mapping[str, str], *, fields: Iterable[str] | None = None
    ) -> Namespace:
        """Set labels of a namespace and return its new state.

        Args:
            name: The name of the namespace.
            labels: The labels to set. An empty value removes a label.
            fields: The labels to set, each as ``labels.<key>``. Default: ``labels.<key>`` for each
                key of ``labels``, so that all other labels stay. If ``fields`` is empty,
                ``labels`` replaces all labels.

        Raises:
            NotFound: The namespace does not exist.
            InvalidArgument: A field cannot be set, or a label is invalid.
        """
        paths = [f"labels.{key}" for key in labels] if fields is None else list(fields)
        request: dict[str, object] = {"namespace": {"name": name, "labels": dict(labels)}}
        if paths:
            request["update_mask"] = mask(paths)
        if paths or fields is not None:  # without a mask, the update would replace all labels
            self._call("Update", request)  # the response to Update has no labels
        return self.get(name)

    def delete(self, name: str) -> None:
        """Delete a namespace.

        Raises:
            FailedPrecondition: The namespace is not empty.
            NotFound: The namespace does not exist.
        """
        self._call("Delete", {"name": name})


def _namespace(message: DynamicMessage) -> Namespace:
    return Namespace(message.name, dict_of(message.labels))

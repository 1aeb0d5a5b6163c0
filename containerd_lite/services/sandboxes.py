"""The sandbox services, containerd.services.sandbox.v1. Since 1.7.

A sandbox is the environment that a group of containers shares, such as a pod or a virtual machine.
The store contains the records of sandboxes, and the controller runs sandboxes. A change of a record
does not change the running sandbox, and a change of the running sandbox does not change the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from .. import limits
from ..oci.platform import Platform
from ..records import field, record
from ..schema.pool import DynamicMessage
from ..schema.values import datetime_of, dict_of, moment
from ._base import Fields, Service
from ._types import AnyValue, Mount, any_fields, any_map_fields, any_of, mount_fields, platform_of
from .tasks import Exit

if TYPE_CHECKING:
    from .metrics import Metric

#: The largest number of seconds in a request, whose field has 32 bits.
_MAX_SECONDS = (1 << 32) - 1
#: The name of the controller that uses the runtime's shim. The CRI uses another controller,
#: ``podsandbox``.
SHIM = "shim"


@record(frozen=True)
class SandboxRecord:
    """The record of a sandbox in the store.

    Attributes:
        id: The id of the sandbox.
        runtime: The name of the runtime, such as ``io.containerd.runc.v2``.
        runtime_options: The options of the runtime.
        spec: A spec for the runtime, as JSON in an ``Any``.
        labels: The labels of the sandbox.
        extensions: Further values that clients store, by name.
        sandboxer: The name of the controller that runs the sandbox. Since 2.0.
        created_at: When the record was created. The daemon ignores this field in requests.
        updated_at: When the record was last updated. The daemon ignores this field in requests.
    """

    id: str
    runtime: str = ""
    runtime_options: AnyValue | None = None
    spec: AnyValue | None = None
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    extensions: dict[str, AnyValue] = field(default_factory=dict, hash=False)
    sandboxer: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


@record(frozen=True)
class SandboxInstance:
    """A sandbox that was started.

    Attributes:
        id: The id of the sandbox.
        pid: The process id of the sandbox, or 0 if the sandbox is not a process.
        created_at: When the sandbox was created.
        labels: Labels that the controller sets.
        address: The address of the sandbox's task API (``ttrpc+unix://…``, ``grpc+vsock://…``).
            Since 2.0.
        version: The version of the sandbox's task API. Since 2.0.
        spec: The spec of the sandbox. Since 2.3.
    """

    id: str
    pid: int
    created_at: datetime | None
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    address: str = ""
    version: int = 0
    spec: AnyValue | None = None


@record(frozen=True)
class SandboxStatus:
    """The state of a sandbox.

    Attributes:
        id: The id of the sandbox.
        pid: The process id of the sandbox, or 0 if the sandbox is not a process.
        state: The state of the sandbox. Each controller has its own names for the states.
        info: Further information from the controller: a mapping from names to texts.
        created_at: When the sandbox was created.
        exited_at: When the sandbox ended.
        extra: Further information, in a type that the controller chooses.
        address: The address of the sandbox's task API. Since 2.0.
        version: The version of the sandbox's task API. Since 2.0.
    """

    id: str
    pid: int
    state: str
    info: dict[str, str] = field(default_factory=dict, hash=False)
    created_at: datetime | None = None
    exited_at: datetime | None = None
    extra: AnyValue | None = None
    address: str = ""
    version: int = 0


class SandboxStore(Service):
    """The records of the sandboxes of a namespace."""

    _name = "containerd.services.sandbox.v1.Store"

    def create(self, sandbox: SandboxRecord) -> SandboxRecord:
        """Store the record of a new sandbox, and return the stored record.

        Args:
            sandbox: The record. ``runtime`` is required.

        Raises:
            AlreadyExists: A sandbox with this id exists.
            InvalidArgument: The id is invalid, or the runtime is missing.
        """
        return _sandbox(self._call("Create", {"sandbox": _record_fields(sandbox)}).sandbox)

    def update(self, sandbox: SandboxRecord, fields: Iterable[str] = ()) -> SandboxRecord:
        """Update fields of a record, and return the stored record.

        If ``fields`` contains ``labels.<key>`` and ``sandbox`` lacks this label, the daemon removes
        the label. Extensions cannot be removed.

        Args:
            sandbox: The record with the new values, and with the id of the stored record.
            fields: The fields to replace: ``labels``, ``labels.<key>``, ``extensions``,
                ``extensions.<name>``, ``spec`` or ``runtime``. Default: all of these fields. If
                ``fields`` is empty, ``sandbox.runtime`` must be the stored name of the runtime.

        Raises:
            NotFound: The sandbox does not exist.
            InvalidArgument: A field cannot be replaced.
        """
        request = {"sandbox": _record_fields(sandbox), "fields": list(fields)}
        return _sandbox(self._call("Update", request).sandbox)

    def delete(self, id: str) -> None:
        """Delete the record of a sandbox.

        Raises:
            NotFound: The sandbox does not exist.
            Unknown: The sandbox does not exist, the daemon's version is 1.7, and this namespace
                had sandboxes earlier.
        """
        self._call("Delete", {"sandbox_id": id})

    def list(self, *filters: str) -> list[SandboxRecord]:
        """Return the records of the namespace.

        Args:
            *filters: Only sandboxes that match one of these filters on ``id`` or
                ``labels.<key>``. Default: all sandboxes.
        """
        return [_sandbox(sandbox) for sandbox in self._call("List", {"filters": filters}).list]

    def get(self, id: str) -> SandboxRecord:
        """Return the record of the sandbox with this id.

        Raises:
            NotFound: The sandbox does not exist.
        """
        return _sandbox(self._call("Get", {"sandbox_id": id}).sandbox)


class SandboxController(Service):
    """The controllers that run the sandboxes of a namespace.

    The argument ``sandboxer`` of each method is the name of the controller. Since 2.0, an unknown
    name leads to ``NotFound``, and ``""`` leads to ``InvalidArgument``. containerd 1.7 has only one
    controller, which has no name.

    containerd 1.7, 2.0 before 2.0.9, 2.1 before 2.1.8, and 2.2 before 2.2.4 have a bug in
    ``create``, ``start`` and ``wait``. The daemon does the work, but fails to publish the event,
    because the topic does not start with ``/``. The daemon then responds with ``InvalidArgument``.

    The runc shim supports sandboxes only in containerd 1.7. In 2.x, ``podsandbox`` is the only
    built-in controller that runs sandboxes with runc.
    """

    _name = "containerd.services.sandbox.v1.Controller"

    def create(
        self,
        id: str,
        *,
        rootfs: Iterable[Mount] = (),
        options: AnyValue | None = None,
        netns_path: str = "",
        annotations: Mapping[str, str] | None = None,
        sandbox: SandboxRecord | None = None,
        sandboxer: str = SHIM,
    ) -> str:
        """Create a sandbox without starting it, and return its id.

        Args:
            id: The id of the sandbox.
            rootfs: The mounts of the root filesystem.
            options: Options for the controller.
            netns_path: The path of the network namespace.
            annotations: The annotations of the sandbox. Since 2.0.
            sandbox: The record of the sandbox. Required since 2.0. containerd 1.7 reads the record
                from the store.
            sandboxer: The name of the controller.

        Raises:
            AlreadyExists: A sandbox with this id exists.
        """
        fields: dict[str, object] = {
            **_id_fields(id, sandboxer),
            "rootfs": mount_fields(rootfs),
            "netns_path": netns_path,
            "annotations": dict(annotations or {}),
        }
        if options is not None:
            fields["options"] = any_fields(options)
        if sandbox is not None:
            fields["sandbox"] = _record_fields(sandbox)
        return str(self._call("Create", fields, is_long=True).sandbox_id)

    def start(self, id: str, *, sandboxer: str = SHIM) -> SandboxInstance:
        """Start a sandbox that has been created."""
        response = self._call("Start", _id_fields(id, sandboxer), is_long=True)
        return SandboxInstance(
            response.sandbox_id,
            response.pid,
            moment(response, "created_at"),
            labels=dict(response.labels),
            address=response.address,
            version=response.version,
            spec=_any_if_set(response, "spec"),
        )

    def platform(self, id: str, *, sandboxer: str = SHIM) -> Platform:
        """Return the platform that runs in a sandbox.

        Raises:
            Unimplemented: All daemons up to 2.3 have this method in their API, but do not
                implement it.
        """
        return platform_of(self._call("Platform", _id_fields(id, sandboxer)).platform)

    def stop(self, id: str, timeout_secs: int = 0, *, sandboxer: str = SHIM) -> None:
        """Stop a sandbox. To delete the sandbox, call ``shutdown`` afterwards.

        Args:
            id: The id of the sandbox.
            timeout_secs: Seconds to wait before the controller kills the sandbox. 0 means that the
                controller chooses the time.
            sandboxer: The name of the controller.

        Raises:
            InvalidArgument: ``timeout_secs`` is negative, or is not a whole number.
            Unknown: The runc shim of containerd 1.7 exited before it responded.
        """
        seconds = min(limits.count("timeout_secs", timeout_secs, 0), _MAX_SECONDS)
        fields = {**_id_fields(id, sandboxer), "timeout_secs": seconds}
        self._call("Stop", fields, is_long=True)

    def wait(self, id: str, *, sandboxer: str = SHIM) -> Exit:
        """Wait until a sandbox has ended. The call has no deadline by default."""
        response = self._call("Wait", _id_fields(id, sandboxer), is_long=True)
        return Exit(response.exit_status, moment(response, "exited_at"))

    def status(self, id: str, *, verbose: bool = False, sandboxer: str = SHIM) -> SandboxStatus:
        """Return the state of a sandbox.

        Args:
            id: The id of the sandbox.
            verbose: Whether the status contains ``info``.
            sandboxer: The name of the controller.

        Raises:
            NotFound: The sandbox does not exist. The controller ``shim`` does not report this
                error: it returns a status in which ``exited_at`` is the current time.
        """
        response = self._call("Status", {**_id_fields(id, sandboxer), "verbose": verbose})
        return SandboxStatus(
            response.sandbox_id,
            response.pid,
            response.state,
            info=dict(response.info),
            created_at=moment(response, "created_at"),
            exited_at=moment(response, "exited_at"),
            extra=_any_if_set(response, "extra"),
            address=response.address,
            version=response.version,
        )

    def shutdown(self, id: str, *, sandboxer: str = SHIM) -> None:
        """Delete a sandbox.

        Args:
            id: The id of the sandbox.
            sandboxer: The name of the controller.

        Raises:
            NotFound: The sandbox does not exist. ``podsandbox`` does not report this error.
        """
        self._call("Shutdown", _id_fields(id, sandboxer), is_long=True)

    def metrics(self, id: str, *, sandboxer: str = SHIM) -> Metric | None:
        """Return the resource usage of a sandbox. Since 2.0.

        Returns:
            The usage, or ``None`` if the controller does not report it.

        Raises:
            NotFound: The sandbox does not exist.
            Unimplemented: The controller is the ``podsandbox`` of a daemon before 2.4.
            Unknown: The pod of a ``podsandbox`` has no ``cgroup_parent``.
        """
        from .metrics import metric_of

        response = self._call("Metrics", _id_fields(id, sandboxer))
        return metric_of(response.metrics) if response.HasField("metrics") else None

    def update(
        self, id: str, sandbox: SandboxRecord, fields: Iterable[str] = (), *, sandboxer: str = SHIM
    ) -> None:
        """Pass a changed record to the controller of a sandbox. Since 2.0.

        The daemon's own controllers accept this call and do nothing, but since 2.4 the controller
        ``shim`` passes the record to the shim.

        Args:
            id: The id of the sandbox.
            sandbox: The changed record.
            fields: The names of the changed fields. Default: all fields.
            sandboxer: The name of the controller.

        Raises:
            NotFound: The sandbox does not exist. Since 2.4.
            Unimplemented: The shim does not accept changes. Since 2.4.
        """
        request = {
            **_id_fields(id, sandboxer),
            "sandbox": _record_fields(sandbox),
            "fields": list(fields),
        }
        self._call("Update", request)


def _id_fields(id: str, sandboxer: str) -> dict[str, object]:
    return {"sandbox_id": id, "sandboxer": sandboxer}


def _record_fields(sandbox: SandboxRecord) -> Fields:
    # This function always sets ``runtime``, because daemons do not check whether it is set.
    runtime: dict[str, object] = {"name": sandbox.runtime}
    if sandbox.runtime_options is not None:
        runtime["options"] = any_fields(sandbox.runtime_options)
    fields: dict[str, object] = {
        "sandbox_id": sandbox.id,
        "runtime": runtime,
        "labels": dict(sandbox.labels),
        "extensions": any_map_fields(sandbox.extensions),
        "sandboxer": sandbox.sandboxer,
    }
    if sandbox.spec is not None:
        fields["spec"] = any_fields(sandbox.spec)
    return fields


def _sandbox(message: DynamicMessage) -> SandboxRecord:
    return SandboxRecord(
        message.sandbox_id,
        message.runtime.name,
        _any_if_set(message.runtime, "options"),
        spec=_any_if_set(message, "spec"),
        labels=dict_of(message.labels),
        extensions={name: any_of(value) for name, value in message.extensions.items()},
        sandboxer=message.sandboxer,
        created_at=datetime_of(message.created_at),
        updated_at=datetime_of(message.updated_at),
    )


def _any_if_set(message: DynamicMessage, name: str) -> AnyValue | None:
    """Return the ``Any`` in the field ``name``, or ``None`` if it is absent or empty.

    Some daemons send an empty ``Any`` if they have no value.
    """
    value = any_of(getattr(message, name))
    return value if value.type_url or value.value else None

"""containerd.services.sandbox.v1: what groups of containers share, a pod or a virtual machine.

The store keeps records, the controller runs them; neither looks after the other.  Both came with
1.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from ..oci.platform import Platform
from ..records import field, record
from ..schema.pool import DynamicMessage
from ..schema.values import datetime_of, dict_of, moment
from ._base import Fields, Service
from ._types import AnyValue, Mount, any_fields, any_map_fields, any_of, mount_fields, platform_of
from .tasks import Exit

if TYPE_CHECKING:
    from .metrics import Metric

#: The controller that leaves the work to the runtime's shim; ``podsandbox`` is the CRI's own.
SHIM = "shim"


@record(frozen=True)
class SandboxRecord:
    """What containerd stores of a sandbox.

    ``runtime`` is as a container's (``io.containerd.runc.v2``); ``spec`` is for the runtime, JSON
    in an ``Any``; ``extensions`` are the client's own, by name; ``sandboxer`` names the controller
    to run it, since 2.0.  The daemon sets ``created_at`` and ``updated_at``, whatever is asked for.
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
    """A sandbox that was started; ``pid`` is 0 where no process is it.

    ``address`` is where it serves the task API (``ttrpc+unix://…``, ``grpc+vsock://…``), and
    ``version`` that API's, both since 2.0; ``spec`` since 2.3.
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
    """How a sandbox is: ``state`` is a word of the controller's own, ``info`` what else it says.

    ``extra`` is of a type of its own, too.  ``address`` and ``version`` are as a
    ``SandboxInstance`` has them.
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
    """The sandboxes of a namespace, as records."""

    _name = "containerd.services.sandbox.v1.Store"

    def create(self, sandbox: SandboxRecord) -> SandboxRecord:
        """``runtime`` must be there.  Raises ``AlreadyExists``, ``InvalidArgument``."""
        return _sandbox(self._call("Create", {"sandbox": _fields(sandbox)}).sandbox)

    def update(self, sandbox: SandboxRecord, fields: Iterable[str] = ()) -> SandboxRecord:
        """Replace ``fields`` by those of ``sandbox``; returns what the daemon made of it.

        ``fields`` may be ``labels``, ``labels.<key>``, ``extensions``, ``extensions.<name>``,
        ``spec``, ``runtime``; without any it is all of these, and the runtime's name must be what
        it is.  A label that is not in ``sandbox`` is removed by its ``labels.<key>``; an extension
        stays once it is there, as a container's does.  Raises ``NotFound``, ``InvalidArgument``.
        """
        request = {"sandbox": _fields(sandbox), "fields": list(fields)}
        return _sandbox(self._call("Update", request).sandbox)

    def delete(self, id: str) -> None:
        """Raises ``NotFound``; from 1.7 that is ``Unknown``, if there were sandboxes before."""
        self._call("Delete", {"sandbox_id": id})

    def list(self, *filters: str) -> list[SandboxRecord]:
        """The sandboxes that match one of ``filters``, all without any.

        They look at ``id`` and ``labels.<key>``.
        """
        return [_sandbox(found) for found in self._call("List", {"filters": filters}).list]

    def get(self, id: str) -> SandboxRecord:
        """Raises ``NotFound``."""
        return _sandbox(self._call("Get", {"sandbox_id": id}).sandbox)


class SandboxController(Service):
    """What runs the sandboxes of a namespace.

    ``sandboxer`` names the controller to do it, since 2.0: there ``NotFound`` is raised for one
    that the daemon does not have, and ``InvalidArgument`` for ``""``; 1.7 has one, without a name.

    Daemons of 1.7, and of 2.x before 2.0.9, 2.1.8, 2.2.4 and 2.3, do the work of ``create``,
    ``start`` and ``wait``, then fail to publish the event of it and answer ``InvalidArgument`` (a
    topic that must start with ``/``).  The shim of runc knows sandboxes in 1.7 only: of 2.x's own
    controllers ``podsandbox`` alone runs one with it.
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
        """Make a sandbox, not yet running; returns its id.  Raises ``AlreadyExists``.

        ``options`` are the sandboxer's.  1.7 takes the record from the store, newer ones want it
        as ``sandbox``; ``annotations`` are read since 2.0, too.
        """
        fields: dict[str, object] = {
            **_which(id, sandboxer),
            "rootfs": mount_fields(rootfs),
            "netns_path": netns_path,
            "annotations": dict(annotations or {}),
        }
        if options is not None:
            fields["options"] = any_fields(options)
        if sandbox is not None:
            fields["sandbox"] = _fields(sandbox)
        return str(self._call("Create", fields, is_long=True).sandbox_id)

    def start(self, id: str, *, sandboxer: str = SHIM) -> SandboxInstance:
        """Run a sandbox that was created."""
        reply = self._call("Start", _which(id, sandboxer), is_long=True)
        return SandboxInstance(
            reply.sandbox_id,
            reply.pid,
            moment(reply, "created_at"),
            labels=dict(reply.labels),
            address=reply.address,
            version=reply.version,
            spec=_any(reply, "spec"),
        )

    def platform(self, id: str, *, sandboxer: str = SHIM) -> Platform:
        """What runs in the sandbox.

        Raises ``Unimplemented`` from all daemons up to 2.3: they have the method in their API and
        do not serve it.
        """
        return platform_of(self._call("Platform", _which(id, sandboxer)).platform)

    def stop(self, id: str, timeout_secs: int = 0, *, sandboxer: str = SHIM) -> None:
        """End a sandbox; ``timeout_secs`` is how long it may take before it is killed.

        0 leaves that to the sandboxer.  What it left behind, ``shutdown`` removes.  The shim of
        1.7's runc may end before it has answered, which is ``Unknown`` then.
        """
        fields = {**_which(id, sandboxer), "timeout_secs": timeout_secs}
        self._call("Stop", fields, is_long=True)

    def wait(self, id: str, *, sandboxer: str = SHIM) -> Exit:
        """Wait until the sandbox has ended; no deadline unless one was asked for."""
        reply = self._call("Wait", _which(id, sandboxer), is_long=True)
        return Exit(reply.exit_status, moment(reply, "exited_at"))

    def status(self, id: str, *, verbose: bool = False, sandboxer: str = SHIM) -> SandboxStatus:
        """``verbose`` asks for ``info``, too.

        The shims' controller answers with an ``exited_at`` of now for a sandbox that it does not
        know; others raise ``NotFound``.
        """
        reply = self._call("Status", {**_which(id, sandboxer), "verbose": verbose})
        return SandboxStatus(
            reply.sandbox_id,
            reply.pid,
            reply.state,
            info=dict(reply.info),
            created_at=moment(reply, "created_at"),
            exited_at=moment(reply, "exited_at"),
            extra=_any(reply, "extra"),
            address=reply.address,
            version=reply.version,
        )

    def shutdown(self, id: str, *, sandboxer: str = SHIM) -> None:
        """Remove a sandbox and what it left.

        Raises ``NotFound`` for one that is not there, which ``podsandbox`` takes for done.
        """
        self._call("Shutdown", _which(id, sandboxer), is_long=True)

    def metrics(self, id: str, *, sandboxer: str = SHIM) -> Metric | None:
        """What the sandbox uses, ``None`` if it does not say.  Since 2.0.  Raises ``NotFound``."""
        from .metrics import metric_of

        reply = self._call("Metrics", _which(id, sandboxer))
        return metric_of(reply.metrics) if reply.HasField("metrics") else None

    def update(
        self, id: str, sandbox: SandboxRecord, fields: Iterable[str] = (), *, sandboxer: str = SHIM
    ) -> None:
        """Give a sandbox what changed in its record, all of it if no field is named.  Since 2.0.

        The daemon's own controllers accept it and do nothing.
        """
        request = {
            **_which(id, sandboxer),
            "sandbox": _fields(sandbox),
            "fields": list(fields),
        }
        self._call("Update", request)


def _which(id: str, sandboxer: str) -> dict[str, object]:
    return {"sandbox_id": id, "sandboxer": sandboxer}


def _fields(sandbox: SandboxRecord) -> Fields:
    # Always with a runtime: daemons look into it without asking whether it is there.
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
        _any(message.runtime, "options"),
        spec=_any(message, "spec"),
        labels=dict_of(message.labels),
        extensions={name: any_of(value) for name, value in message.extensions.items()},
        sandboxer=message.sandboxer,
        created_at=datetime_of(message.created_at),
        updated_at=datetime_of(message.updated_at),
    )


def _any(message: DynamicMessage, name: str) -> AnyValue | None:
    """An ``Any``, ``None`` if it is absent or, as daemons send those that are, empty."""
    found = any_of(getattr(message, name))
    return found if found.type_url or found.value else None

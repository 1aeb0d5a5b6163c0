"""Sandboxes: the environment that the containers of a pod share, or a virtual machine.

containerd has sandboxes since 1.7. The daemon's sandbox store and sandbox controller are
independent of each other; ``Sandbox`` uses both.

The controllers of 1.7, and of 2.x before 2.0.9, 2.1.8, 2.2.4 and 2.3, carry out a request, fail to
publish its event and answer ``InvalidArgument``. After that error, ``Sandbox.start`` checks
whether the request was carried out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from ..deadline import Deadline, backoff
from ..errors import AlreadyExists, ContainerdError, InvalidArgument, NotFound, Unknown
from ..records import replace
from ..services._types import AnyValue, runtime_spec
from ..services.sandboxes import (
    SandboxController,
    SandboxInstance,
    SandboxRecord,
    SandboxStatus,
    SandboxStore,
)
from ..services.tasks import Exit
from .record import check_id, runtime_options_of
from .runtime_backend import RuntimeBackend

if TYPE_CHECKING:
    from ..images.image import Image
    from .container import Container

#: Seconds that the daemon may take to notice that a shim has ended.
_SHIM_EXIT_TIMEOUT = 10.0

#: The type of ``Client.new_container``.
NewContainer = Callable[..., "Container"]
_T = TypeVar("_T")


def create_sandbox(
    backend: RuntimeBackend,
    id: str,
    *,
    runtime: str | None,
    runtime_options: Mapping[str, object] | AnyValue | None,
    spec: Mapping[str, object] | None,
    labels: Mapping[str, str] | None,
    extensions: Mapping[str, AnyValue] | None,
    sandboxer: str,
    new_container: NewContainer,
) -> Sandbox:
    """Create a sandbox's record; see ``Client.new_sandbox``."""
    record = SandboxRecord(
        id=check_id(id),
        runtime=runtime or backend.runtime,
        runtime_options=runtime_options_of(runtime_options),
        spec=runtime_spec(spec or {}),  # shims need a spec, even an empty one
        labels=dict(labels or {}),
        extensions=dict(extensions or {}),
        sandboxer=sandboxer,
    )
    return Sandbox(
        backend.sandbox_store,
        backend.sandbox_controller,
        backend.sandbox_store.create(record),
        sandboxer=sandboxer,
        new_container=new_container,
    )


def load_sandbox(backend: RuntimeBackend, id: str, new_container: NewContainer) -> Sandbox:
    """Return the sandbox with this id; see ``Client.load_sandbox``."""
    record = backend.sandbox_store.get(id)
    return Sandbox(
        backend.sandbox_store,
        backend.sandbox_controller,
        record,
        sandboxer=record.sandboxer or "shim",
        new_container=new_container,
    )


class Sandbox:
    """A sandbox of a daemon.

    Args:
        store: The service that stores the record.
        controller: The service that runs the sandbox.
        record: The record.
        sandboxer: Name of the controller in the daemon that runs the sandbox.
        new_container: ``Client.new_container``.
    """

    def __init__(
        self,
        store: SandboxStore,
        controller: SandboxController,
        record: SandboxRecord,
        *,
        sandboxer: str,
        new_container: NewContainer,
    ) -> None:
        self._store = store
        self._controller = controller
        self._sandboxer = sandboxer
        self._new_container = new_container
        self.record = record

    @property
    def id(self) -> str:
        """The sandbox's id."""
        return self.record.id

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the record."""
        return self.record.labels

    def start(
        self, *, options: AnyValue | None = None, netns_path: str = ""
    ) -> SandboxInstance | None:
        """Create the sandbox in its controller, and start it.

        Args:
            options: Options of the sandboxer. Default: none.
            netns_path: Path of the network namespace, on the daemon's machine. Default: none.

        Returns:
            The running sandbox. ``None`` from a daemon that answers with an error although it
            has started the sandbox (see the module's description).

        Raises:
            AlreadyExists: The sandbox has been started before.
        """
        controller, name = self._controller, self._sandboxer
        try:
            controller.create(
                self.id,
                options=options,
                netns_path=netns_path,
                sandbox=self.record,
                sandboxer=name,
            )
        except InvalidArgument:
            with suppress(AlreadyExists):  # the first call has created the sandbox
                controller.create(self.id, sandbox=self.record, sandboxer=name)
        try:
            return controller.start(self.id, sandboxer=name)
        except InvalidArgument:
            if self.status().exited_at is not None:
                raise
            return None
        except BaseException:
            with suppress(ContainerdError):
                controller.shutdown(self.id, sandboxer=name)
            raise

    def status(self, *, verbose: bool = False) -> SandboxStatus:
        """Ask the controller for the sandbox's status.

        Args:
            verbose: Ask for the controller's further information, too.

        Raises:
            NotFound: The sandboxer does not know the sandbox. Some sandboxers do not raise this.
        """
        return self._controller.status(self.id, verbose=verbose, sandboxer=self._sandboxer)

    def wait(self, timeout: float | None = None) -> Exit:
        """Wait until the sandbox has ended.

        Args:
            timeout: Seconds to wait. Default: no limit.

        Raises:
            DeadlineExceeded: The sandbox has not ended within ``timeout``.
            InvalidArgument: The controller cannot publish the event (see the module's
                description). With runc of 1.7, this comes at once: its shim does not wait.
        """
        controller = self._controller
        if timeout is not None:
            controller = controller.with_options(timeout=timeout)
        return controller.wait(self.id, sandboxer=self._sandboxer)

    def stop(self, timeout: int = 0) -> None:
        """Stop the sandbox.

        Args:
            timeout: Seconds after which the sandbox is killed. 0 leaves that to the sandboxer.
        """
        try:
            self._controller.stop(self.id, timeout, sandboxer=self._sandboxer)
        except Unknown:  # the shim may end before it answers
            if not self._has_ended():
                raise

    def _has_ended(self) -> bool:
        try:
            return _retry_unknown(self.status).exited_at is not None
        except NotFound:
            return True

    def shutdown(self) -> None:
        """Remove the sandbox, its remains and its record.

        A sandbox that does not exist any more is not an error.
        """
        with suppress(NotFound):
            _retry_unknown(lambda: self._controller.shutdown(self.id, sandboxer=self._sandboxer))
        try:
            self._store.delete(self.id)
        except ContainerdError:
            with suppress(NotFound):  # 1.7 answers Unknown for a sandbox that is gone
                self._store.get(self.id)
                raise

    def new_container(
        self,
        id: str,
        *,
        image: Image | str | None = None,
        args: Sequence[str] | None = None,
        **options: object,
    ) -> Container:
        """Create a container in this sandbox; see ``Client.new_container``.

        Args:
            id: The container's id.
            image: Its image, or the image's name. Default: none.
            args: The command line, which follows the image's entrypoint. Default: the image's
                command.
            **options: Settings of the container; see ``runtime.ContainerOptions``.
        """
        return self._new_container(id, image=image, args=args, sandbox=self.id, **options)

    def set_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Set these labels and keep the others. An empty value removes a label.

        Args:
            labels: The labels to set or remove.

        Returns:
            All labels of the sandbox.

        Raises:
            NotFound: The sandbox does not exist any more.
        """
        if labels:
            new_labels = {key: value for key, value in labels.items() if value}
            fields = [f"labels.{key}" for key in labels]
            self.record = self._store.update(replace(self.record, labels=new_labels), fields)
        return self.labels

    def __repr__(self) -> str:
        return f"<Sandbox {self.id}>"


def _retry_unknown(call: Callable[[], _T]) -> _T:
    """Repeat a call that fails with ``Unknown`` until the daemon has noticed its shim's end."""
    deadline = Deadline(_SHIM_EXIT_TIMEOUT)
    for wait in backoff(0.02, 0.5):
        try:
            return call()
        except Unknown:
            if deadline.expired:
                raise
        time.sleep(wait)
    raise AssertionError("unreachable")

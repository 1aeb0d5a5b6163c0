"""Sandboxes: the environment that the containers of a pod share, such as a virtual machine.

Sandboxes require containerd 1.7 or later. The daemon's sandbox store has the records of sandboxes,
and the daemon's sandbox controller runs the sandboxes. The two services are independent of each
other. The class ``Sandbox`` uses both services.

Some versions of the controller carry out a request, but fail to publish an event about the request,
and answer ``InvalidArgument``. The affected versions of containerd are 1.7, 2.0 before 2.0.9, 2.1
before 2.1.8, and 2.2 before 2.2.4. After an ``InvalidArgument``, ``Sandbox.start`` checks whether
the controller carried out the request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from .. import limits
from ..arguments import check_types
from ..deadline import Deadline, backoff
from ..errors import AlreadyExists, ContainerdError, InvalidArgument, NotFound, Unknown
from ..interrupt import shielded
from ..operation import cancellable
from ..printable import printable
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
    from ..operation import CancelToken
    from .container import Container

#: Seconds to wait until the daemon has noticed the end of a shim.
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
    check_types(
        {"runtime": runtime, "labels": labels, "extensions": extensions, "sandboxer": sandboxer}
    )
    record = SandboxRecord(
        id=check_id(id),
        runtime=runtime or backend.runtime,
        runtime_options=runtime_options_of(runtime_options),
        spec=runtime_spec(spec or {}),  # shims require a spec, which may be empty
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
        store: The daemon's sandbox store.
        controller: The daemon's service for sandbox controllers.
        info: The sandbox's record.
        sandboxer: The name of the controller that runs the sandbox.
        new_container: The method ``Client.new_container``.

    Attributes:
        info: The sandbox's record, as this object last read or wrote it.
    """

    def __init__(
        self,
        store: SandboxStore,
        controller: SandboxController,
        info: SandboxRecord,
        *,
        sandboxer: str,
        new_container: NewContainer,
    ) -> None:
        self._store = store
        self._controller = controller
        self._sandboxer = sandboxer
        self._new_container = new_container
        self.info = info

    @property
    def id(self) -> str:
        """The sandbox's id."""
        return self.info.id

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the record."""
        return self.info.labels

    def start(
        self, *, options: AnyValue | None = None, netns_path: str = ""
    ) -> SandboxInstance | None:
        """Create the sandbox in its controller, and start the sandbox.

        Args:
            options: Options for the controller. Default: none.
            netns_path: Path of the network namespace on the daemon's machine. Default: none.

        Returns:
            The running sandbox. ``None`` if the daemon has started the sandbox, but has answered
            with an error (see the module's docstring).

        Raises:
            AlreadyExists: The sandbox has already been started.
        """
        controller, name = self._controller, self._sandboxer
        try:
            controller.create(
                self.id,
                options=options,
                netns_path=netns_path,
                sandbox=self.info,
                sandboxer=name,
            )
        except InvalidArgument:
            with suppress(AlreadyExists):  # the first request may have created the sandbox
                controller.create(self.id, sandbox=self.info, sandboxer=name)
        try:
            return controller.start(self.id, sandboxer=name)
        except InvalidArgument:
            if self.status().exited_at is not None:
                raise
            return None
        except BaseException:
            with shielded(), suppress(ContainerdError):
                controller.shutdown(self.id, sandboxer=name)
            raise

    def status(self, *, verbose: bool = False) -> SandboxStatus:
        """Ask the controller for the sandbox's status.

        Args:
            verbose: Whether to ask for the controller's additional information.

        Raises:
            NotFound: The controller does not know the sandbox. Some controllers return a status
                instead of this error.
        """
        return self._controller.status(self.id, verbose=verbose, sandboxer=self._sandboxer)

    def wait(self, timeout: float | None = None, *, cancel: CancelToken | None = None) -> Exit:
        """Wait until the sandbox has ended.

        Args:
            timeout: Seconds to wait. 0 means: do not wait. Default: no limit.
            cancel: A token whose ``cancel`` ends the wait. Default: none.

        Raises:
            Cancelled: The token was cancelled.
            DeadlineExceeded: The sandbox has not ended within ``timeout``.
            InvalidArgument: The controller cannot publish the event (see the module's
                docstring). With containerd 1.7 and runc, this method always raises this error at
                once, because the shim does not wait.
        """
        controller = self._controller
        if timeout is not None:
            controller = controller.until(Deadline(timeout))
        with cancellable(f"wait for sandbox {self.id}", cancel):
            return controller.wait(self.id, sandboxer=self._sandboxer)

    def stop(self, timeout: int = 0) -> None:
        """Stop the sandbox.

        Args:
            timeout: Seconds after which the sandbox is killed. 0 lets the controller choose the
                time. Default: 0.
        """
        try:
            seconds = limits.count("timeout", timeout, 0)
            self._controller.stop(self.id, seconds, sandboxer=self._sandboxer)
        except Unknown:  # the shim may have ended before it answered
            if not self._has_ended():
                raise

    def _has_ended(self) -> bool:
        try:
            return _retry_unknown(self.status).exited_at is not None
        except NotFound:
            return True

    def shutdown(self) -> None:
        """Remove the sandbox from its controller, and delete the sandbox's record.

        It is not an error if the sandbox does not exist any more.
        """
        with suppress(NotFound):
            _retry_unknown(lambda: self._controller.shutdown(self.id, sandboxer=self._sandboxer))
        try:
            self._store.delete(self.id)
        except ContainerdError:
            # containerd 1.7 answers Unknown for a sandbox that does not exist.
            with suppress(NotFound):
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
            image: The image, or the name of the image. Default: none.
            args: The command, which is appended to the image's entrypoint. Default: the image's
                own command.
            **options: Settings of the container; see ``runtime.ContainerOptions``.
        """
        return self._new_container(id, image=image, args=args, sandbox=self.id, **options)

    def set_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Set labels. The sandbox's other labels stay. An empty value removes a label.

        Args:
            labels: The labels to set or remove.

        Returns:
            All labels of the sandbox.

        Raises:
            NotFound: The sandbox does not exist any more.
        """
        check_types({"labels": labels})
        if labels:
            new_labels = {key: value for key, value in labels.items() if value}
            fields = [f"labels.{key}" for key in labels]
            self.info = self._store.update(replace(self.info, labels=new_labels), fields)
        return self.labels

    def __repr__(self) -> str:
        return f"<Sandbox {printable(self.id)}>"


def _retry_unknown(call: Callable[[], _T]) -> _T:
    """Call the function, and repeat the call while it raises ``Unknown``, for up to 10 seconds.

    A call raises ``Unknown`` until the daemon has noticed the end of the sandbox's shim.
    """
    deadline = Deadline(_SHIM_EXIT_TIMEOUT)
    for wait in backoff(0.02, 0.5):
        try:
            return call()
        except Unknown:
            if deadline.expired:
                raise
        time.sleep(wait)
    raise AssertionError("unreachable")

"""A sandbox: what the containers of a pod share, or a virtual machine; since containerd 1.7.

What lives here: its record and what runs it, handled as one.  What may not: containers, but for
making them in it.

The daemon's store and controller know nothing of each other.  Controllers of 1.7, and of 2.x
before 2.0.9, 2.1.8, 2.2.4 and 2.3, do as they are told, then fail to publish an event of it and
answer ``InvalidArgument``: what they did is looked up then.
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

#: How long the daemon may take to notice that a shim has ended (seconds).
_NOTICE = 10.0

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
    """As ``Client.new_sandbox``."""
    record = SandboxRecord(
        id=check_id(id),
        runtime=runtime or backend.runtime,
        runtime_options=runtime_options_of(runtime_options),
        spec=runtime_spec(spec or {}),  # shims want one, if there is nothing in it
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
    """As ``Client.load_sandbox``."""
    record = backend.sandbox_store.get(id)
    return Sandbox(
        backend.sandbox_store,
        backend.sandbox_controller,
        record,
        sandboxer=record.sandboxer or "shim",
        new_container=new_container,
    )


class Sandbox:
    """A sandbox by its record; ``sandboxer`` in that names the controller that runs it."""

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
        return self.record.id

    @property
    def labels(self) -> dict[str, str]:
        return self.record.labels

    def start(
        self, *, options: AnyValue | None = None, netns_path: str = ""
    ) -> SandboxInstance | None:
        """Make it and run it; what runs then, ``None`` from a daemon that does not say.

        ``options`` are the sandboxer's.  Raises ``AlreadyExists`` for one that was started.
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
            with suppress(AlreadyExists):  # which says that the first one did it
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
        """Raises ``NotFound`` from sandboxers that say so."""
        return self._controller.status(self.id, verbose=verbose, sandboxer=self._sandboxer)

    def wait(self, timeout: float | None = None) -> Exit:
        """Wait for its end, ``timeout`` seconds at most.  Raises ``DeadlineExceeded``.

        The shim of 1.7's runc does not wait: ``InvalidArgument``.
        """
        controller = self._controller
        if timeout is not None:
            controller = controller.with_options(timeout=timeout)
        return controller.wait(self.id, sandboxer=self._sandboxer)

    def stop(self, timeout: int = 0) -> None:
        """End it; after ``timeout`` seconds it is killed, 0 leaves that to the sandboxer."""
        try:
            self._controller.stop(self.id, timeout, sandboxer=self._sandboxer)
        except Unknown:  # a shim may be gone before it has answered
            if not self._has_ended():
                raise

    def _has_ended(self) -> bool:
        try:
            return _noticed(self.status).exited_at is not None
        except NotFound:
            return True

    def shutdown(self) -> None:
        """Remove it, with what it left and its record; one that is gone is no error."""
        with suppress(NotFound):
            _noticed(lambda: self._controller.shutdown(self.id, sandboxer=self._sandboxer))
        try:
            self._store.delete(self.id)
        except ContainerdError:
            with suppress(NotFound):  # of one that is gone, 1.7 says so in other words
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
        """As ``Client.new_container``, in this sandbox."""
        return self._new_container(id, image=image, args=args, sandbox=self.id, **options)

    def set_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Set these and leave the others, an empty value removes one; returns all there are."""
        if labels:
            given = {key: value for key, value in labels.items() if value}
            fields = [f"labels.{key}" for key in labels]
            self.record = self._store.update(replace(self.record, labels=given), fields)
        return self.labels

    def __repr__(self) -> str:
        return f"<Sandbox {self.id}>"


def _noticed(ask: Callable[[], _T]) -> _T:
    """What the daemon says once it has noticed that a shim has ended, if one just has."""
    deadline = Deadline(_NOTICE)
    for wait in backoff(0.02, 0.5):
        try:
            return ask()
        except Unknown:
            if deadline.expired:
                raise
        time.sleep(wait)
    raise AssertionError("unreachable")

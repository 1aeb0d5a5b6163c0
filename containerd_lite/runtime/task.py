"""A container's first process, and what concerns all of its processes.

What lives here: pausing, measuring, limiting and saving a container that runs, and further
processes in it.  What may not: the life of one process, which ``process`` has.
"""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, NotFound
from ..images.image import Image
from ..services._types import AnyValue, Mount
from ..services.filters import Filter
from ..services.tasks import Exit, ProcessInfo
from .labels import STOP_SIGNAL, WANTED_NETWORKS
from .process import Process
from .specs import exec_process

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..oci.descriptor import Descriptor
    from ..services.metrics import Metric
    from .container import Container
    from .io import ProcessStreams
    from .options import ProcessOptions
    from .stats import Stats
    from .top import TopProcess


class Task(Process):
    """The first process of a container."""

    def __init__(
        self, container: Container, pid: int = 0, streams: ProcessStreams | None = None
    ) -> None:
        super().__init__(container.services.tasks, container.id, "", pid, streams)
        self._container = container

    # ---- further processes -----------------------------------------------------------------

    def exec(
        self,
        args: Sequence[str],
        streams: ProcessStreams | None = None,
        *,
        id: str | None = None,
        **options: Unpack[ProcessOptions],
    ) -> Process:
        """Add a process, which is not yet running, to a container that runs.

        It is as the container's own but for ``args`` and ``options``
        (``runtime.options.ProcessOptions``).  ``streams`` are closed with it; without any it has
        none.  Raises ``AlreadyExists`` for an ``id`` that is taken, ``FailedPrecondition``,
        ``InvalidArgument``.
        """
        container = self._container
        exec_id = id or f"exec-{os.urandom(8).hex()}"
        try:
            if streams is not None and streams.stdio.terminal:
                options["terminal"] = True
            spec = exec_process(container.spec(), args, options, container.find_user)
            stdio = None if streams is None else streams.stdio
            self._service.exec(self.container_id, exec_id, spec, stdio)
        except BaseException:
            if streams is not None:
                streams.close()
            raise
        return Process(self._service, self.container_id, exec_id, streams=streams)

    def process(self, exec_id: str) -> Process:
        """A process that was added before.  Raises ``NotFound``."""
        status = self._service.get(self.container_id, exec_id)
        return Process(self._service, self.container_id, exec_id, status.pid)

    def pids(self) -> list[ProcessInfo]:
        """Every process of the container, as the daemon's machine numbers them."""
        return self._service.list_pids(self.container_id)

    # ---- all of them -----------------------------------------------------------------------

    def pause(self) -> None:
        """Freeze every process."""
        self._service.pause(self.container_id)

    def resume(self) -> None:
        """Let those that were paused go on."""
        self._service.resume(self.container_id)

    def update(
        self, resources: Mapping[str, object], annotations: Mapping[str, str] | None = None
    ) -> None:
        """Change the limits of what runs: ``{"pids": {"limit": 10}}``.

        ``resources`` are the runtime spec's for Linux.  The container's spec stays as it is.
        """
        self._service.update(self.container_id, resources, annotations)

    def stats(self, before: Stats | None = None) -> Stats:
        """What it uses now, in few numbers; ``before`` is an earlier look, for the share of CPU.

        Raises as ``metrics``.
        """
        from .stats import Stats

        return Stats.of(self.metrics(), before)

    def top(self) -> list[TopProcess]:
        """Its processes, as this machine's ``/proc`` shows them: the daemon's machine's.

        Those that end meanwhile are left out.  Raises ``FailedPrecondition`` where this process
        does not see the daemon's.
        """
        from .top import top

        return top(self.pids(), self.pid)

    def metrics(self) -> Metric:
        """What it uses now.  Raises ``NotFound`` where it cannot be measured, or does not run."""
        found = self._service.metrics(Filter("id") == self.container_id)
        if not found:
            raise NotFound(f"there are no metrics of task {self.container_id}: does it run?")
        return found[0]

    def checkpoint(
        self, options: Mapping[str, object] | None = None, *, parent: str = ""
    ) -> tuple[Descriptor, ...]:
        """Save it with CRIU; returns what was written to the content store.

        ``options`` are runc's: ``{"exit": True}`` ends it; with ``image_path`` it is saved there.
        The content belongs to the caller's lease.  ``parent`` is a checkpoint's digest.
        """
        made = None if options is None else checkpoint_options(options)
        return self._service.checkpoint(self.container_id, made, parent_checkpoint=parent)

    # ---- the end ---------------------------------------------------------------------------

    @property
    def _stop_signal(self) -> int | str:
        return self._container.labels.get(STOP_SIGNAL) or super()._stop_signal

    def _kill_hard(self) -> None:
        # Those that were added need not die with the first: they may be in another pid namespace.
        self.kill(signals.SIGKILL, all=True)

    def _forget(self) -> Exit:
        ended = self._service.delete(self.container_id)
        self._container.disconnect()
        return ended


def create_task(
    container: Container,
    streams: ProcessStreams | None,
    checkpoint: Image | Descriptor | None,
    runtime_path: str,
    runtime_options: AnyValue | None,
) -> Task:
    """As ``Container.new_task``."""
    services, info = container.services, container.info
    try:
        spec: Mapping[str, object] = {} if info.spec is None else container.spec()
        _expect_terminal(container, spec, streams is not None and streams.stdio.terminal)
        if isinstance(checkpoint, Image):
            from .checkpoint import Checkpoint

            checkpoint = Checkpoint(checkpoint, services.images.store).task()
        pid = services.tasks.create(
            info.id,
            _root_mounts(container, spec),
            None if streams is None else streams.stdio,
            runtime_options,
            checkpoint=checkpoint,
            runtime_path=runtime_path,
        )
    except BaseException:
        if streams is not None:
            streams.close()
        raise
    task = Task(container, pid, streams)
    try:
        _connect(container, pid)
    except BaseException:
        task.delete_quietly()
        raise
    return task


def _root_mounts(container: Container, spec: Mapping[str, object]) -> tuple[Mount, ...]:
    """Those of its snapshot, under the SELinux label that the spec has for all of them."""
    info = container.info
    if not info.snapshot_key:
        return ()
    mounts = container.services.snapshots(info.snapshotter).mounts(info.snapshot_key)
    linux = spec.get("linux")
    label = linux.get("mountLabel") if isinstance(linux, dict) else None
    if not label:
        return mounts
    context = f'context="{label}"'
    return tuple(replace(mount, options=(*mount.options, context)) for mount in mounts)


def _expect_terminal(container: Container, spec: Mapping[str, object], given: bool) -> None:
    """The shim would say of it only that a console socket is missing, or one too many."""
    process = spec.get("process")
    wanted = isinstance(process, dict) and bool(process.get("terminal"))
    if wanted != given:
        raise InvalidArgument(
            f"the process of container {container.id} has {'a' if wanted else 'no'} terminal, "
            f"its streams have {'one' if given else 'none'}",
            remedy="Give terminal=True to new_container and to Streams, or to neither",
        )


def _connect(container: Container, pid: int) -> None:
    """Put a container on the networks that its record wants it to be on."""
    if WANTED_NETWORKS in container.info.extensions:
        from .attachment import connect, wanted_of

        services = container.services
        networks = wanted_of(container.info)
        connect(services.containers, services.namespace, container.id, pid, networks)
        container.reload()


def checkpoint_options(options: Mapping[str, object]) -> AnyValue:
    """What runc is told of a checkpoint.  Raises ``InvalidArgument``."""
    return AnyValue.of("containerd.runc.v1.CheckpointOptions", options)

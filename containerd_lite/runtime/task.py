"""A container's first process, and what concerns all of its processes.

What lives here: pausing, measuring, limiting and saving a container that runs, and further
processes in it.  What may not: the life of one process, which ``process`` has.
"""

from __future__ import annotations

import logging
import os
import signal as signals
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..debug import LoggedStep
from ..errors import NotFound
from ..services.filters import Filter
from ..services.tasks import Exit, ProcessInfo
from . import watch
from .io.base import ProcessStreams, closing_on_failure
from .labels import STOP_SIGNAL
from .process import Process
from .record import StoredContainer, checkpoint_options
from .spec.process_spec import exec_process

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..oci.descriptor import Descriptor
    from ..services.metrics import Metric
    from .spec.options import ProcessOptions
    from .watch.stats import Stats
    from .watch.top import TopProcess

_LOGGER = logging.getLogger(__package__)


class Task(Process):
    """The first process of a container."""

    def __init__(
        self, container: StoredContainer, pid: int = 0, streams: ProcessStreams | None = None
    ) -> None:
        super().__init__(container.backend.tasks, container.id, "", pid, streams)
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
        step = LoggedStep(_LOGGER, "add process %s to container %s", exec_id, container.id)
        with step, closing_on_failure(streams):
            if streams is not None and streams.stdio.terminal:
                options["terminal"] = True
            spec = exec_process(container.known_spec(), args, options, container.find_user)
            stdio = None if streams is None else streams.stdio
            self._service.exec(self.container_id, exec_id, spec, stdio)
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
        return watch.Stats.of(self.metrics(), before)

    def top(self) -> list[TopProcess]:
        """Its processes, as this machine's ``/proc`` shows them: the daemon's machine's.

        Those that end meanwhile are left out.  Raises ``FailedPrecondition`` where this process
        does not see the daemon's.
        """
        return watch.list_processes(self.pids(), self.pid)

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

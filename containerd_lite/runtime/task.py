"""The task of a container: its first process, and the methods for all its processes.

``Task`` pauses, measures, limits and saves a running container, and adds processes to it. The
base class ``Process`` handles a single process.
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
    """The task of a container, which is also its first process.

    Args:
        container: The container.
        pid: Id of the first process in the daemon's pid namespace.
        streams: The streams of the first process. Default: none.
    """

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
        """Add a process to the running container, without starting it.

        The process has the settings of the container's first process, except its terminal.

        Args:
            args: The command line of the process.
            streams: Its streams; they are closed when the process is deleted. Default: neither
                input nor output.
            id: Its exec id. Default: a random one.
            **options: Settings to change; see ``runtime.ProcessOptions``.

        Returns:
            The process; ``Process.start`` starts it.

        Raises:
            AlreadyExists: The container has a process with this id.
            FailedPrecondition: The container's state does not permit it.
            InvalidArgument: An option has an invalid value.
            NotFound: The container, or a user or group of it, does not exist.
            TypeError: An option is unknown.
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
        """Return a process that was added before.

        Args:
            exec_id: Its exec id.

        Raises:
            NotFound: The container has no such process.
        """
        status = self._service.get(self.container_id, exec_id)
        return Process(self._service, self.container_id, exec_id, status.pid)

    def pids(self) -> list[ProcessInfo]:
        """Return all processes of the container, with their ids on the daemon's machine."""
        return self._service.list_pids(self.container_id)

    # ---- all of them -----------------------------------------------------------------------

    def pause(self) -> None:
        """Freeze all processes of the container."""
        self._service.pause(self.container_id)

    def resume(self) -> None:
        """Continue the processes that ``pause`` has frozen."""
        self._service.resume(self.container_id)

    def update(
        self, resources: Mapping[str, object], annotations: Mapping[str, str] | None = None
    ) -> None:
        """Change the resource limits of the running container.

        The container's spec stays unchanged.

        Args:
            resources: The limits, as in the runtime spec's ``linux.resources``:
                ``{"pids": {"limit": 10}}``.
            annotations: Annotations for the shim. Default: none.
        """
        self._service.update(self.container_id, resources, annotations)

    def stats(self, before: Stats | None = None) -> Stats:
        """Return a summary of the container's resource usage.

        Args:
            before: An earlier summary, from which the share of CPU is computed. Default: the
                share is ``None``.

        Raises:
            NotFound: The container does not run, or cannot be measured.
            Unimplemented: The metrics are of an unknown kind.
        """
        return watch.Stats.of(self.metrics(), before)

    def top(self) -> list[TopProcess]:
        """List the container's processes, as this machine's ``/proc`` shows them.

        This works on the daemon's machine only. The list omits processes that end meanwhile.

        Raises:
            FailedPrecondition: This Python process cannot see the daemon's processes.
        """
        return watch.list_processes(self.pids(), self.pid)

    def metrics(self) -> Metric:
        """Return the container's resource usage.

        Raises:
            NotFound: The container does not run, or cannot be measured.
        """
        metrics = self._service.metrics(Filter("id") == self.container_id)
        if not metrics:
            raise NotFound(
                f"the daemon has no metrics of task {self.container_id}, which may not be running"
            )
        return metrics[0]

    def checkpoint(
        self, options: Mapping[str, object] | None = None, *, parent: str = ""
    ) -> tuple[Descriptor, ...]:
        """Save the processes with CRIU.

        The content belongs to the caller's lease. Without a lease, it belongs to nothing, and the
        daemon may delete it.

        Args:
            options: Options of runc: ``{"exit": True}`` ends the processes, and ``image_path``
                saves them in that folder. Default: none.
            parent: The digest of an earlier checkpoint. Default: none.

        Returns:
            The descriptors of the saved content. Empty if ``image_path`` was given.

        Raises:
            InvalidArgument: An option is unknown.
            Unknown: The runtime cannot save the processes; the message is the runtime's.
        """
        runc_options = None if options is None else checkpoint_options(options)
        return self._service.checkpoint(self.container_id, runc_options, parent_checkpoint=parent)

    # ---- the end ---------------------------------------------------------------------------

    @property
    def _stop_signal(self) -> int | str:
        return self._container.labels.get(STOP_SIGNAL) or super()._stop_signal

    def _send_sigkill(self) -> None:
        # Added processes may outlive the first process: they may be in another pid namespace.
        self.kill(signals.SIGKILL, all=True)

    def _call_delete(self) -> Exit:
        ended = self._service.delete(self.container_id)
        self._container.disconnect()
        return ended

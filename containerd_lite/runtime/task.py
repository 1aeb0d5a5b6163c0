"""The task of a container: its first process, and the methods for all of its processes.

The methods of ``Task`` pause, measure, limit and save a running container, and add processes to
it. The base class ``Process`` has the methods for a single process.
"""

from __future__ import annotations

import logging
import os
import signal as signals
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..debug import LoggedStep
from ..errors import InvalidArgument, NotFound
from ..printable import quoted
from ..services.filters import Filter
from ..services.tasks import Exit, ProcessInfo
from . import watch
from .io.base import ProcessStreams, closing_on_failure
from .labels import STOP_SIGNAL
from .option_methods import with_option_help
from .process import Process, signal_number
from .record import StoredContainer, checkpoint_options
from .spec.process_spec import exec_process

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..oci.descriptor import Descriptor
    from ..services.metrics import Metric
    from .spec.options import ProcessOptions
    from .watch.stats import Stats
    from .watch.top import TopProcess
    from .watch.traffic import Traffic

_LOGGER = logging.getLogger(__package__)


class Task(Process):
    """The task of a container, which is also the container's first process.

    Args:
        container: The container.
        pid: The pid of the first process in the daemon's pid namespace, 0 if the pid is not known.
        streams: The streams that this client serves for the first process. Default: none.
    """

    def __init__(
        self, container: StoredContainer, pid: int = 0, streams: ProcessStreams | None = None
    ) -> None:
        super().__init__(container.backend.tasks, container.id, "", pid, streams)
        self._container = container

    # ---- added processes -------------------------------------------------------------------

    @with_option_help
    def exec(
        self,
        args: Sequence[str],
        streams: ProcessStreams | None = None,
        *,
        id: str | None = None,
        **options: Unpack[ProcessOptions],
    ) -> Process:
        """Add a process to the running container, without starting it.

        The process has the settings of the container's first process, except its terminal: it has
        a terminal only if ``streams`` or the options ask for one.

        Args:
            args: The command line of the process.
            streams: The streams of the process, which are closed when the process is deleted, or
                when this method fails. Default: no input, and the output is discarded.
            id: The exec id of the process. Default: a random id.
            **options: Settings to change; see ``runtime.ProcessOptions``.

        Returns:
            The process; ``Process.start`` starts it.

        Raises:
            AlreadyExists: The container has a process with this id.
            FailedPrecondition: The state of the container does not permit new processes.
            InvalidArgument: An option has an invalid value.
            NotFound: The container, the user or a group does not exist.
            TypeError: An option is unknown.
            Unimplemented: The daemon does not support the scheme of a log URI.
        """
        container = self._container
        exec_id = id or f"exec-{os.urandom(8).hex()}"
        step = LoggedStep(_LOGGER, "add process %s to container %s", exec_id, container.id)
        with step, closing_on_failure(streams):
            if streams is not None and streams.stdio.terminal:
                options["terminal"] = True
            spec = exec_process(container.known_spec(), args, options, container.find_user)
            stdio = None if streams is None else streams.stdio
            if stdio is not None:
                container.backend.check_log_uris(container.info.runtime, stdio.stdout)
            self._service.exec(self.container_id, exec_id, spec, stdio)
        return Process(self._service, self.container_id, exec_id, streams=streams)

    def process(self, exec_id: str) -> Process:
        """Return a process that has been added to the container.

        Args:
            exec_id: The exec id of the process.

        Raises:
            NotFound: The container has no process with this id.
        """
        status = self._service.get(self.container_id, exec_id)
        return Process(self._service, self.container_id, exec_id, status.pid)

    def pids(self) -> list[ProcessInfo]:
        """Return all processes of the container, with their pids in the daemon's pid namespace."""
        return self._service.list_pids(self.container_id)

    # ---- all processes of the container ----------------------------------------------------

    def pause(self) -> None:
        """Freeze all processes of the container.

        Raises:
            FailedPrecondition: The container is stopped or paused.
        """
        self._service.pause(self.container_id)

    def resume(self) -> None:
        """Let all processes of the container continue after ``pause``.

        Raises:
            FailedPrecondition: The container is not paused.
        """
        self._service.resume(self.container_id)

    def update(
        self, resources: Mapping[str, object], annotations: Mapping[str, str] | None = None
    ) -> None:
        """Change the resource limits of the running container.

        The limits in the container's spec do not change.

        Args:
            resources: The new limits, in the form of ``linux.resources`` in a runtime spec:
                ``{"pids": {"limit": 10}}``.
            annotations: Annotations that the shim gets with the limits. Default: none.
        """
        self._service.update(self.container_id, resources, annotations)

    def stats(self, before: Stats | None = None) -> Stats:
        """Return a summary of the container's resource usage.

        The daemon does not measure the network. ``Stats.interfaces`` and ``Stats.network`` are read
        from this machine's ``/proc``; they are ``None`` if the task runs on another machine, or in
        a pid namespace that this program does not see, or with the machine's network.

        Args:
            before: An earlier summary. ``Stats.cpu`` is the CPU usage since this earlier summary.
                Default: ``Stats.cpu`` is ``None``.

        Raises:
            NotFound: The task has ended.
            Unimplemented: The metrics have a type that this package does not know.
        """
        found = watch.Stats.of(self.metrics(), before, self._traffic())
        # The daemon has metrics until the task is deleted. The cgroup of a running task always has
        # processes, so only a task without processes costs another call.
        if not found.pids and self.status().state == "stopped":
            raise NotFound(f"task {self.container_id} has ended, so it uses no resources")
        return found

    def _traffic(self) -> dict[str, Traffic] | None:
        """Return the traffic of the container's interfaces; ``None`` if it is not known."""
        if self._container.backend.is_remote or not self.pid:
            return None
        names = [self.container_id]
        with suppress(InvalidArgument):  # the spec cannot be parsed
            linux = self._container.known_spec().get("linux")
            path = linux.get("cgroupsPath") if isinstance(linux, dict) else None
            names += filter(None, [str(path or "").replace(":", "/").rpartition("/")[2]])
        return watch.read_traffic(self.pid, names)

    def top(self) -> list[TopProcess]:
        """List the container's processes, as this machine's ``/proc`` shows them.

        Call this method on the daemon's machine. The list omits processes that end during the call.

        Raises:
            FailedPrecondition: The container's first process does not appear in ``/proc``.
        """
        return watch.list_processes(self.pids(), self.pid)

    def metrics(self) -> Metric:
        """Return the container's resource usage as the daemon reports it.

        The daemon also reports the usage of a task that has ended, until the task is deleted.

        Raises:
            NotFound: The daemon has no metrics of the container. The task may be deleted.
        """
        metrics = self._service.metrics(Filter("id") == self.container_id)
        if not metrics:
            raise NotFound(
                f"the daemon has no metrics of task {self.container_id}: the task may have ended"
            )
        return metrics[0]

    def checkpoint(
        self, options: Mapping[str, object] | None = None, *, parent: str = ""
    ) -> tuple[Descriptor, ...]:
        """Save the container's processes with CRIU.

        The daemon writes the result to its content store. The caller must hold a lease: without a
        lease, the daemon's garbage collection may delete the result.

        Args:
            options: Options of runc. ``{"exit": True}`` ends the processes. ``image_path`` is a
                folder to write to, instead of the content store. ``parent_path`` is the folder of
                an earlier checkpoint, relative to ``image_path``; only memory that changed since
                then is written. Daemons before 2.4 ignore ``parent_path``, and write all memory.
                Default: no options.
            parent: The digest of an earlier checkpoint. Default: none.

        Returns:
            The descriptors of the result. With ``image_path``, the tuple is empty.

        Raises:
            InvalidArgument: An option is unknown.
            Unknown: The runtime cannot save the processes. The message comes from the runtime.
        """
        runc_options = None if options is None else checkpoint_options(options)
        return self._service.checkpoint(self.container_id, runc_options, parent_checkpoint=parent)

    # ---- the end of the task ---------------------------------------------------------------

    @property
    def _stop_signal(self) -> int | str:
        label = self._container.labels.get(STOP_SIGNAL)
        if not label:
            return super()._stop_signal
        # The label contains the stop signal of the image, which can be any text. 0 sends nothing.
        with suppress(InvalidArgument):
            if number := signal_number(label):
                return number
        _LOGGER.warning(
            "container %s: unknown stop signal %s; SIGTERM is sent",
            self.container_id,
            quoted(label),
        )
        return super()._stop_signal

    def _send_sigkill(self) -> None:
        # Send the signal to all processes: an added process in another pid namespace would
        # otherwise continue to run after the end of the first process.
        self.kill(signals.SIGKILL, all=True)

    def _call_delete(self) -> Exit:
        ended = self._service.delete(self.container_id)
        self._container.disconnect()
        return ended

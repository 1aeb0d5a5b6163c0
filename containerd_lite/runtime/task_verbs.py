"""The methods of ``Container`` for the life of its task: create, start, stop and delete it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from .. import images, limits
from ..deadline import Deadline
from ..debug import LoggedStep
from ..errors import (
    Cancelled,
    ContainerdError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from ..interrupt import shielded
from ..operation import waiting
from ..records import replace
from ..services._types import AnyValue, Mount
from ..services.tasks import Exit, ProcessStatus
from ..undo import Undo
from ..workers import uncut
from . import kept, network
from .io import SameTargets
from .io.base import closing_on_failure
from .labels import LOG, WANTED_NETWORKS
from .process import note_remains
from .record import StoredContainer, options_of_task
from .restart import started_labels, stopped_labels
from .task import Task
from .watch.started import started_at, started_label, state_of

if TYPE_CHECKING:
    from ..images.image import Image
    from ..oci.descriptor import Descriptor
    from ..operation import CancelToken
    from .io.base import ProcessStreams

#: Seconds to wait before each attempt to delete a task whose creation was interrupted.
_LATE_WAITS = (0.01, 0.03, 0.1, 0.2)
_LOGGER = logging.getLogger(__package__)


class TaskVerbs(StoredContainer):
    """The base class that gives ``Container`` its methods for its task."""

    # ---- what the task does ----------------------------------------------------------------

    @property
    def status(self) -> str:
        """What the container does, a ``ContainerState``: ``"running"``, ``"stopped"`` and so on.

        ``"created"``: the container has no task, or its task has not started. The daemon is asked
        each time. The type is ``str``, because type checkers expect a literal not to change.

        Raises:
            NotFound: The container does not exist any more.
        """
        status = self._task_status()
        if status is None:
            self.reload()
        return state_of(status)

    @property
    def exit_code(self) -> int | None:
        """The exit code of the stopped task. If a signal killed it: 128 plus the signal's number.

        ``None`` while the task runs, and if there is no task. The daemon is asked each time.
        """
        status = self._task_status()
        return status.exit_status if status and status.state == "stopped" else None

    @property
    def started_at(self) -> datetime | None:
        """When the task started, with a time zone.

        The daemon does not know this time. If ``start`` or ``Client.run`` with ``detach=True`` has
        started the task, a label of the container has it, also when the task is stopped. Else it is
        the time when the first process was created, if this process runs on this machine.
        Otherwise, and without a task, the time is ``None``.
        """
        status = self._task_status()
        if status is None:
            return None
        return started_at(self.reload().info, status, is_remote=self.backend.is_remote)

    def _task_status(self) -> ProcessStatus | None:
        with suppress(NotFound):
            return self.backend.tasks.get(self.id)
        return None

    # ---- the life of the task --------------------------------------------------------------

    def start(self, streams: ProcessStreams | None = None) -> Task:
        """Start the container: create its task if there is none, and start the task.

        A stopped task is deleted first. If the container runs already, this method does nothing.

        Args:
            streams: The streams of the first process. Default: no input. If a stopped task wrote to
                a log file or a logger, or the container has a log of its own, the output goes there
                again; otherwise it is discarded.

        Returns:
            The task.

        Raises:
            FailedPrecondition: The container has a task that is not stopped, and ``streams`` are
                given.
            ContainerdError: The task cannot be created or started; see ``new_task``.
        """
        status = self._task_status()
        with closing_on_failure(streams):
            if status is not None and status.state != "stopped" and streams is not None:
                raise FailedPrecondition(
                    f"container {self.id} has a {status.state} task",
                    remedy="Leave out the streams, or stop the container first",
                )
        if status is None or status.state == "stopped":
            if status is not None:
                Task(self, status.pid).delete()
                if streams is None and "://" in status.stdio.stdout:
                    streams = SameTargets(status.stdio)
            task = self.new_task(self._own_log() if streams is None else streams)
        else:
            task = Task(self, status.pid)
            if status.state != "created":
                return task
        with Undo(task.delete_quietly):
            task.start()
            self.set_labels({**started_label(task.pid), **started_labels(self.labels)})
        return task

    def _own_log(self) -> ProcessStreams | None:
        """Return streams that go to the log of a container that ``Client.run`` has detached."""
        folder = self.labels.get(LOG)
        if not folder or not os.path.isdir(folder):
            return None
        return kept.KeptLog(folder, terminal=self._has_terminal())

    def stop(self, timeout: float = 10.0, *, signal: int | str | None = None) -> Exit | None:
        """Stop the container: send a signal, and kill the processes if the signal does not help.

        The stopped task stays until ``start`` or ``delete``. The restart monitor of the daemon does
        not start it again.

        Args:
            timeout: Seconds to wait before the processes are killed; 0 kills them at once.
            signal: The number or the name of the signal. Default: the image's stop signal, or
                ``SIGTERM``.

        Returns:
            The exit code and the time of the end; ``None`` if the container has no task.

        Raises:
            DeadlineExceeded: The task has not ended within 30 seconds after ``SIGKILL``.
            InvalidArgument: ``signal`` is unknown, or ``timeout`` is negative.
        """
        limits.seconds("timeout", timeout, may_be_zero=True)  # also if there is no task
        status = self._task_status()
        if status is None:
            return None
        ended = Task(self, status.pid).known(status).stop(timeout, signal=signal)
        if labels := stopped_labels(self.labels):
            self.set_labels(labels)
        return ended

    def restart(self, timeout: float = 10.0, *, signal: int | str | None = None) -> Task:
        """Stop the container, and start it again.

        Args:
            timeout: As for ``stop``.
            signal: As for ``stop``.

        Returns:
            The new task. Its output goes where ``start`` says.
        """
        self.stop(timeout, signal=signal)
        return self.start()

    def kill(self, signal: int | str = "SIGKILL") -> None:
        """Send a signal to the first process.

        Args:
            signal: The number or the name of the signal (``"SIGHUP"``, ``"HUP"``).

        Raises:
            InvalidArgument: The signal is unknown.
            NotFound: The container has no task, or the task has ended.
        """
        self.task().kill(signal)

    def wait(self, timeout: float | None = None, *, cancel: CancelToken | None = None) -> Exit:
        """Wait until the first process has ended. The wait continues if the daemon restarts.

        Args:
            timeout: Seconds to wait. 0 means: do not wait. Default: no limit.
            cancel: As for ``Task.wait``.

        Returns:
            The exit code and the time of the end; see ``Task.wait``.

        Raises:
            DeadlineExceeded: The process has not ended within ``timeout``, and continues to run.
            NotFound: The container has no task.
        """
        deadline = Deadline(timeout)
        with waiting(f"wait for container {self.id}", timeout, cancel):
            task = self.task()
            try:
                return task.wait(deadline.remaining())
            finally:
                task.stop_waiting()

    def pause(self) -> None:
        """Freeze all processes of the container.

        Raises:
            NotFound: The container has no task.
        """
        self.task().pause()

    def resume(self) -> None:
        """Let all processes of the container continue after ``pause``.

        Raises:
            NotFound: The container has no task.
        """
        self.task().resume()

    def delete(self, *, force: bool = False, snapshot: bool = True) -> None:
        """Delete the container with its stopped task, and disconnect it from its CNI networks.

        Args:
            force: Whether to kill the processes of the container first.
            snapshot: Whether to remove the snapshot of the root filesystem.

        Raises:
            FailedPrecondition: The task is not stopped, and ``force`` is false.
            NotFound: The container does not exist.
        """
        status = self._task_status()
        if status is not None:
            if not force and status.state != "stopped":
                raise FailedPrecondition(
                    f"container {self.id} has a {status.state} task",
                    remedy="Stop the container first, or use force=True",
                )
            Task(self, status.pid).delete(force=force)
        self.disconnect()
        self.remove(snapshot=snapshot)

    def discard(self) -> None:
        """Kill and delete the task, and delete the container, without raising an error.

        If the daemon does not answer, the error of the operation says that the container remains.
        """
        try:
            with suppress(NotFound):
                self.task().delete(force=True)
            with suppress(NotFound):
                self.delete()
        except ContainerdError:
            note_remains(self.id)

    # ---- the task --------------------------------------------------------------------------

    def new_task(
        self,
        streams: ProcessStreams | None = None,
        *,
        checkpoint: Image | Descriptor | None = None,
        runtime_path: str = "",
        runtime_options: Mapping[str, object] | AnyValue | None = None,
        rootfs: Iterable[Mount] = (),
    ) -> Task:
        """Create the container's task, without starting it.

        If the container's record names networks, this method connects the container to these
        networks. The streams are closed when the task is deleted, or when this method fails.

        Args:
            streams: The streams of the first process. Default: no input, and the output is
                discarded.
            checkpoint: The saved processes, which CRIU restores: a checkpoint image, or the
                descriptor of CRIU's tar. CRIU gives the processes the users and capabilities of the
                saved processes, even if the spec does not permit them. So pass only the checkpoint
                of an author whom you trust like root. Default: a new process, as the spec describes
                it.
            runtime_path: Path of the shim. Default: the shim of the container's runtime.
            runtime_options: Options of the runtime. A mapping sets fields of runc's options:
                ``{"no_pivot_root": True}``. Its fields override the options in the container's
                record, and the other fields of the record stay. An ``AnyValue`` replaces the
                record's options. Default: the options in the container's record.
            rootfs: Mounts of the root filesystem, such as those that ``snapshot_service`` returns.
                The daemon mounts them in this order, after the mounts of the container's snapshot.
                Create a container without a snapshot with the option ``rootfs=""``. Default: only
                the container's snapshot.

        Returns:
            The task; ``Task.start`` starts it.

        Raises:
            AlreadyExists: The container has a task.
            ContainerdError: The container cannot be connected to its networks.
            InvalidArgument: An option is not valid, or only one of the spec and the streams has a
                terminal.
            FailedPrecondition: The command is not executable.
            NotFound: The container or its command does not exist, or the checkpoint has no
                processes.
            Unimplemented: The daemon does not support the scheme of a log URI.
            Unknown: The runtime cannot create the task. The message comes from the runtime.
        """
        with LoggedStep(_LOGGER, "create task %s", self.id), closing_on_failure(streams):
            self._check_terminal(streams is not None and streams.stdio.terminal)
            rootfs = _checked_mounts(rootfs)
            if streams is not None and not runtime_path:
                self.backend.check_log_uris(self.info.runtime, streams.stdio.stdout)
            if checkpoint is not None and isinstance(checkpoint, images.Image):
                from .checkpoint import Checkpoint

                checkpoint = Checkpoint(checkpoint, self.backend.images.store).task()
            if files := self.network_files():
                files.write()  # the spec mounts them
            mounts = self._with_label((*self._root_mounts(), *rootfs))
            create = partial(
                self.backend.tasks.create,
                self.id,
                mounts,
                None if streams is None else streams.stdio,
                options_of_task(runtime_options, self.info.runtime_options),
                checkpoint=checkpoint,
                runtime_path=runtime_path,
            )
            with self._deleting_late_task():
                pid = uncut(create)  # if the request is cut off, its shim can stay
        task = Task(self, pid, streams)
        with Undo(task.delete_quietly):
            self._connect_networks(pid)
        return task

    @contextmanager
    def _deleting_late_task(self) -> Iterator[None]:
        """Run the block, which creates the task. If it is interrupted, delete the task.

        The daemon may create the task a little later. If the container were deleted before, the
        shim would stay.
        """
        try:
            yield
        except BaseException as error:
            if isinstance(error, Cancelled | DeadlineExceeded) or not isinstance(error, Exception):
                with shielded(), suppress(ContainerdError):
                    self._delete_late_task()
            raise

    def _delete_late_task(self) -> None:
        for pause in _LATE_WAITS:
            time.sleep(pause)
            with suppress(NotFound):
                self.task().delete(force=True)
                return

    def task(self) -> Task:
        """Return the container's task, without its streams.

        Only the client that created the task serves the streams.

        Raises:
            NotFound: The container has no task.
        """
        status = self.backend.tasks.get(self.id)
        return Task(self, status.pid).known(status)

    def _root_mounts(self) -> tuple[Mount, ...]:
        """Return the mounts of the container's snapshot."""
        if not self.info.snapshot_key:
            return ()
        return self.backend.snapshots(self.info.snapshotter).mounts(self.info.snapshot_key)

    def _with_label(self, mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
        """Return the mounts with the SELinux label that the spec has in ``mountLabel``."""
        linux = self.known_spec().get("linux")
        label = linux.get("mountLabel") if isinstance(linux, dict) else None
        if not label:
            return mounts
        context = f'context="{label}"'
        return tuple(replace(mount, options=(*mount.options, context)) for mount in mounts)

    def _check_terminal(self, streams_have_terminal: bool) -> None:
        """Raise ``InvalidArgument`` if only the spec or only the streams have a terminal.

        Without this check, the shim would fail with an unclear error about a console socket.
        """
        spec_has_terminal = self._has_terminal()
        if spec_has_terminal != streams_have_terminal:
            raise InvalidArgument(
                f"the spec of container {self.id} has {'a' if spec_has_terminal else 'no'} terminal"
                f", but its streams have {'a' if streams_have_terminal else 'no'} terminal",
                remedy="Give terminal=True to both new_container and Streams, or to neither",
            )

    def _has_terminal(self) -> bool:
        process = self.known_spec().get("process")
        return isinstance(process, dict) and bool(process.get("terminal"))

    def _connect_networks(self, pid: int) -> None:
        """Connect the container to the networks that its record names."""
        if WANTED_NETWORKS in self.info.extensions:
            backend = self.backend
            networks = network.networks_of(self.info)
            made = network.connect(backend.containers, backend.namespace, self.id, pid, networks)
            if files := self.network_files():
                files.write([each.result for each in made if each.result])
            self.reload()


def _checked_mounts(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """Return the mounts. Raise ``InvalidArgument`` if they have another type."""
    checked = tuple(mounts) if isinstance(mounts, Iterable) else (None,)
    if not all(isinstance(each, Mount) for each in checked):
        raise limits.refused("rootfs", mounts, "a list of Mount, as snapshot_service returns them")
    return checked

"""A container of a daemon: its task, its further processes and its log."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import images
from ..debug import LoggedStep
from ..errors import InvalidArgument, NotFound
from ..records import replace
from ..services._types import AnyValue, Mount
from ..undo import Undo
from . import network, watch
from .io.base import closing_on_failure
from .labels import WANTED_NETWORKS
from .popen import Running, open_pipes
from .process import Process
from .record import StoredContainer, runtime_options_of
from .restart import LOG_URI
from .run import Capturing, CompletedProcess
from .spec.options import split_exec
from .task import Task

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..images.image import Image
    from ..oci.descriptor import Descriptor
    from .io.base import ProcessStreams
    from .io.sinks import Target
    from .io.streams import Source
    from .runtime_backend import RuntimeBackend
    from .spec.options import ExecOptions, ProcessOptions

_LOGGER = logging.getLogger(__package__)


class Container(StoredContainer):
    """A container of a daemon.

    Attributes:
        backend: The services that the methods call.
        info: The record, as this object last read or wrote it.
    """

    def checkpoint(
        self,
        name: str,
        *,
        task: bool = True,
        image: bool = True,
        rw: bool = True,
        exit: bool = False,
    ) -> Image:
        """Save the container as an image, which ``Client.restore`` and ``ctr`` can restore.

        Args:
            name: The name of the new image.
            task: Save the processes. This needs CRIU on the daemon's machine.
            image: Include the image that the container was made from.
            rw: Save the changes to the root filesystem.
            exit: End the processes when they have been saved.

        Returns:
            The new image.

        Raises:
            AlreadyExists: An image with this name exists.
            NotFound: The container, its task or its image does not exist.
            Unknown: The runtime cannot save the processes; the message is the runtime's.
        """
        from .checkpoint import save

        return save(self, name, task=task, image=image, rw=rw, exit=exit)

    # ---- its task --------------------------------------------------------------------------

    def new_task(
        self,
        streams: ProcessStreams | None = None,
        *,
        checkpoint: Image | Descriptor | None = None,
        runtime_path: str = "",
        runtime_options: Mapping[str, object] | AnyValue | None = None,
    ) -> Task:
        """Create the task, without starting it.

        If the record names networks, the container joins them here. ``streams`` are closed when
        the task is deleted, or when this call fails.

        Args:
            streams: Streams of the first process. Default: neither input nor output.
            checkpoint: Restore the processes with CRIU from this image, which ``checkpoint``
                made, or from CRIU's tar with this descriptor. Default: start from the spec.
            runtime_path: Path of a shim to use instead of the container's.
            runtime_options: Options to use instead of the container's. A mapping has options of
                runc: ``{"no_pivot_root": True}``.

        Returns:
            The task; ``Task.start`` starts it.

        Raises:
            AlreadyExists: The container has a task.
            ContainerdError: The container cannot join its networks.
            InvalidArgument: An option is not valid, or only one of the spec and ``streams`` has
                a terminal.
            NotFound: The container does not exist, or the checkpoint has no processes.
            Unknown: The runtime cannot create the task; the message is the runtime's.
        """
        with LoggedStep(_LOGGER, "create task %s", self.id), closing_on_failure(streams):
            self._check_terminal(streams is not None and streams.stdio.terminal)
            if checkpoint is not None and isinstance(checkpoint, images.Image):
                from .checkpoint import Checkpoint

                checkpoint = Checkpoint(checkpoint, self.backend.images.store).task()
            pid = self.backend.tasks.create(
                self.id,
                self._root_mounts(),
                None if streams is None else streams.stdio,
                runtime_options_of(runtime_options),
                checkpoint=checkpoint,
                runtime_path=runtime_path,
            )
        task = Task(self, pid, streams)
        with Undo(task.delete_quietly):
            self._connect_networks(pid)
        return task

    def task(self) -> Task:
        """Return the container's task, without streams: these stay with the client that made it.

        Raises:
            NotFound: The container has no task.
        """
        return Task(self, self.backend.tasks.get(self.id).pid)

    def discard(self) -> None:
        """Kill the task and delete the container. It is not an error if either does not exist."""
        with suppress(NotFound):
            self.task().delete(force=True)
        with suppress(NotFound):
            self.delete()

    def _root_mounts(self) -> tuple[Mount, ...]:
        """Return the mounts of the snapshot, with the spec's SELinux label for mounts."""
        if not self.info.snapshot_key:
            return ()
        mounts = self.backend.snapshots(self.info.snapshotter).mounts(self.info.snapshot_key)
        linux = self.known_spec().get("linux")
        label = linux.get("mountLabel") if isinstance(linux, dict) else None
        if not label:
            return mounts
        context = f'context="{label}"'
        return tuple(replace(mount, options=(*mount.options, context)) for mount in mounts)

    def _check_terminal(self, streams_have_one: bool) -> None:
        """Raise ``InvalidArgument`` if only one of spec and streams has a terminal.

        The shim's error would only say that there is one console socket too few or too many.
        """
        process = self.known_spec().get("process")
        spec_has_one = isinstance(process, dict) and bool(process.get("terminal"))
        if spec_has_one != streams_have_one:
            raise InvalidArgument(
                f"the process of container {self.id} has {'a' if spec_has_one else 'no'} terminal, "
                f"its streams have {'one' if streams_have_one else 'none'}",
                remedy="Give terminal=True to new_container and to Streams, or to neither",
            )

    def _connect_networks(self, pid: int) -> None:
        """Connect the container to the networks that its record names."""
        if WANTED_NETWORKS in self.info.extensions:
            backend = self.backend
            networks = network.networks_of(self.info)
            network.connect(backend.containers, backend.namespace, self.id, pid, networks)
            self.reload()

    # ---- more processes --------------------------------------------------------------------

    def popen(
        self,
        args: Sequence[str],
        *,
        stdin: Source | None = None,
        stdout: Target | None = None,
        stderr: Target | None = None,
        streams: ProcessStreams | None = None,
        id: str | None = None,
        start: bool = True,
        **options: Unpack[ProcessOptions],
    ) -> Running[Container]:
        """Start a command in the running container, and return while it runs.

        Args:
            args: The command line.
            stdin: Source of its input: bytes, a binary file, a descriptor or ``PIPE``. Default:
                no input.
            stdout: Target of its output: a binary file, a descriptor, a function of bytes,
                ``PIPE``, ``DEVNULL`` or ``INHERIT``. Default: ``PIPE``, which the caller must
                read.
            stderr: Target of its error output: the same, or ``STDOUT``. Default: ``PIPE``; with
                a terminal, everything is on ``stdout``.
            streams: Streams to use instead of these three; ``runtime.io`` has several kinds.
            id: The process's exec id. Default: a random one.
            start: If false, ``Running.start`` starts the process later.
            **options: Settings of the process; see ``runtime.ProcessOptions``. Default: those of
                the container's first process, without its terminal.

        Returns:
            The process, as a context manager that kills and deletes it.

        Raises:
            AlreadyExists: The container has a process with this id.
            FailedPrecondition: The container's state does not permit it.
            InvalidArgument: An argument has an invalid value.
            NotFound: The container has no task, or no such user or group.
            Unknown: The runtime cannot start the process; the message is the runtime's.
        """
        if streams is None:
            streams = open_pipes(stdin, stdout, stderr, terminal=options.get("terminal"))
        with Undo(streams.close) as undo:
            running = self._add_process(undo, args, streams, id, options)
            return running.start() if start else running

    def exec(
        self,
        args: Sequence[str],
        *,
        input: Source | None = None,
        timeout: float | None = None,
        check: bool = False,
        id: str | None = None,
        **options: Unpack[ExecOptions],
    ) -> CompletedProcess:
        """Run a command in the running container to its end.

        The output is captured. The options ``stdout``, ``stderr``, ``capture``, ``stream`` and
        ``max_output`` change this, as for ``Client.run``.

        Args:
            args: The command line.
            input: Source of its input: bytes, a binary file or a descriptor. Default: no input.
            timeout: Seconds after which the process is killed. Default: no limit.
            check: Raise ``ProcessFailed`` unless the exit code is 0.
            id: The process's exec id. Default: a random one.
            **options: Settings of the process and its output; see ``runtime.ExecOptions``.

        Returns:
            The exit code and the captured output.

        Raises:
            DeadlineExceeded: The process still ran after ``timeout`` and was killed.
            ProcessFailed: ``check`` is true and the exit code is not 0.
            ResourceExhausted: The process wrote more than ``max_output`` bytes, and was killed.
            ContainerdError: The process cannot be started; see ``popen``.
        """
        outputs, others = split_exec(options)
        capturing = Capturing(input, terminal=others.get("terminal"), **outputs)
        with Undo(capturing.streams.close) as undo:
            running = self._add_process(undo, args, capturing.streams, id, others).start()
            done = CompletedProcess(*capturing.finish(running, timeout))
        if check:
            done.check(f"{args[0]} in container {self.id}")
        return done

    def _add_process(
        self,
        undo: Undo,
        args: Sequence[str],
        streams: ProcessStreams,
        id: str | None,
        options: ProcessOptions,
    ) -> Running[Container]:
        """Add a process to the task, without starting it; ``undo`` gets the call to remove it.

        ``undo`` gets that call before the process exists if its id is random. So an interrupt
        right after the daemon has made the process leaves nothing behind.
        """
        name = id or f"exec-{os.urandom(8).hex()}"
        if not id:
            undo.add(Process(self.backend.tasks, self.id, name).delete_quietly)
        return Running(self.task().exec(args, streams, id=name, **options), self)

    def logs(
        self, *, tail: int | None = None, follow: bool = False, timeout: float | None = None
    ) -> Iterator[bytes]:
        """Read the log file to which the task writes its output (``runtime.io.LogFile``).

        Without a task, this reads the file to which the restart monitor sends the output.

        Args:
            tail: Begin with this many lines at the end of the log. Default: the whole log.
            follow: Wait for more output until the task ends.
            timeout: Seconds after which following ends. Default: no limit.

        Returns:
            An iterator of the log's bytes, in pieces.

        Raises:
            FailedPrecondition: The output does not go to a log file.
            NotFound: The log file does not exist on this machine. The iterator raises this.
            PermissionDenied: The log file cannot be read. The iterator raises this.
        """
        uri, task = self.labels.get(LOG_URI, ""), None
        with suppress(NotFound):
            task = self.task()
            uri = task.status().stdio.stdout

        def is_running() -> bool:
            return task is not None and task.poll() is None

        path = watch.log_path(uri)
        return watch.read_log(
            path, tail=tail, follow=is_running if follow else None, timeout=timeout
        )


def list_containers(backend: RuntimeBackend, *filters: str) -> list[Container]:
    """Return the containers that match; see ``Client.containers``."""
    return [Container(backend, record) for record in backend.containers.list(*filters)]


def load_container(backend: RuntimeBackend, id: str) -> Container:
    """Return the container with this id; see ``Client.load_container``."""
    return Container(backend, backend.containers.get(id))

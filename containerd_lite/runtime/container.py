"""A container of a daemon: the processes added to its task, its log, and checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, overload

from .. import limits
from ..arguments import check_types
from ..errors import ContainerdError, FailedPrecondition, NotFound
from ..operation import waiting
from ..printable import quoted
from ..undo import Undo, end_block
from . import kept, watch
from .labels import LOG
from .option_methods import with_option_help
from .popen import Running, attach_pipes, open_pipes
from .process import Process, note_remains
from .restart import LOG_URI
from .run import Capturing, CompletedProcess
from .spec.options import split_exec
from .task import Task
from .task_verbs import TaskVerbs

if TYPE_CHECKING:
    from datetime import datetime

    from typing_extensions import Self, Unpack

    from ..images.image import Image
    from ..operation import CancelToken
    from .io.base import ProcessStreams
    from .io.sinks import Target
    from .io.streams import Source
    from .kept.log_reader import LogLine
    from .runtime_backend import RuntimeBackend
    from .spec.options import ExecOptions, ProcessOptions


class Container(TaskVerbs):
    """A container of a daemon.

    Attributes:
        backend: The services that the methods of this class call.
        info: The container's record, as this object last read or wrote it.
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
        """Save the container as an image. ``Client.restore`` and ``ctr`` can restore the container.

        Args:
            name: The name of the new image.
            task: Whether to save the processes. Saving processes requires CRIU on the daemon's
                machine.
            image: Whether to include the image that the container was created from.
            rw: Whether to save the changes to the root filesystem.
            exit: Whether to end the processes after they have been saved.

        Returns:
            The new image.

        Raises:
            AlreadyExists: An image with this name exists.
            NotFound: The container, its task or its image does not exist.
            Unknown: The runtime cannot save the processes. The message comes from the runtime.
        """
        from .checkpoint import save

        return save(self, name, task=task, image=image, rw=rw, exit=exit)

    # ---- added processes, and the log ------------------------------------------------------

    @with_option_help
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
        """Start a process in the running container, and return without waiting for its end.

        Args:
            args: The command line of the process.
            stdin: Source of the process's input: bytes, a binary file, a descriptor or ``PIPE``.
                Default: no input.
            stdout: Target of the process's output: a binary file, a descriptor, a function that
                gets bytes, ``PIPE``, ``DEVNULL`` or ``INHERIT``. Default: ``PIPE``, which the
                caller must read.
            stderr: Target of the process's error output: any target that ``stdout`` accepts, or
                ``STDOUT``. Default: ``PIPE``. With a terminal, the error output is on ``stdout``.
            streams: Streams to use instead of ``stdin``, ``stdout`` and ``stderr``, such as an
                object of ``runtime.io``. Default: no other streams.
            id: The exec id of the process. Default: a random id.
            start: Whether to start the process. If false, call ``Running.start`` later.
            **options: Settings of the process; see ``runtime.ProcessOptions``. Default: the
                settings of the container's first process, but no terminal.

        Returns:
            The process. The returned object is a context manager, which kills and deletes the
            process at the end of the ``with`` block.

        Raises:
            AlreadyExists: The container has a process with this id.
            FailedPrecondition: The state of the container does not permit new processes, or the
                command is not executable.
            InvalidArgument: An argument has an invalid value.
            NotFound: The container has no task, or the command, the user or a group does not exist.
            Unknown: The runtime cannot start the process. The message comes from the runtime.
        """
        check_types({"streams": streams, "start": start, **options})
        if streams is None:
            streams = open_pipes(stdin, stdout, stderr, terminal=options.get("terminal"))
        with Undo(streams.close) as undo:
            running = self._add_process(undo, args, streams, id, options)
            return running.start() if start else running

    @with_option_help
    def exec(
        self,
        args: Sequence[str],
        *,
        input: Source | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
        check: bool = False,
        id: str | None = None,
        **options: Unpack[ExecOptions],
    ) -> CompletedProcess:
        """Run a process in the running container, and wait for its end.

        By default, the output is captured. The options ``stdout``, ``stderr``, ``capture``,
        ``stream`` and ``max_output`` change the capture; see ``Client.run``.

        Args:
            args: The command line of the process.
            input: Source of the process's input: bytes, a binary file or a descriptor. Default:
                no input.
            timeout: Seconds that the whole call may take. Afterwards, the process is killed.
                Default: no limit.
            cancel: A token whose ``cancel`` ends the call as ``timeout`` does. Default: none.
            check: Whether to raise ``ProcessFailed`` if the exit code is not 0.
            id: The exec id of the process. Default: a random id.
            **options: Settings of the process and of its output; see ``runtime.ExecOptions``.

        Returns:
            The exit code and the captured output.

        Raises:
            Cancelled: The token was cancelled, or the client was closed. The attributes ``stdout``
                and ``stderr`` have the output that was captured until then.
            DeadlineExceeded: The call took longer than ``timeout``. The error has the output, too.
            ProcessFailed: ``check`` is true, and the exit code is not 0.
            ResourceExhausted: The process wrote more than ``max_output`` bytes to one output, and
                was killed.
            ContainerdError: The process cannot be started; see ``popen``.
        """
        check_types({"check": check, **options})
        outputs, others = split_exec(options)
        what = f"exec of {quoted(args)} in container {self.id}"
        with self.backend.operation(what, timeout, cancel):
            capturing = Capturing(input, terminal=others.get("terminal"), **outputs)
            with Undo(capturing.streams.close) as undo:
                running = self._add_process(undo, args, capturing.streams, id, others).start()
                done = CompletedProcess(*capturing.finish(running))
        if check:
            done.check(f"{args[0]} in container {self.id}")
        return done

    def attach(
        self,
        stdin: Source | None = None,
        stdout: Target | None = None,
        stderr: Target | None = None,
        *,
        exec_id: str = "",
    ) -> Running[Container]:
        """Connect to the streams of a process that another program, or ``leave``, has left running.

        The FIFOs of the process must be on this machine. The output begins with the bytes that no
        client has read yet. For the terminal of this program, see ``runtime.io.attach_terminal``.

        Args:
            stdin: Source of the process's input: bytes, a binary file, a descriptor or ``PIPE``.
                The end of the source ends the input of the process. Default: no input.
            stdout: Target of the process's output: a binary file, a descriptor, a function that
                gets bytes, ``PIPE``, ``DEVNULL`` or ``INHERIT``. Default: ``PIPE``, which the
                caller must read.
            stderr: Target of the process's error output: any target that ``stdout`` accepts, or
                ``STDOUT``. Default: ``PIPE``. With a terminal, the error output is on ``stdout``.
            exec_id: The exec id of the process. Default: the container's first process.

        Returns:
            The process. The returned object is a context manager. The end of the ``with`` block
            closes the streams. The process continues to run, and clients can attach to it again.

        Raises:
            FailedPrecondition: The output goes to a log or nowhere, the process has no input or has
                closed its input, or another client of this package serves the process.
            InvalidArgument: A source or a target cannot be used.
            NotFound: The container has no task or no such process, or the FIFOs do not exist any
                more, for instance because the client that started the process has removed them.
        """
        status = self.backend.tasks.get(self.id, exec_id)
        streams = attach_pipes(status.stdio, stdin, stdout, stderr)
        process = Process(self.backend.tasks, self.id, exec_id, status.pid, streams)
        if not exec_id:
            process = Task(self, status.pid, streams)
        with Undo(streams.close):
            streams.start(process.known(status))
            return Running(process, self, attached=True)

    def _add_process(
        self,
        undo: Undo,
        args: Sequence[str],
        streams: ProcessStreams,
        id: str | None,
        options: ProcessOptions,
    ) -> Running[Container]:
        """Add a process to the task, without starting it.

        If the id is random, the call that deletes the process is added to ``undo`` before the
        process exists. So the process is deleted even if an interrupt arrives right after the
        daemon has created the process.
        """
        name = id or f"exec-{os.urandom(8).hex()}"
        if not id:
            undo.add(Process(self.backend.tasks, self.id, name).delete_quietly)
        return Running(self.task().exec(args, streams, id=name, **options), self)

    @overload
    def logs(
        self,
        *,
        lines: Literal[True],
        timestamps: bool = False,
        since: datetime | float | None = None,
        tail: int | None = None,
        follow: bool = False,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[LogLine]: ...

    @overload
    def logs(
        self,
        *,
        lines: Literal[False] = False,
        timestamps: bool = False,
        since: datetime | float | None = None,
        tail: int | None = None,
        follow: bool = False,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[bytes]: ...

    def logs(
        self,
        *,
        lines: bool = False,
        timestamps: bool = False,
        since: datetime | float | None = None,
        tail: int | None = None,
        follow: bool = False,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[bytes | LogLine]:
        """Read the log of a container that ``Client.run`` has detached, or the task's log file.

        A log file is what ``LogFile`` names. If the container has no task, read the log file to
        which restarted tasks write.

        Args:
            lines: Whether to return an object for each line, which has its stream and time. A line
                longer than 1 MiB comes in pieces.
            timestamps: Whether each line of the bytes begins with the time when it ended, in UTC
                (RFC 3339), and a space. With ``lines``, the log must have times.
            since: Read only what was written since then: a ``datetime`` with a time zone, or how
                many seconds ago. Default: no limit.
            tail: How many lines at the end of the existing log to return. Default: the whole log.
            follow: Whether to wait for more output until the task ends.
            timeout: Seconds after which the iterator ends, even if the task still runs. 0 means: do
                not wait for more output. Default: no limit.
            cancel: A token whose ``cancel`` ends the wait for more output. Default: none.

        Returns:
            An iterator over the bytes of the log, in pieces, or over its lines.

        Raises:
            Cancelled: The token was cancelled. The iterator raises this error.
            FailedPrecondition: The output goes elsewhere or is discarded, or the log is a plain
                file, which cannot do what ``timestamps`` or ``since`` ask for.
            InvalidArgument: ``since``, ``tail`` or ``timeout`` is negative or of the wrong type, or
                ``since`` has no time zone.
            NotFound: The log does not exist on this machine. The iterator raises this error.
            PermissionDenied: This user has no permission to read the log. The iterator raises
                this error.
        """
        query = kept.LogQuery(
            lines=lines,
            timestamps=timestamps,
            since=kept.since_of(since),
            tail=limits.count("tail", tail, 0),
        )
        timeout = limits.seconds("timeout", timeout, may_be_zero=True)
        check_types({"cancel": cancel})
        folder, task = self.labels.get(LOG, ""), None
        uri = self.labels.get(LOG_URI) or kept.last_uri(folder)
        with waiting(f"logs of container {self.id}", timeout, cancel), suppress(NotFound):
            status = self.backend.tasks.get(self.id)
            task, uri = Task(self, status.pid).known(status), status.stdio.stdout

        def is_running() -> bool:
            return task is not None and task.poll() is None

        def waits_for_more() -> bool:
            if cancel is not None:
                cancel.check()
            return is_running()

        waits = waits_for_more if follow else None
        if folder and kept.is_log_of(uri, folder):
            until_end = self._has_terminal() and (follow or not is_running())
            return kept.read_kept_log(
                folder, query, follow=waits, timeout=timeout, until_end=until_end
            )
        if timestamps or query.since:
            raise FailedPrecondition(
                f"container {self.id} has no log with times: only the logger of a container that "
                "run(detach=True) has started without streams= writes times",
                remedy="Leave out timestamps= and since=, or start the container in this way",
            )
        return kept.read_plain_log(watch.log_path(uri), query, follow=waits, timeout=timeout)


class DetachedContainer(Container):
    """A container that ``run`` with ``detach=True`` has started.

    An object of this class is a context manager, which stops and deletes the container at the end
    of the ``with`` block. If the block raises an exception, the processes are killed at once.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        end_block(kind, self._stop_and_delete, self.discard)

    def _stop_and_delete(self) -> None:
        with suppress(NotFound):  # another client may have deleted the container
            self.stop()
            self.delete(force=True)


def list_containers(backend: RuntimeBackend, *filters: str) -> list[Container]:
    """Return the containers that match the filters; see ``Client.containers``."""
    return [Container(backend, record) for record in backend.containers.list(*filters)]


def load_container(backend: RuntimeBackend, id: str) -> Container:
    """Return the container with this id; see ``Client.load_container``."""
    return Container(backend, backend.containers.get(id))


def discard_container(backend: RuntimeBackend, id: str) -> None:
    """Delete the container with this id, if it exists; see ``Container.discard``."""
    try:
        container = load_container(backend, id)
    except NotFound:
        return
    except ContainerdError:
        note_remains(id)
        return
    container.discard()

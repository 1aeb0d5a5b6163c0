"""A container of a daemon: its record, its task, the processes in it."""

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
    """A container as the daemon has it.

    ``info`` is its record when this object was made, or last changed it.
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
        """Save it as the image ``name``, which ``ctr`` reads, too; returns that.

        ``task``: what runs in it, by CRIU, which must be there beside the daemon; with ``exit``
        it ends.  ``image``: the image it was made of.  ``rw``: what it changed in its root
        filesystem.  Raises ``AlreadyExists`` for a name that is taken, ``Unknown`` with the
        runtime's words, ``NotFound``.
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
        """Make the first process, which is not yet running; ``streams`` are closed with it.

        Without ``streams`` it has none.  ``checkpoint`` is what to restore it from, as
        ``checkpoint`` saved it; CRIU does that.
        ``runtime_path`` is a shim to use instead of the container's, ``runtime_options`` are for
        it instead of the container's: a mapping is of runc's (``{"no_pivot_root": True}``).
        Raises ``AlreadyExists``; ``Unknown`` with the runtime's words where it cannot be made.
        """
        with LoggedStep(_LOGGER, "create task %s", self.id), closing_on_failure(streams):
            self._expect_terminal(streams is not None and streams.stdio.terminal)
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
            self._connect(pid)
        return task

    def task(self) -> Task:
        """The task that there is; its streams belong to whoever made it.  Raises ``NotFound``."""
        return Task(self, self.backend.tasks.get(self.id).pid)

    def discard(self) -> None:
        """Kill what runs in the container, and delete it; what is gone already is no error."""
        with suppress(NotFound):
            self.task().delete(force=True)
        with suppress(NotFound):
            self.delete()

    def _root_mounts(self) -> tuple[Mount, ...]:
        """The mounts of its snapshot, with the SELinux label that the spec has for them."""
        if not self.info.snapshot_key:
            return ()
        mounts = self.backend.snapshots(self.info.snapshotter).mounts(self.info.snapshot_key)
        linux = self.known_spec().get("linux")
        label = linux.get("mountLabel") if isinstance(linux, dict) else None
        if not label:
            return mounts
        context = f'context="{label}"'
        return tuple(replace(mount, options=(*mount.options, context)) for mount in mounts)

    def _expect_terminal(self, given: bool) -> None:
        """Raises ``InvalidArgument`` where spec and streams do not both have a terminal.

        The shim's error would only say that there is one console socket too few or too many.
        """
        process = self.known_spec().get("process")
        wanted = isinstance(process, dict) and bool(process.get("terminal"))
        if wanted != given:
            raise InvalidArgument(
                f"the process of container {self.id} has {'a' if wanted else 'no'} terminal, "
                f"its streams have {'one' if given else 'none'}",
                remedy="Give terminal=True to new_container and to Streams, or to neither",
            )

    def _connect(self, pid: int) -> None:
        """Put the container on the networks that its record names."""
        if WANTED_NETWORKS in self.info.extensions:
            backend = self.backend
            networks = network.wanted_of(self.info)
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
        """Run a further command in it, and give it while it runs.

        As ``Client.popen`` for a container; ``options`` as ``Task.exec``.
        """
        if streams is None:
            streams = open_pipes(stdin, stdout, stderr, terminal=options.get("terminal"))
        with Undo(streams.close) as undo:
            running = self._add(undo, args, streams, id, options)
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
        """Run a further command in it to its end.

        As ``Client.run`` for a container; ``options`` as ``Task.exec``.
        """
        outputs, others = split_exec(options)
        capturing = Capturing(input, terminal=others.get("terminal"), **outputs)
        with Undo(capturing.streams.close) as undo:
            running = self._add(undo, args, capturing.streams, id, others).start()
            done = CompletedProcess(*capturing.finish(running, timeout))
        if check:
            done.check(f"{args[0]} in container {self.id}")
        return done

    def _add(
        self,
        undo: Undo,
        args: Sequence[str],
        streams: ProcessStreams,
        id: str | None,
        options: ProcessOptions,
    ) -> Running[Container]:
        """A further process, which does not run yet; ``undo`` is told how to remove it.

        A process with a random id is removed by that id, before it is known to be there: an
        interrupt may come between the daemon's making it and our noting that.
        """
        name = id or f"exec-{os.urandom(8).hex()}"
        if not id:
            undo.add(Process(self.backend.tasks, self.id, name).delete_quietly)
        return Running(self.task().exec(args, streams, id=name, **options), self)

    def logs(
        self, *, tail: int | None = None, follow: bool = False, timeout: float | None = None
    ) -> Iterator[bytes]:
        """What its task has written to a log file, in pieces; the last ``tail`` lines of it.

        With ``follow`` it goes on until the task ends, or for ``timeout`` seconds.  Where there
        is no task, it is the file that the restart monitor writes to.  Raises
        ``FailedPrecondition`` where the output goes elsewhere, ``NotFound``.
        """
        uri, task = self.labels.get(LOG_URI, ""), None
        with suppress(NotFound):
            task = self.task()
            uri = task.status().stdio.stdout

        def runs() -> bool:
            return task is not None and task.poll() is None

        path = watch.log_path(uri)
        return watch.read_log(path, tail=tail, follow=runs if follow else None, timeout=timeout)


def list_containers(backend: RuntimeBackend, *filters: str) -> list[Container]:
    """As ``Client.containers``."""
    return [Container(backend, record) for record in backend.containers.list(*filters)]


def load_container(backend: RuntimeBackend, id: str) -> Container:
    """As ``Client.load_container``."""
    return Container(backend, backend.containers.get(id))

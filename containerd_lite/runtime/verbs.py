"""The verbs of a client for containers and sandboxes."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, overload

from .. import runtime as package
from ..errors import InvalidArgument
from ..undo import Undo

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..images.image import Image
    from ..services._types import AnyValue
    from .container import Container
    from .io.base import ProcessStreams
    from .io.sinks import Target
    from .io.streams import Source
    from .popen import Running
    from .run import CompletedContainer
    from .runtime_backend import RuntimeBackend
    from .sandbox import Sandbox
    from .spec.options import ContainerOptions, RunOptions


class ContainerVerbs(ABC):
    """Base of ``Client``, which says what containers are made with."""

    @property
    @abstractmethod
    def _runtime(self) -> RuntimeBackend:
        """The services and images that containers are made with."""

    def containers(self, *filters: str) -> list[Container]:
        """The namespace's containers, those that match one of ``filters`` if some are given."""
        return package.list_containers(self._runtime, *filters)

    def load_container(self, id: str) -> Container:
        """Raises ``NotFound``."""
        return package.load_container(self._runtime, id)

    def new_container(
        self,
        id: str,
        *,
        image: Image | str | None = None,
        args: Sequence[str] | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Make a container on a snapshot of an image; nothing runs yet.

        ``args`` replaces the image's command and follows its entrypoint; ``options`` are those of
        ``runtime.options.ContainerOptions``.  Without an image it stands on the ``snapshot`` or
        the ``rootfs`` that they name.  Raises ``AlreadyExists``, ``NotFound``,
        ``InvalidArgument``, ``TypeError`` for an option that there is not.
        """
        return package.create_container(self._runtime, id, image, args, options)

    def restore(self, id: str, checkpoint: Image | str, *, rw: bool = True) -> Container:
        """Make a container as it was when ``Container.checkpoint``, or ``ctr``, saved it.

        ``rw``: with what it had changed in its root filesystem.  The image that it was made of
        must be there.  What ran in it, ``new_task(checkpoint=…)`` makes run again.  Raises
        ``AlreadyExists``, ``NotFound`` for what was not saved, ``InvalidArgument``.
        """
        return package.restore_container(self._runtime, id, checkpoint, rw=rw)

    def popen(
        self,
        image: Image | str,
        args: Sequence[str] | None = None,
        *,
        stdin: Source | None = None,
        stdout: Target | None = None,
        stderr: Target | None = None,
        streams: ProcessStreams | None = None,
        id: str | None = None,
        remove: bool = True,
        start: bool = True,
        **options: Unpack[ContainerOptions],
    ) -> Running[Container]:
        """Run a command in a new container, and give it while it runs: use it with ``with``.

        ``stdin`` is nothing unless given, ``stdout`` and ``stderr`` are ``PIPE``s, which must be
        read; ``streams`` are instead of these three (``runtime.io`` has kinds of them).
        ``remove``: the container goes when it is closed.  Without ``start`` it does not run yet,
        until ``Running.start`` is called.  Other arguments and errors as
        ``new_container``; where it cannot be started, nothing is left.
        """
        if streams is None:
            streams = package.open_pipes(stdin, stdout, stderr, terminal=options.get("terminal"))
        with Undo(streams.close) as undo:
            running = self._launch(undo, image, args, streams, id=id, remove=remove, **options)
            return running.start() if start else running

    def _launch(
        self,
        undo: Undo,
        image: Image | str,
        args: Sequence[str] | None,
        streams: ProcessStreams,
        *,
        id: str | None,
        remove: bool,
        **options: Unpack[ContainerOptions],
    ) -> Running[Container]:
        """A new container and its first process, which does not run yet.

        ``undo`` is told how to remove the container.  One with a random id is removed by that id,
        before it is known to be there: an interrupt may come between the daemon's making it and
        our noting that.  One whose id was given may be somebody else's until we have made it.
        """
        name = id or f"run-{os.urandom(8).hex()}"
        if not id:
            undo.add(lambda: self.load_container(name).discard())
        if streams.stdio.terminal:
            options["terminal"] = True
        container = self.new_container(name, image=image, args=args, **options)
        if id:
            undo.add(container.discard)
        return package.Running(container.new_task(streams), container, removes=remove)

    @overload
    def run(
        self,
        image: Image | str,
        args: Sequence[str] | None = None,
        *,
        detach: Literal[True],
        id: str | None = None,
        streams: ProcessStreams | None = None,
        **options: Unpack[RunOptions],
    ) -> Container: ...

    @overload
    def run(
        self,
        image: Image | str,
        args: Sequence[str] | None = None,
        *,
        input: Source | None = None,
        timeout: float | None = None,
        check: bool = False,
        detach: Literal[False] = False,
        remove: bool = True,
        id: str | None = None,
        **options: Unpack[RunOptions],
    ) -> CompletedContainer: ...

    def run(
        self,
        image: Image | str,
        args: Sequence[str] | None = None,
        *,
        input: Source | None = None,
        timeout: float | None = None,
        check: bool = False,
        detach: bool = False,
        remove: bool = True,
        id: str | None = None,
        streams: ProcessStreams | None = None,
        **options: Unpack[RunOptions],
    ) -> Container | CompletedContainer:
        """Run a command in a new container to its end, and remove the container.

        ``input``, bytes or a binary file, goes to its stdin.  What it writes is captured, up to
        ``max_output`` bytes a stream, unless ``stdout`` or ``stderr``, a binary file, a
        descriptor or a function of bytes, takes it as it comes; ``stream`` is called with the
        name of the stream and bytes instead; ``capture=False`` shows it as this process's own.
        After ``timeout`` seconds it is killed and ``DeadlineExceeded`` raised; with ``check`` an
        exit code that is not 0 is ``ProcessFailed``.  Without ``remove`` the container stays.

        With ``detach`` the container is returned as it runs, and stays; its output goes nowhere
        unless ``streams`` say so (``runtime.io.LogFile``).

        Other arguments and errors as ``new_container``; whatever happens, nothing is left.
        """
        outputs, others = package.split_run(options)
        if detach and (outputs or input is not None or timeout is not None or check):
            raise InvalidArgument(
                "what is detached has no input, no output and no end here",
                remedy="Leave that out, give streams=, or use popen",
            )
        if detach:
            streams = package.NullIO() if streams is None else streams
            with Undo(streams.close) as undo:
                running = self._launch(undo, image, args, streams, id=id, remove=remove, **others)
                return running.start().leave()
        capturing = package.Capturing(input, terminal=others.get("terminal"), **outputs)
        with Undo(capturing.streams.close) as undo:
            running = self._launch(
                undo, image, args, capturing.streams, id=id, remove=remove, **others
            )
            running.start()
            if not remove:
                undo.clear()  # it stays, however its process ends
            done = package.CompletedContainer(*capturing.finish(running, timeout))
        if check:
            done.check(f"container {running.id}")
        return done

    # ---- sandboxes -------------------------------------------------------------------------

    def new_sandbox(
        self,
        id: str,
        *,
        runtime: str | None = None,
        runtime_options: Mapping[str, object] | AnyValue | None = None,
        spec: Mapping[str, object] | None = None,
        labels: Mapping[str, str] | None = None,
        extensions: Mapping[str, AnyValue] | None = None,
        sandboxer: str = "shim",
    ) -> Sandbox:
        """Make a sandbox's record; ``Sandbox.start`` runs it.  Since containerd 1.7.

        ``sandboxer`` names the controller that will, since 2.0: ``shim`` leaves it to the
        runtime's shim, ``podsandbox`` is the CRI's own.  ``spec`` is for the runtime.  Raises
        ``AlreadyExists``, ``InvalidArgument``, ``Unimplemented``.
        """
        return package.create_sandbox(
            self._runtime,
            id,
            runtime=runtime,
            runtime_options=runtime_options,
            spec=spec,
            labels=labels,
            extensions=extensions,
            sandboxer=sandboxer,
            new_container=self.new_container,
        )

    def load_sandbox(self, id: str) -> Sandbox:
        """The sandbox that there is.  Raises ``NotFound``, ``Unimplemented``."""
        return package.load_sandbox(self._runtime, id, self.new_container)

"""The methods of ``Client`` for containers and sandboxes."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar, overload

from .. import limits
from .. import runtime as package
from ..arguments import check_types
from ..errors import InvalidArgument
from ..limits import refused
from ..printable import quoted
from ..undo import Undo
from .option_methods import with_option_help

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..images.image import Image
    from ..images.pull.needed import WhenToPull
    from ..images.signatures.policies import PolicyLike
    from ..operation import CancelToken
    from ..services._types import AnyValue
    from ..services.tasks import Exit
    from .container import Container, DetachedContainer
    from .io.base import ProcessStreams
    from .io.sinks import Target
    from .io.streams import Source
    from .popen import Running
    from .run import CompletedContainer
    from .runtime_backend import RuntimeBackend
    from .sandbox import Sandbox
    from .spec.options import ContainerOptions, RunOptions
    from .summary import ContainerSummary

_Container = TypeVar("_Container", bound="Container")


class ContainerVerbs(ABC):
    """The base class that gives ``Client`` its methods for containers and sandboxes."""

    @property
    @abstractmethod
    def _runtime(self) -> RuntimeBackend:
        """The services and images that the methods use."""

    def containers(self, *filters: str) -> list[Container]:
        """List the namespace's containers.

        Args:
            *filters: Filters of containerd (``id==web``, ``labels."app"==db``). A container is
                listed if it matches one of the filters. Default: all containers are listed.

        Raises:
            InvalidArgument: A filter is not valid.
        """
        return package.list_containers(self._runtime, *filters)

    def ps(self, *filters: str, all: bool = False) -> list[ContainerSummary]:
        """List containers with what they do, newest first. The daemon gets two requests.

        Args:
            *filters: As for ``containers``.
            all: Whether to list containers that do not run, too.

        Raises:
            InvalidArgument: A filter is not valid.
        """
        return package.list_summaries(self._runtime, *filters, all=all)

    def wait_any(
        self,
        containers: Iterable[_Container],
        timeout: float | None = None,
        *,
        cancel: CancelToken | None = None,
    ) -> tuple[_Container, Exit]:
        """Wait until the task of one of several containers has ended.

        Args:
            containers: The containers. Each must have a task.
            timeout: Seconds to wait. 0 means: do not wait. Default: no limit.
            cancel: A token whose ``cancel`` ends the wait. Default: none.

        Returns:
            The container that ended first, its exit code and the time of its end.

        Raises:
            Cancelled: The token was cancelled.
            DeadlineExceeded: No task has ended within ``timeout``.
            InvalidArgument: ``containers`` is empty.
            NotFound: A container has no task.
        """
        return package.wait_any(_list_of(containers), timeout, cancel)

    def wait_all(
        self,
        containers: Iterable[_Container],
        timeout: float | None = None,
        *,
        cancel: CancelToken | None = None,
    ) -> dict[_Container, Exit]:
        """Wait until the tasks of all containers have ended.

        Args:
            containers: The containers. Each must have a task.
            timeout: Seconds for the whole wait. 0 means: do not wait. Default: no limit.
            cancel: As for ``wait_any``.

        Returns:
            For each container, its exit code and the time of its end.

        Raises:
            Cancelled: The token was cancelled.
            DeadlineExceeded: A task has not ended within ``timeout``.
            InvalidArgument: ``containers`` is empty.
            NotFound: A container has no task.
        """
        return package.wait_all(_list_of(containers), timeout, cancel)

    def load_container(self, id: str) -> Container:
        """Return the container with this id.

        Raises:
            NotFound: The container does not exist.
        """
        return package.load_container(self._runtime, id)

    @with_option_help
    def new_container(
        self,
        id: str,
        *,
        image: Image | str | None = None,
        args: Sequence[str] | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Create a container, without a task.

        Args:
            id: The container's id. It has up to 76 characters: letters, digits, and single ``.``,
                ``_`` or ``-`` between letters or digits.
            image: The image, or the name of the image. The top snapshot of the image is the
                parent of the container's snapshot. Default: no image; the option ``snapshot`` or
                ``rootfs`` names the root filesystem.
            args: The command, which is appended to the image's entrypoint. Default: the image's
                own command.
            **options: Settings of the container; see ``runtime.ContainerOptions``.

        Returns:
            The container. ``Container.new_task`` creates its task.

        Raises:
            AlreadyExists: A container or a snapshot with this id exists.
            InvalidArgument: An argument has an invalid value.
            NotFound: The image, the snapshot, a user or a group does not exist.
            Unimplemented: The daemon or the snapshotter does not support an option.
            TypeError: An option is unknown.
        """
        return package.create_container(self._runtime, id, image, args, options)

    def restore(
        self, id: str, checkpoint: Image | str, *, rw: bool = True, trust: bool = False
    ) -> Container:
        """Create a container from a checkpoint that ``Container.checkpoint`` or ``ctr`` made.

        The image of the saved container must exist in the namespace. This method does not restore
        the processes. To restore the processes, give the checkpoint to ``Container.new_task``.

        The runtime spec, the name of the runtime and the options of the runtime come from the
        checkpoint image. Its author could become root on the daemon's machine, for instance with a
        hook or a mount. So without ``trust``, the runtime must be the default runtime, and have no
        options. The spec must give the container no more rights than the default spec. ``ctr`` does
        not check this.

        Args:
            id: The id of the new container.
            checkpoint: The checkpoint image, or the name of the checkpoint image.
            rw: Whether to restore the changes to the root filesystem.
            trust: Whether to accept every spec, runtime and option of the runtime. ``True`` gives
                the author of the image the rights of root on the daemon's machine.

        Returns:
            The new container.

        Raises:
            AlreadyExists: A container or a snapshot with this id exists.
            FailedPrecondition: The checkpoint gives the container more rights than the default, and
                ``trust`` is false.
            InvalidArgument: The image is not a checkpoint, or the id is not valid.
            NotFound: The checkpoint lacks a part, or the checkpoint image or the container's image
                does not exist.
        """
        return package.restore_container(self._runtime, id, checkpoint, rw=rw, trust=trust)

    @with_option_help
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
        pull: WhenToPull = "never",
        policy: PolicyLike | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Running[Container]:
        """Start a process in a new container, and return without waiting for its end.

        If this method fails, it deletes the container.

        Args:
            image: The image, or the name of the image.
            args: The command, which is appended to the image's entrypoint. Default: the image's
                own command.
            stdin: Source of the process's input: bytes, a binary file, a descriptor or ``PIPE``.
                Default: no input.
            stdout: Target of the process's output: a binary file, a descriptor, a function that
                gets bytes, ``PIPE``, ``DEVNULL`` or ``INHERIT``. Default: ``PIPE``, which the
                caller must read.
            stderr: Target of the process's error output: any target that ``stdout`` accepts, or
                ``STDOUT``. Default: ``PIPE``. With a terminal, the error output is on ``stdout``.
            streams: Streams to use instead of ``stdin``, ``stdout`` and ``stderr``, such as an
                object of ``runtime.io``. Default: no other streams.
            id: The container's id. Default: a random id.
            remove: Whether to remove the container when the returned object is closed.
            start: Whether to start the process. If false, call ``Running.start`` later.
            pull: When to pull the image; see ``run``.
            policy: The policy that a pulled image must meet; see ``run``.
            timeout: Seconds that this call may take: the pull of the image and the start. The
                process itself has no limit. Default: no limit.
            cancel: A token whose ``cancel`` ends this call, but not the started process. Default:
                none.
            **options: Settings of the container; see ``runtime.ContainerOptions``.

        Returns:
            The process. The returned object is a context manager, which kills and deletes the
            process at the end of the ``with`` block. If ``remove`` is true, the context manager
            also removes the container.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: This call took longer than ``timeout``.
            FailedPrecondition: The command is not executable.
            NotFound: The command does not exist in the container.
            Unknown: The runtime cannot start the process. The message comes from the runtime.
            ContainerdError: The container cannot be created; see ``new_container``.
        """
        check_types({"streams": streams, "start": start, "remove": remove, **options})
        if streams is None:
            streams = package.open_pipes(stdin, stdout, stderr, terminal=options.get("terminal"))
        what = f"start of {quoted(image)}"
        with (
            Undo(streams.close),
            self._runtime.operation(what, timeout, cancel),
            Undo() as undo,
        ):
            running = self._launch(
                undo,
                image,
                args,
                streams,
                id=id,
                remove=remove,
                pull=pull,
                policy=policy,
                **options,
            )
            return running.start() if start else running

    def _launch(
        self,
        undo: Undo,
        image: Image | str,
        args: Sequence[str] | None,
        streams: ProcessStreams | None,
        *,
        id: str | None,
        remove: bool,
        pull: WhenToPull,
        policy: PolicyLike | None,
        detach: bool = False,
        **options: Unpack[ContainerOptions],
    ) -> Running[Container]:
        """Create a container and its task, without starting the task. Pull the image before.

        If ``detach`` is true and there are no streams, the output goes to a log that is kept.

        The call that deletes the container is added to ``undo``. If the id is random, the call is
        added before the container exists. So the container is deleted even if an interrupt arrives
        right after the daemon has created the container. If the caller has chosen the id, an older
        container with this id may belong to another client. Therefore the call is added only after
        the container has been created.
        """
        options["mounts"] = self._runtime.checked_paths(options.get("mounts"), streams)
        if pull != "never" or policy is not None:
            image = self._runtime.needed_image(image, pull, policy, options.get("snapshotter"))
        name = id or f"run-{os.urandom(8).hex()}"
        if detach or streams is None:
            streams = package.detached_streams(self._runtime, name, streams, options, undo)
        if not id:
            undo.add(lambda: package.discard_container(self._runtime, name))
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
        timeout: float | None = None,
        cancel: CancelToken | None = None,
        id: str | None = None,
        streams: ProcessStreams | None = None,
        pull: WhenToPull = "never",
        policy: PolicyLike | None = None,
        **options: Unpack[RunOptions],
    ) -> DetachedContainer: ...

    @overload
    def run(
        self,
        image: Image | str,
        args: Sequence[str] | None = None,
        *,
        input: Source | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
        check: bool = False,
        detach: Literal[False] = False,
        remove: bool = True,
        id: str | None = None,
        pull: WhenToPull = "never",
        policy: PolicyLike | None = None,
        **options: Unpack[RunOptions],
    ) -> CompletedContainer: ...

    @with_option_help
    def run(
        self,
        image: Image | str,
        args: Sequence[str] | None = None,
        *,
        input: Source | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
        check: bool = False,
        detach: bool = False,
        remove: bool = True,
        id: str | None = None,
        streams: ProcessStreams | None = None,
        pull: WhenToPull = "never",
        policy: PolicyLike | None = None,
        **options: Unpack[RunOptions],
    ) -> DetachedContainer | CompletedContainer:
        """Run a process in a new container, wait for its end, and remove the container.

        The output is captured, up to ``max_output`` bytes of each stream (default: 64 MiB). The
        following options send the output to other places:

        - ``stdout`` and ``stderr`` are the targets of the two streams: a binary file, a
          descriptor, or a function that gets bytes.
        - ``stream`` is a function that gets the name ``"stdout"`` or ``"stderr"``, and bytes of
          the stream as they arrive.
        - ``capture=False`` sends the output to this Python process's own stdout and stderr.

        If ``detach`` is true, this method does not wait for the end of the process, and does not
        remove the container. The output goes to a log, which ``Container.logs`` reads and
        ``Container.delete`` removes:

        - If this package is in a folder, a process of this package writes the log, with the time
          of each line. It has five files of up to 10 MiB; the oldest output is dropped. The
          process takes about 10 MiB of memory, and ends with the container's.
        - If this package is in an archive, or the daemon does not see its folder, the daemon's
          shim writes a plain file, whose size has no limit. A process with a terminal then has
          no log.
        - If the daemon sees none of the files of this process, because one of them is in another
          container or on another machine, or if the runtime is not runc, the output is discarded.

        The log is in the folder ``logs_dir`` of the client, and the label ``containerd-lite.log``
        has its path.

        If this method fails, it removes the container, unless the process has started and
        ``remove`` is false.

        Args:
            image: The image, or the name of the image.
            args: The command, which is appended to the image's entrypoint. Default: the image's
                own command.
            input: Source of the process's input: bytes, a binary file or a descriptor. Default:
                no input.
            timeout: Seconds that the whole call may take, with the pull of the image. Afterwards,
                the process is killed and the container is removed. With ``detach``, the call ends
                when the process runs, and the process has no limit. Default: no limit.
            cancel: A token whose ``cancel`` ends the call as ``timeout`` does. Default: none.
            check: Whether to raise ``ProcessFailed`` if the exit code is not 0.
            detach: Whether to return the container as soon as its process runs.
            remove: Whether to remove the container after the end of its process. Ignored with
                ``detach``.
            id: The container's id. Default: a random id.
            streams: The streams of a detached process, such as ``LogFile``. Requires ``detach``.
                ``NullIO()`` discards the output. Default: no input, and the log is kept as above.
            pull: When to pull the image. ``"never"``: the image must exist. ``"missing"``: if no
                image has the name. ``"always"``: before each run. A pull fetches and unpacks the
                image as ``pull`` does, before the container is created.
            policy: The policy that a pulled image must meet, or the path of its file. It applies
                together with the policy of the client. An image that is not pulled is not verified.
            **options: Settings of the container and of its output; see ``runtime.RunOptions``.

        Returns:
            The exit code and the captured output. If ``detach`` is true, the container; it can be
            used in a ``with`` statement, which stops and deletes it at the end.

        Raises:
            Cancelled: The token was cancelled, or the client was closed. The attributes ``stdout``
                and ``stderr`` have the output that was captured until then.
            DeadlineExceeded: The call took longer than ``timeout``. The error has the output, too.
            InvalidArgument: An argument cannot be combined with ``detach``, or requires it.
            FailedPrecondition: The log cannot be written, or the command is not executable.
            ProcessFailed: ``check`` is true, and the exit code is not 0.
            ResourceExhausted: The process wrote more than ``max_output`` bytes to one output, and
                was killed.
            NotFound: The command does not exist in the container.
            PermissionDenied: The folder for the log cannot be made.
            Unknown: The runtime cannot start the process. The message comes from the runtime.
            ContainerdError: The image cannot be pulled, or the container cannot be created; see
                ``pull`` and ``new_container``.
        """
        check_types({"streams": streams, "check": check, "detach": detach, "remove": remove})
        check_types(options)
        timeout = limits.seconds("timeout", timeout)
        outputs, others = package.split_run(options)
        if detach and (outputs or input is not None or check):
            raise InvalidArgument(
                "detach=True excludes input=, check= and the options for the output",
                remedy="Leave out these arguments; for the output, give streams= or use popen",
            )
        if not detach:
            _check_attached(streams, restarts=remove and bool(others.get("restart")))

        def launch(undo: Undo, streams: ProcessStreams | None) -> Running[Container]:
            return self._launch(
                undo,
                image,
                args,
                streams,
                id=id,
                remove=remove,
                pull=pull,
                policy=policy,
                detach=detach,
                **others,
            )

        with self._runtime.operation(f"run of {quoted(image)}", timeout, cancel):
            if detach:
                with package.closing_on_failure(streams) as undo:
                    running = launch(undo, streams).start()
                    container = running.leave()
                    container.set_labels(package.started_label(running.pid))
                    return package.DetachedContainer(container.backend, container.info)
            capturing = package.Capturing(input, terminal=others.get("terminal"), **outputs)
            with Undo(capturing.streams.close) as undo:
                running = launch(undo, capturing.streams).start()
                if not remove:
                    undo.clear()  # from here on, the container is not removed after an error
                done = package.CompletedContainer(*capturing.finish(running))
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
        """Create the record of a sandbox. Sandboxes require containerd 1.7 or later.

        Args:
            id: The sandbox's id. It has the same form as a container's id.
            runtime: The name of the runtime. Default: the client's default runtime, else the
                namespace's, else runc.
            runtime_options: Options of the runtime. A mapping sets fields of runc's options.
                Default: none.
            spec: The runtime spec of the sandbox. Default: an empty spec.
            labels: Labels of the record. Default: none.
            extensions: Extensions of the record, by name. Default: none.
            sandboxer: The controller that runs the sandbox: ``shim`` (the runtime's shim) or
                ``podsandbox`` (the CRI plugin's controller). containerd before 2.0 ignores this
                argument.

        Returns:
            The sandbox. ``Sandbox.start`` starts the sandbox.

        Raises:
            AlreadyExists: A sandbox with this id exists.
            InvalidArgument: An argument has an invalid value.
            Unimplemented: The daemon does not support sandboxes.
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
        """Return the sandbox with this id.

        Raises:
            NotFound: The sandbox does not exist.
            Unimplemented: The daemon does not support sandboxes.
        """
        return package.load_sandbox(self._runtime, id, self.new_container)


def _list_of(containers: Iterable[_Container]) -> list[_Container]:
    """Return the containers that ``wait_any`` or ``wait_all`` is to wait for."""
    found = list(containers) if isinstance(containers, Iterable) else None
    if found is None or not all(isinstance(each, package.Container) for each in found):
        raise refused("containers", containers, "a list of containers")
    return found


def _check_attached(streams: ProcessStreams | None, *, restarts: bool) -> None:
    """Refuse arguments of ``run`` that only a detached process can have."""
    if streams is not None:
        raise InvalidArgument(
            "streams= requires detach=True",
            remedy="Use popen, which takes streams, or pass detach=True",
        )
    if restarts:
        raise InvalidArgument(
            "restart= requires detach=True, because run removes the container at its end",
            remedy="Pass detach=True, or remove=False to keep the container",
        )

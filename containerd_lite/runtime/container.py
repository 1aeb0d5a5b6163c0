"""A container: its record, its root filesystem, its task.

What lives here: looking at one, changing its record, removing it.  What may not: making one, which
``containers`` does; what runs in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import ContainerdError, FailedPrecondition, InvalidArgument, NotFound
from ..images.image import Image, ImageServices
from ..images.names import find
from ..oci.document import Document
from ..services._types import AnyValue, runtime_spec
from ..services.containers import ContainerRecord, ContainerService
from ..services.snapshots import FindSnapshots
from ..services.tasks import TaskService
from .labels import NETWORKS, WANTED_NETWORKS
from .options import split_exec
from .restart import LOG_URI, check_monitor, restart_labels

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..oci.descriptor import Descriptor
    from ..services.diff import DiffService
    from ..services.introspection import IntrospectionService
    from .io import ProcessStreams, Source, Target
    from .options import ExecOptions, ProcessOptions
    from .popen import Running
    from .run import CompletedProcess
    from .task import Task
    from .users import User

#: containerd's pkg/identifiers.
_ID = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_MAX_ID = 76
#: Of a runtime spec; what the daemon can store is less (bytes).
_MAX_SPEC = 16 << 20
_RUNC_OPTIONS = "containerd.runc.v1.Options"


@dataclass(frozen=True)
class Services:
    """What containers are made of: the services of one namespace."""

    namespace: str
    containers: ContainerService
    snapshots: FindSnapshots
    tasks: TaskService
    differ: DiffService
    introspection: Callable[[], IntrospectionService]
    images: ImageServices

    def image(self, name: str) -> Image:
        """As ``Client.get_image``."""
        return Image(self.images, find(self.images.names, name))


def check_id(id: str) -> str:
    """Returns ``id`` if containerd takes it.  Raises ``InvalidArgument``."""
    if len(id) > _MAX_ID or not _ID.fullmatch(id):
        raise InvalidArgument(
            f"{id[:100]!r} cannot be an id",
            remedy=f"Use up to {_MAX_ID} letters and digits, with single . _ - between them",
        )
    return id


class Container:
    """A container as the daemon has it; ``info`` is its record when this object was made, or last
    changed it."""

    def __init__(self, services: Services, info: ContainerRecord) -> None:
        self.services = services
        self.info = info

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def labels(self) -> dict[str, str]:
        return self.info.labels

    @property
    def extensions(self) -> dict[str, AnyValue]:
        return self.info.extensions

    def reload(self) -> Container:
        """Ask the daemon for the record again; returns this object.  Raises ``NotFound``."""
        self.info = self.services.containers.get(self.id)
        return self

    def spec(self) -> dict[str, object]:
        """The runtime spec, anew each time.  Raises ``NotFound`` for a container without one."""
        if self.info.spec is None:
            raise NotFound(f"container {self.id} has no spec")
        what = f"the spec of container {self.id}"
        return dict(Document.parse(self.info.spec.value, what, limit=_MAX_SPEC).fields)

    def image(self) -> Image:
        """The image that it was made of, as its name stands for now.  Raises ``NotFound``."""
        if not self.info.image:
            raise NotFound(f"container {self.id} was made of no image")
        return self.services.image(self.info.image)

    # ---- the record ------------------------------------------------------------------------

    def set_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Set these and leave the others, an empty value removes one; returns all there are."""
        given = {key: value for key, value in labels.items() if value}
        record = replace(self.info, labels=given)
        return self._update(record, [f"labels.{key}" for key in labels]).labels

    def update(
        self,
        *,
        spec: Mapping[str, object] | None = None,
        image: str | None = None,
        extensions: Mapping[str, AnyValue] | None = None,
    ) -> Container:
        """Change what is given of the record; returns this object.

        A new spec is for tasks that are made from now on; ``Task.update`` changes one that runs.
        """
        record, fields = self.info, list[str]()
        if spec is not None:
            record = replace(record, spec=runtime_spec(spec))
            fields.append("spec")
        if image is not None:
            record = replace(record, image=image)
            fields.append("image")
        for name, value in (extensions or {}).items():
            record = replace(record, extensions={**record.extensions, name: value})
            fields.append(f"extensions.{name}")
        self._update(record, fields)
        return self

    def set_restart(self, policy: str, log: str = "") -> None:
        """Have the daemon start it again and again, or with ``no`` no more.

        Policies and errors as ``new_container(restart=…)``.
        """
        if policy != "no":
            check_monitor(self.services.introspection(), policy)
        self.set_labels({**restart_labels("no"), **restart_labels(policy, log)})

    def _update(self, record: ContainerRecord, fields: Sequence[str]) -> ContainerRecord:
        if fields:
            self.info = self.services.containers.update(record, fields)
        return self.info

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

    # ---- what runs -------------------------------------------------------------------------

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
        from .task import create_task

        options = runtime_options_of(runtime_options)
        return create_task(self, streams, checkpoint, runtime_path, options)

    def task(self) -> Task:
        """The task that there is; its streams are whoever made it's.  Raises ``NotFound``."""
        from .task import Task

        return Task(self, self.services.tasks.get(self.id).pid)

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
    ) -> Running:
        """Run a further command in it, and give it while it runs.

        As ``Client.popen`` for a container; ``options`` as ``Task.exec``.
        """
        from .popen import Running, open_pipes

        if streams is None:
            streams = open_pipes(stdin, stdout, stderr, terminal=options.get("terminal"))
        with self._process_or_nothing(id) as name:
            try:
                task = self.task()
            except BaseException:
                streams.close()
                raise
            running = Running(task.exec(args, streams, id=name, **options), self)
            return running.start() if start else running

    @contextmanager
    def _process_or_nothing(self, given: str | None) -> Iterator[str]:
        """The id of a process that is added in the block, of which no interrupt leaves anything.

        As ``Client.popen`` sees to that for containers: where the id was not given.
        """
        from .process import Process

        name = given or f"exec-{os.urandom(8).hex()}"
        try:
            yield name
        except ContainerdError:
            raise
        except BaseException:
            if not given:
                Process(self.services.tasks, self.id, name).delete_quietly()
            raise

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
        from .run import Capturing, CompletedProcess

        outputs, others = split_exec(options)
        capturing = Capturing(input, terminal=others.get("terminal"), **outputs)
        with self._process_or_nothing(id) as name:
            running = self.popen(args, streams=capturing.streams, id=name, **others)
            done = CompletedProcess(*capturing.finish(running, timeout))
        if check:
            done.check(f"{args[0]} in container {self.id}")
        return done

    def logs(
        self, *, tail: int | None = None, follow: bool = False, timeout: float | None = None
    ) -> Iterator[bytes]:
        """What its task has written to a log file, in pieces; the last ``tail`` lines of it.

        With ``follow`` it goes on until the task ends, or for ``timeout`` seconds.  Where there
        is no task, it is the file that the restart monitor writes to.  Raises
        ``FailedPrecondition`` where the output goes elsewhere, ``NotFound``.
        """
        from .logs import log_path, read_log

        uri, task = self.labels.get(LOG_URI, ""), None
        with suppress(NotFound):
            task = self.task()
            uri = task.status().stdio.stdout

        def runs() -> bool:
            return task is not None and task.poll() is None

        return read_log(log_path(uri), tail=tail, follow=runs if follow else None, timeout=timeout)

    def find_user(self, user: str, groups: Sequence[str] = ()) -> User:
        """Who a user of the container is now, by name or number.

        Names are looked up in its image and in what it has changed since, without a mount here.
        Raises ``NotFound``, ``InvalidArgument``.
        """
        from .image_users import SnapshotUsers

        info, services = self.info, self.services
        image = None
        with suppress(NotFound):
            image = self.image()
        snapshots = services.snapshots(info.snapshotter)
        store, keeping = services.images.store, services.images.keeping()
        key = info.snapshot_key
        users = SnapshotUsers(snapshots, services.differ, store, key, keeping, image)
        return users.find(user, groups)

    def disconnect(self) -> None:
        """Take it off the networks that its record names, as deleting its task does.

        Raises what plugins say; those that failed stay in the record.
        """
        if self.info.extensions.keys() & (NETWORKS, WANTED_NETWORKS):
            from .attachment import disconnect

            disconnect(self.services.containers, self.id)

    # ---- the end ---------------------------------------------------------------------------

    def delete(self, *, snapshot: bool = True) -> None:
        """Remove the root filesystem, unless it is to stay, and the record.

        Raises ``FailedPrecondition`` while there is a task, ``NotFound``.
        """
        with suppress(NotFound):
            status = self.services.tasks.get(self.id)
            raise FailedPrecondition(
                f"container {self.id} has a task, which is {status.state}",
                remedy="Delete the task first, with force=True if it runs",
            )
        self.disconnect()
        self.remove(snapshot=snapshot)

    def remove(self, *, snapshot: bool = True) -> None:
        """As ``delete``, of one whose task the caller has deleted."""
        if snapshot and self.info.snapshot_key:
            with suppress(NotFound):
                self.services.snapshots(self.info.snapshotter).remove(self.info.snapshot_key)
        self.services.containers.delete(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Container) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[object, ...]:
        return self.services.containers.identity, self.id

    def __repr__(self) -> str:
        return f"<Container {self.id}>"


def runtime_options_of(options: Mapping[str, object] | AnyValue | None) -> AnyValue | None:
    """What the runtime is told: a mapping is of runc's options.  Raises ``InvalidArgument``."""
    if options is None or isinstance(options, AnyValue):
        return options
    return AnyValue.of(_RUNC_OPTIONS, options)

"""A container's record in the daemon, and what can be done without running anything in it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..debug import LoggedStep
from ..errors import FailedPrecondition, InvalidArgument, NotFound
from ..lazy import lazy_pattern
from ..oci.document import Document
from ..records import replace
from ..services._types import AnyValue, runtime_spec
from ..services.containers import ContainerRecord
from . import network, users
from .labels import NETWORKS, WANTED_NETWORKS
from .restart import check_monitor, restart_labels
from .runtime_backend import RuntimeBackend

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..images.image import Image
    from .users.users import User

_LOGGER = logging.getLogger(__package__)

#: containerd's pkg/identifiers.
_ID = lazy_pattern(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_MAX_ID = 76
#: Bytes of a runtime spec that are parsed; the daemon itself stores less.
_MAX_SPEC = 16 << 20
_RUNC_OPTIONS = "containerd.runc.v1.Options"


def check_id(id: str) -> str:
    """Returns ``id`` if containerd takes it.  Raises ``InvalidArgument``."""
    if len(id) > _MAX_ID or not _ID.fullmatch(id):
        raise InvalidArgument(
            f"{id[:100]!r} cannot be an id",
            remedy=f"Use up to {_MAX_ID} letters and digits, with single . _ - between them",
        )
    return id


def runtime_options_of(options: Mapping[str, object] | AnyValue | None) -> AnyValue | None:
    """Options for the runtime; a mapping is of runc's.  Raises ``InvalidArgument``."""
    if options is None or isinstance(options, AnyValue):
        return options
    return AnyValue.of(_RUNC_OPTIONS, options)


def checkpoint_options(options: Mapping[str, object]) -> AnyValue:
    """The options of runc for a checkpoint.  Raises ``InvalidArgument``."""
    return AnyValue.of("containerd.runc.v1.CheckpointOptions", options)


class StoredContainer:
    """A container by its record.

    ``info`` is the record as it was when this object was made, or last changed it.
    """

    def __init__(
        self,
        backend: RuntimeBackend,
        info: ContainerRecord,
        spec: Mapping[str, object] | None = None,
    ) -> None:
        """``spec``: the record's, where the caller has it already and nobody changes it."""
        self.backend = backend
        self.info = info
        self._known_spec = spec

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def labels(self) -> dict[str, str]:
        return self.info.labels

    @property
    def extensions(self) -> dict[str, AnyValue]:
        return self.info.extensions

    def reload(self) -> Self:
        """Ask the daemon for the record again; returns this object.  Raises ``NotFound``."""
        self.info = self.backend.containers.get(self.id)
        self._known_spec = None
        return self

    def spec(self) -> dict[str, object]:
        """The runtime spec, anew each time.  Raises ``NotFound`` for a container without one."""
        if self.info.spec is None:
            raise NotFound(f"container {self.id} has no spec")
        what = f"the spec of container {self.id}"
        return dict(Document.parse(self.info.spec.value, what, limit=_MAX_SPEC).fields)

    def known_spec(self) -> Mapping[str, object]:
        """The runtime spec to look at, which must not be changed; empty if there is none."""
        if self._known_spec is None:
            self._known_spec = {} if self.info.spec is None else self.spec()
        return self._known_spec

    def image(self) -> Image:
        """The image that the container was made of, as its name stands for now.

        Raises ``NotFound``.
        """
        if not self.info.image:
            raise NotFound(f"container {self.id} was made of no image")
        return self.backend.image(self.info.image)

    def find_user(self, user: str, groups: Sequence[str] = ()) -> User:
        """The ids of a user of the container, by name or number.

        Names are looked up in its image and in what it has changed since, without a mount here.
        Raises ``NotFound``, ``InvalidArgument``.
        """
        image = None
        with suppress(NotFound):
            image = self.image()
        return users.SnapshotUsers(
            snapshots=self.backend.snapshots(self.info.snapshotter),
            differ=self.backend.differ,
            store=self.backend.images.store,
            key=self.info.snapshot_key,
            keeping=self.backend.images.keeping(),
            image=image,
        ).find(user, groups)

    # ---- changing the record ---------------------------------------------------------------

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
    ) -> Self:
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
        """Have the daemon's restart monitor keep the container running; ``no`` ends that.

        Policies and errors as ``new_container(restart=…)``.
        """
        if policy != "no":
            check_monitor(self.backend.introspection, policy)
        self.set_labels({**restart_labels("no"), **restart_labels(policy, log)})

    def _update(self, record: ContainerRecord, fields: Sequence[str]) -> ContainerRecord:
        if fields:
            self.info = self.backend.containers.update(record, fields)
            self._known_spec = None
        return self.info

    def disconnect(self) -> None:
        """Take the container off the networks that its record names, as deleting its task does.

        Raises what plugins say; those that failed stay in the record.
        """
        if self.info.extensions.keys() & (NETWORKS, WANTED_NETWORKS):
            network.disconnect(self.backend.containers, self.id)

    # ---- removing it -----------------------------------------------------------------------

    def delete(self, *, snapshot: bool = True) -> None:
        """Remove the root filesystem, unless it is to stay, and the record.

        Raises ``FailedPrecondition`` while there is a task, ``NotFound``.
        """
        with suppress(NotFound):
            status = self.backend.tasks.get(self.id)
            raise FailedPrecondition(
                f"container {self.id} has a task, which is {status.state}",
                remedy="Delete the task first, with force=True if it runs",
            )
        self.disconnect()
        self.remove(snapshot=snapshot)

    def remove(self, *, snapshot: bool = True) -> None:
        """As ``delete``, for a caller that has deleted the task."""
        with LoggedStep(_LOGGER, "delete container %s", self.id):
            if snapshot and self.info.snapshot_key:
                with suppress(NotFound):
                    self.backend.snapshots(self.info.snapshotter).remove(self.info.snapshot_key)
            self.backend.containers.delete(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredContainer) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[object, ...]:
        return self.backend.containers.identity, self.id

    def __repr__(self) -> str:
        return f"<Container {self.id}>"

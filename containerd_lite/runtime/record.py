"""A container's record in the daemon, and the methods of containers that need no task."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from ..arguments import check_types
from ..debug import LoggedStep
from ..errors import InvalidArgument, NotFound
from ..lazy import lazy_pattern
from ..oci.document import Document
from ..printable import printable, quoted
from ..records import replace
from ..services._types import AnyValue, runtime_spec
from ..services.containers import ContainerRecord
from . import kept, network, users
from .labels import LOG, NETWORKS, WANTED_NETWORKS
from .restart import check_monitor, restart_labels
from .runtime_backend import RuntimeBackend

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..images.image import Image
    from ..oci.spec.runtime_spec import RuntimeSpec
    from .network import NetworkFiles
    from .users.users import User

_LOGGER = logging.getLogger(__package__)

#: Pattern and maximum length of ids (containerd's pkg/identifiers).
_ID = lazy_pattern(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_MAX_ID = 76
#: Largest runtime spec to parse, in bytes. The daemon stores only smaller specs.
MAX_SPEC = 16 << 20
_RUNC_OPTIONS = "containerd.runc.v1.Options"


def check_id(id: str) -> str:
    """Return ``id`` if containerd accepts this id, else raise ``InvalidArgument``."""
    if not isinstance(id, str) or len(id) > _MAX_ID or not _ID.fullmatch(id):
        raise InvalidArgument(
            f"{quoted(id)} cannot be an id",
            remedy=f"Use up to {_MAX_ID} characters: letters, digits, and single '.', '_' or '-' "
            "between letters or digits",
        )
    return id


def runtime_options_of(options: Mapping[str, object] | AnyValue | None) -> AnyValue | None:
    """Return the runtime's options as an ``Any``. A mapping sets fields of runc's options.

    Raise ``InvalidArgument`` for options that runc does not have.
    """
    check_types({"runtime_options": options})
    if options is None or isinstance(options, AnyValue):
        return options
    return AnyValue.of(_RUNC_OPTIONS, options)


def options_of_task(
    options: Mapping[str, object] | AnyValue | None, container: AnyValue | None
) -> AnyValue | None:
    """Return the runtime's options of a task.

    The fields of a mapping override those of the container's options, as in Go's client.

    Args:
        options: The options of the task: an ``Any``, which replaces the container's options, or a
            mapping of fields of runc's options. ``None`` means those of the container.
        container: The options in the container's record.

    Raises:
        InvalidArgument: runc does not have such options, or the container's options are those of
            another runtime.
    """
    check_types({"runtime_options": options})
    if options is None or isinstance(options, AnyValue) or container is None:
        return runtime_options_of(options)
    kind = container.type_url.rpartition("/")[2]
    if kind != _RUNC_OPTIONS:
        raise InvalidArgument(
            f"the runtime options of the container are of the type {quoted(kind)}, not runc's",
            remedy="Pass an AnyValue with all options as runtime_options=",
        )
    return runtime_options_of({**(container.plain() or {}), **options})


def checkpoint_options(options: Mapping[str, object]) -> AnyValue:
    """Return runc's options for a checkpoint. Raise ``InvalidArgument`` for unknown options."""
    check_types({"runtime_options": options})
    return AnyValue.of("containerd.runc.v1.CheckpointOptions", options)


class StoredContainer:
    """A container of a daemon, with the methods that need no task.

    Args:
        backend: The services that the methods of this class call.
        info: The container's record.
        spec: The runtime spec of the record. The caller must not change this object afterwards.
            Default: the spec is parsed when a method needs it.

    Attributes:
        backend: The services that the methods of this class call.
        info: The container's record, as this object last read or wrote it.
    """

    def __init__(
        self,
        backend: RuntimeBackend,
        info: ContainerRecord,
        spec: Mapping[str, object] | None = None,
    ) -> None:
        self.backend = backend
        self.info = info
        self._spec_cache = spec

    @property
    def id(self) -> str:
        """The container's id."""
        return self.info.id

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the record in ``info``."""
        return self.info.labels

    @property
    def extensions(self) -> dict[str, AnyValue]:
        """The extensions of the record in ``info``, by name."""
        return self.info.extensions

    def reload(self) -> Self:
        """Read the record from the daemon again.

        Returns:
            This object.

        Raises:
            NotFound: The container does not exist any more.
        """
        self.info = self.backend.containers.get(self.id)
        self._spec_cache = None
        return self

    def spec(self) -> RuntimeSpec:
        """Parse the runtime spec, and return a copy that the caller is free to change.

        The result is a plain dict. Its type names the fields of the runtime spec, so that a program
        can read ``container.spec()["process"]["args"]`` without a cast.

        Raises:
            NotFound: The record has no spec.
            InvalidArgument: The spec is not a JSON object, or is larger than 16 MiB.
        """
        if self.info.spec is None:
            raise NotFound(f"container {self.id} has no spec")
        what = f"the spec of container {self.id}"
        document = Document.parse(self.info.spec.value, what, limit=MAX_SPEC)
        return cast("RuntimeSpec", dict(document.fields))

    def known_spec(self) -> Mapping[str, object]:
        """Return the cached runtime spec, which is parsed at the first call.

        Returns:
            The spec, which the caller must not change. The mapping is empty if the record has no
            spec.
        """
        if self._spec_cache is None:
            self._spec_cache = {} if self.info.spec is None else self.spec()
        return self._spec_cache

    def image(self) -> Image:
        """Return the image whose name is in the container's record.

        After the creation of the container, the name may have been given to a different image.

        Raises:
            NotFound: The record names no image, or the image does not exist any more.
        """
        if not self.info.image:
            raise NotFound(f"container {self.id} has no image")
        return self.backend.image(self.info.image)

    def find_user(self, user: str, groups: Sequence[str] = ()) -> User:
        """Return the ids of a user of the container.

        Names are looked up in the passwd and group files of the container's root filesystem. The
        client reads these files without mounting the root filesystem.

        Args:
            user: ``name``, ``uid``, ``name:group`` or ``uid:gid``.
            groups: Names or gids of further supplementary groups. Default: none.

        Raises:
            NotFound: The files do not contain the user's name or a group's name.
            InvalidArgument: An id is not valid.
        """
        images, image = self.backend.images, None
        with suppress(NotFound):
            image = self.image()
        return users.SnapshotUsers(
            layers=images.snapshot_layers(self.info.snapshotter),
            store=images.store,
            key=self.info.snapshot_key,
            keeping=images.keeping(),
            image=image,
            container=self.info.id,
        ).find(user, groups)

    # ---- changes of the record -------------------------------------------------------------

    def set_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Set labels. The container's other labels stay. An empty value removes a label.

        Args:
            labels: The labels to set or remove.

        Returns:
            All labels of the container.

        Raises:
            NotFound: The container does not exist any more.
        """
        check_types({"labels": labels})
        new_labels = {key: value for key, value in labels.items() if value}
        record = replace(self.info, labels=new_labels)
        return self._update(record, [f"labels.{key}" for key in labels]).labels

    def update(
        self,
        *,
        spec: Mapping[str, object] | None = None,
        image: str | None = None,
        extensions: Mapping[str, AnyValue] | None = None,
    ) -> Self:
        """Change fields of the record.

        Args:
            spec: The runtime spec of future tasks. An existing task keeps its spec. Default:
                unchanged.
            image: The name of the image. Default: unchanged.
            extensions: Extensions to set, by name. The record's other extensions stay. Default:
                unchanged.

        Returns:
            This object.

        Raises:
            NotFound: The container does not exist any more.
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
        """Set the policy by which the daemon's restart monitor restarts the container.

        Args:
            policy: ``always``, ``unless-stopped``, ``on-failure[:retries]``, or ``no`` for no
                restarts.
            log: URI to which the output of restarted tasks goes (``file:///…``,
                ``binary:///…``). Default: the output is discarded.

        Raises:
            InvalidArgument: The policy is not valid.
            Unimplemented: The daemon has no restart monitor that supports the policy, or does not
                support the scheme of ``log``.
        """
        check_types({"restart": policy, "restart_log": log})
        labels = restart_labels(policy, log)
        if policy != "no":
            check_monitor(self.backend.introspection, policy)
            self.backend.check_log_uris(self.info.runtime, log)
        self.set_labels({**restart_labels("no"), **labels})

    def _update(self, record: ContainerRecord, fields: Sequence[str]) -> ContainerRecord:
        if fields:
            self.info = self.backend.containers.update(record, fields)
            self._spec_cache = None
        return self.info

    def disconnect(self) -> None:
        """Disconnect the container from its CNI networks. ``Task.delete`` calls this method.

        Raises:
            ContainerdError: A CNI plugin failed. The network of the failed plugin stays in the
                record.
        """
        if self.info.extensions.keys() & (NETWORKS, WANTED_NETWORKS):
            network.disconnect(self.backend.containers, self.id)

    def network_files(self) -> NetworkFiles | None:
        """Return the container's own hosts, hostname and ``resolv.conf``, if it has such files.

        Raises:
            InvalidArgument: The extension of the record is not valid.
        """
        is_on_networks = WANTED_NETWORKS in self.info.extensions
        return network.files_of(self.info) if is_on_networks else None

    # ---- the end of the container ----------------------------------------------------------

    def remove(self, *, snapshot: bool = True) -> None:
        """Remove the snapshot of the root filesystem and the log, and delete the record.

        Call this method only after the task has been deleted. Unlike ``Container.delete``, this
        method does not check whether there is a task. It also does not disconnect the container
        from its CNI networks.

        Args:
            snapshot: Whether to remove the snapshot of the root filesystem.

        Raises:
            NotFound: The container does not exist.
        """
        with LoggedStep(_LOGGER, "delete container %s", self.id):
            if snapshot and self.info.snapshot_key:
                with suppress(NotFound):
                    self.backend.snapshots(self.info.snapshotter).remove(self.info.snapshot_key)
            with suppress(InvalidArgument):  # another program may have changed the extension
                if files := self.network_files():
                    files.remove()
            if LOG in self.labels:
                kept.remove_log(self.labels[LOG])
            self.backend.containers.delete(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredContainer) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[object, ...]:
        return self.backend.containers.identity, self.id

    def __repr__(self) -> str:
        return f"<Container {printable(self.id)}>"

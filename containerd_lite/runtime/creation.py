"""Creates containers, with their specs, snapshots, labels and records."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from ..arguments import check_types
from ..debug import LoggedStep
from ..errors import AlreadyExists, InvalidArgument, NotFound
from ..images.image import Image
from ..services._types import runtime_spec
from ..services.containers import ContainerRecord
from ..services.tasks import Stdio
from ..undo import Undo
from . import kept, users
from . import network as networks
from .container import Container
from .io import NullIO, SameTargets
from .labels import LOG, STOP_SIGNAL, is_reserved
from .record import check_id, runtime_options_of
from .restart import check_monitor, restart_labels
from .rootfs import Rootfs, set_rootfs
from .runtime_backend import RuntimeBackend
from .spec.options import ContainerOptions
from .spec.specs import make_spec

if TYPE_CHECKING:
    from .io.base import ProcessStreams

_LOGGER = logging.getLogger(__package__)
#: The options that concern networks, beside ``network``.
_NETWORK_OPTIONS = ("ports", "dns", "dns_search", "dns_options", "extra_hosts")


def restore_container(
    backend: RuntimeBackend, id: str, checkpoint: Image | str, *, rw: bool, trust: bool
) -> Container:
    """Create a container from a checkpoint; see ``Client.restore``."""
    from .checkpoint import Checkpoint, restore  # few programs need this module

    check_types({"rw": rw, "trust": trust})
    with LoggedStep(_LOGGER, "restore container %s", id), backend.images.keeping():
        parts = Checkpoint(backend.image(checkpoint), backend.images.store)
        return Container(backend, restore(backend, check_id(id), parts, rw=rw, trust=trust))


def create_container(
    backend: RuntimeBackend,
    id: str,
    image: Image | str | None,
    args: Sequence[str] | None,
    options: ContainerOptions,
) -> Container:
    """Create a container; see ``Client.new_container``."""
    check_types(options)
    plan = _network_plan(options)
    with LoggedStep(_LOGGER, "create container %s", id), backend.images.keeping():
        found = None if image is None else backend.image(image)
        options["runtime"] = options.get("runtime") or backend.runtime
        return _create(backend, id, found, args, options=options, plan=plan)


def detached_streams(
    backend: RuntimeBackend,
    id: str,
    streams: ProcessStreams | None,
    options: ContainerOptions,
    undo: Undo,
) -> ProcessStreams:
    """Return the streams of a detached container; see ``Client.run``.

    Args:
        backend: The services and the images.
        id: The id of the container.
        streams: The streams that the caller has chosen, or ``None`` to keep the log.
        options: The options of the container. This function adds the label of the log, and the
            place to which the output of restarted tasks goes.
        undo: The call that removes a new log is added.
    """
    check_types(options)
    restart_log = options.get("restart_log") or ""
    terminal = bool(options.get("terminal"))
    if streams is None and "://" in restart_log:
        streams = SameTargets(Stdio("", restart_log, restart_log, terminal))
    elif streams is None:
        runtime = options["runtime"] = options.get("runtime") or backend.runtime
        folder = backend.new_log(runtime, check_id(id))
        if folder is None:
            return NullIO()
        undo.add(lambda: kept.remove_log(folder))
        streams = kept.KeptLog(folder, terminal=terminal)
        options["labels"] = {**(options.get("labels") or {}), LOG: folder}
    if options.get("restart") and not restart_log and "://" in streams.stdio.stdout:
        options["restart_log"] = streams.stdio.stdout
    return streams


def _create(
    backend: RuntimeBackend,
    id: str,
    image: Image | None,
    args: Sequence[str] | None,
    options: ContainerOptions,
    plan: networks.NetworkPlan | None,
) -> Container:
    check_id(id)
    if image is not None:
        image.expect()
    find_user = None if image is None else users.ImageUsers(image).find
    config = None if image is None else image.config()
    if plan is not None:
        options = cast("ContainerOptions", plan.prepare(id, options))
    spec = make_spec(
        backend.namespace,
        id,
        config,
        args=args,
        options=options,
        find_user=find_user,
        is_remote=backend.is_remote,
        own_files=None if plan is None else plan.own_files,
    )
    extensions = {} if plan is None else plan.extensions(spec)
    set_rootfs(spec, image, options)
    labels = _labels(image, options)
    if options.get("restart") is not None:
        check_monitor(backend.introspection, str(options.get("restart")))
        if log := options.get("restart_log"):
            backend.check_log_uris(options.get("runtime") or backend.runtime, log)
    try:
        rootfs = Rootfs.of(backend, id, image, options)
    except AlreadyExists as error:
        raise _taken(backend, id, error) from error.__cause__
    with Undo(rootfs.remove) as undo:
        if plan is not None:
            undo.add(plan.remove)
            plan.write()
        record = backend.containers.create(
            ContainerRecord(
                id=id,
                image="" if image is None else image.name,
                runtime=options.get("runtime") or "",
                runtime_options=runtime_options_of(options.get("runtime_options")),
                spec=runtime_spec(spec),
                snapshotter=rootfs.snapshotter,
                snapshot_key=rootfs.key,
                labels=labels,
                extensions={**(options.get("extensions") or {}), **extensions},
                sandbox=options.get("sandbox") or "",
            )
        )
    return Container(backend, record, spec)


def _taken(backend: RuntimeBackend, id: str, error: AlreadyExists) -> AlreadyExists:
    """Return the error for a snapshot that exists: its container probably exists, too."""
    with suppress(NotFound):
        backend.containers.get(id)
        return AlreadyExists(
            f"container {id} exists",
            operation="Containers.Create",
            address=error.address,
            remedy="Use another id, or delete the container first",
        )
    error.remedy = error.remedy or "Use another id, or remove the snapshot first"
    return error


def _network_plan(options: ContainerOptions) -> networks.NetworkPlan | None:
    """Check the options for networks. Without any, do not load the package ``network``."""
    has_plan = options.get("network") not in (None, "host", "none", "private")
    if has_plan or any(options.get(name) for name in _NETWORK_OPTIONS):
        return networks.NetworkPlan(options)
    return None


def _labels(image: Image | None, options: ContainerOptions) -> dict[str, str]:
    """Return the labels of a new container.

    The labels of the stop signal and of the restart policy override the image's labels. The
    caller's labels override all other labels. The image's labels with reserved names are not
    copied, because some of containerd's own labels give a container root access (CVE-2026-53488).
    """
    labels: dict[str, str] = {}
    if image is not None:
        config = image.config()
        if options.get("image_labels"):
            labels = {key: text for key, text in config.labels.items() if not is_reserved(key)}
        labels[STOP_SIGNAL] = config.stop_signal or "SIGTERM"
    policy, log = options.get("restart"), options.get("restart_log")
    if policy is not None:
        labels.update(restart_labels(policy, log or ""))
    elif log is not None:
        raise InvalidArgument("restart_log= needs restart=")
    labels.update(options.get("labels") or {})
    return {key: text for key, text in labels.items() if text}

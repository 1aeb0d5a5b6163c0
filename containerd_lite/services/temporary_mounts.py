"""Temporary mounts of what a snapshotter returned, such as a root filesystem."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import (
    ContainerdError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unimplemented,
    is_away,
)
from ..oci.document import quoted
from ..undo import Undo
from ._types import Mount
from .kernel_mounts import is_mount_point, mounted
from .lease_keeping import keeping
from .leases import LeaseService
from .mount_options import mountable_again, needs_daemon, read_only, without_id_maps
from .mounts import Activation, MountService

#: Seconds after which the lease of an activation expires if this process dies.
_EXPIRES = 86400.0
#: Seconds to wait after each attempt to deactivate what an interrupted call may still activate.
_WAITS = (0.01, 0.03, 0.1, 0.1, 0.0)


@contextmanager
def temp_mount(
    service: MountService, leases: LeaseService, mounts: Iterable[Mount], *, is_read_only: bool
) -> Iterator[Path]:
    """Mount what a snapshotter returned while the block runs; see ``Client.temp_mount``.

    This process makes the mounts that the kernel can make. The daemon makes the other mounts.
    """
    wanted = tuple(mountable_again(mount) for mount in mounts)
    if not wanted:
        raise InvalidArgument(
            "there is nothing to mount", remedy="Pass the mounts that the snapshotter returned"
        )
    plain = tuple(map(without_id_maps, wanted))
    if plain != wanted and not is_read_only:
        raise Unimplemented(
            "the mounts map the ids of users and groups, which is not supported",
            remedy="Pass read_only=True, which shows the ids as they are in the snapshot",
        )
    # A daemon up to 2.4 that unmounts a mapped bind mount deletes the files in its source.
    wanted = plain
    with ExitStack() as stack:
        if any(map(needs_daemon, wanted)):
            wanted = stack.enter_context(_activated(service, leases, wanted, is_read_only))
        if is_read_only:
            wanted = tuple(map(read_only, wanted))
        yield stack.enter_context(mounted(wanted))


@contextmanager
def _activated(
    service: MountService, leases: LeaseService, mounts: tuple[Mount, ...], is_read_only: bool
) -> Iterator[tuple[Mount, ...]]:
    """Let the daemon make mounts while the block runs, and yield those that the caller must make.

    The mounts belong to a lease. So the daemon unmounts them even if this process dies.
    """
    name = f"lite-mount-{os.urandom(8).hex()}"
    # A daemon before 2.4 crashes if it must make a mount with a transform as the last one.
    is_temporary = not any("/" in mount.type for mount in mounts)
    if is_read_only and is_temporary:
        mounts = tuple(map(read_only, mounts))
    undo = Undo(lambda: _deactivate_if_activated(service, name))
    with keeping(leases, _EXPIRES), undo:
        try:
            activation = service.activate(name, mounts, temporary=is_temporary)
        except Unimplemented as error:
            undo.clear()
            raise _refused(mounts, error.message, error.remedy) from error
        yield _system_mounts(activation)
        try:
            service.deactivate(name)
        except NotFound:  # the lease was deleted, so the daemon has collected the activation
            pass
        except ContainerdError as error:
            if not is_away(error):  # a restarted daemon collects the activation without its lease
                raise


def _system_mounts(activation: Activation) -> tuple[Mount, ...]:
    """Return the mounts that the caller must make after an activation.

    Raises:
        FailedPrecondition: This process does not see the mounts that the daemon has made. The
            caller would mount the empty folders below them.
        Unimplemented: The caller cannot make these mounts.
    """
    for active in activation.active:
        if not is_mount_point(active.mount_point):
            raise FailedPrecondition(
                f"the daemon's mount {quoted(active.mount_point)} does not exist for this process, "
                "which runs in another mount namespace",
                remedy="Run in the daemon's mount namespace (nsenter --mount --target PID)",
            )
    if not activation.system:
        return (Mount("bind", activation.active[-1].mount_point, options=("rbind",)),)
    if any(map(needs_daemon, activation.system)):
        raise _refused(activation.system, "it leaves them to its clients")
    return activation.system


def _refused(mounts: Iterable[Mount], reason: str, remedy: str = "") -> Unimplemented:
    kinds = ", ".join(dict.fromkeys(mount.type for mount in mounts))
    message = f"the daemon does not mount {quoted(kinds)}: {reason}"
    return Unimplemented(message, remedy=remedy or "Use another snapshotter")


def _deactivate_if_activated(service: MountService, name: str) -> None:
    """Deactivate mounts after a failure. An interrupted daemon may activate them only later."""
    for wait in _WAITS:
        with suppress(NotFound):
            service.deactivate(name)
            return
        time.sleep(wait)

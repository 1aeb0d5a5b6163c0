"""Temporary mounts of what a snapshotter returned, such as a root filesystem."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..arguments import check_instance
from ..errors import FailedPrecondition, InvalidArgument, Unimplemented
from ..printable import quoted
from ._types import Mount
from .activations import activated, remaining_mounts
from .kernel_mounts import is_mount_point, mounted
from .lease_keeping import keeping
from .leases import LeaseService
from .mount_options import mountable_again, needs_daemon, read_only, without_id_maps
from .mounts import Activation, MountService

#: Seconds after which the lease of an activation expires if this process dies.
_EXPIRES = 86400.0
_WANTED = "the mounts that prepare(), view() or mounts() of a snapshots service returned"


@contextmanager
def temp_mount(
    service: MountService, leases: LeaseService, mounts: Iterable[Mount], *, is_read_only: bool
) -> Iterator[Path]:
    """Mount what a snapshotter returned while the block runs; see ``Client.temp_mount``.

    This process makes the mounts that the kernel can make. The daemon makes the other mounts.
    """
    check_instance("mounts", mounts, Iterable, _WANTED)
    found = tuple(mounts)
    if not found:
        raise InvalidArgument("there is nothing to mount", remedy=f"Pass {_WANTED}")
    for mount in found:
        check_instance("mounts", mount, Mount, _WANTED)
    wanted = tuple(map(mountable_again, found))
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
            stack.enter_context(keeping(leases, _EXPIRES))
            activation = stack.enter_context(activated(service, wanted, is_read_only=is_read_only))
            _check_visible(activation)
            wanted = remaining_mounts(activation)
        if is_read_only:
            wanted = tuple(map(read_only, wanted))
        yield stack.enter_context(mounted(wanted))


def _check_visible(activation: Activation) -> None:
    """Raise an error unless this process sees the mounts that the daemon has made.

    Otherwise, the caller would mount the empty folders below them.
    """
    for active in activation.active:
        if not is_mount_point(active.mount_point):
            raise FailedPrecondition(
                f"the daemon's mount {quoted(active.mount_point)} does not exist for this process, "
                "which runs in another mount namespace",
                remedy="Run in the daemon's mount namespace (nsenter --mount --target PID)",
            )

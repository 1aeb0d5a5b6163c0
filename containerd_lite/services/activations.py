"""Lets the daemon make mounts while a block runs, with the mounts service."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from ..errors import ContainerdError, NotFound, Unimplemented, is_away
from ..printable import quoted
from ..undo import Undo
from ._types import Mount
from .mount_options import needs_daemon, read_only
from .mounts import Activation, MountService

#: Seconds to wait after each attempt to deactivate what an interrupted call may still activate.
_WAITS = (0.01, 0.03, 0.1, 0.1, 0.0)


@contextmanager
def activated(
    service: MountService, mounts: tuple[Mount, ...], *, is_read_only: bool
) -> Iterator[Activation]:
    """Let the daemon make mounts while the block runs.

    The caller must run this function within a lease. Then the daemon unmounts the mounts even if
    this process dies.

    Raises:
        Unimplemented: The daemon cannot make the mounts.
    """
    name = f"lite-mount-{os.urandom(8).hex()}"
    # A daemon before 2.4 crashes if it must make a mount with a transform as the last one.
    is_temporary = not any("/" in mount.type for mount in mounts)
    if is_read_only and is_temporary:
        mounts = tuple(map(read_only, mounts))
    undo = Undo(lambda: _deactivate_if_activated(service, name))
    with undo:
        try:
            activation = service.activate(name, mounts, temporary=is_temporary)
        except Unimplemented as error:
            undo.clear()
            raise _refused(mounts, error.message, error.remedy) from error
        yield activation
        try:
            service.deactivate(name)
        except NotFound:  # the lease was deleted, so the daemon has collected the activation
            pass
        except ContainerdError as error:
            if not is_away(error):  # a restarted daemon collects the activation without its lease
                raise


def remaining_mounts(activation: Activation) -> tuple[Mount, ...]:
    """Return the mounts that are still to be made after an activation, on the daemon's machine.

    Raises:
        Unimplemented: The kernel cannot make these mounts.
    """
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

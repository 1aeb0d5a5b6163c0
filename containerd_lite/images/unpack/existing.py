"""Finds out which snapshots of an image exist, and holds them with the caller's lease.

Garbage collection can delete a snapshot that ``Stat`` has found, because ``Stat`` adds nothing to
the lease. So this module first adds a snapshot to the lease, and then asks whether it exists. A
lease that is not flat also protects all parents of the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...services.leases import LeaseService, Resource
from ...services.snapshots import SnapshotInfo, SnapshotService

#: The maximum number of searches if garbage collection deletes the found snapshot each time.
_MOST_TRIES = 3


def hold_existing(
    names: Sequence[str],
    snapshots: SnapshotService,
    leases: LeaseService | None,
    check: Callable[[], object],
    *,
    is_top_held: bool = False,
) -> tuple[int, SnapshotInfo | None]:
    """Find the highest snapshot that exists, and hold it.

    A snapshot cannot exist without its parents. So if the top snapshot exists, this function makes
    one or two calls, whatever the number of snapshots. Without a lease, the snapshots are not held.

    Args:
        names: The names of the snapshots, bottom first. There is at least one name.
        snapshots: The service of the snapshotter.
        leases: The leases service of the same namespace, whose joined lease holds the snapshot.
            Default: nothing is held.
        check: A function that is called before each search.
        is_top_held: Whether the lease holds the top snapshot already, if it exists.

    Returns:
        The number of snapshots that exist, and the highest of them.
    """
    lease = leases.joined if leases is not None else ""

    def hold(name: str) -> SnapshotInfo | None:
        if leases is not None and lease:
            leases.add_resource(lease, Resource(name, f"snapshots/{snapshots.snapshotter}"))
        return snapshots.find(name)

    check()
    found = snapshots.find(names[-1]) if is_top_held else hold(names[-1])
    if found is not None:
        return len(names), found
    for _ in range(_MOST_TRIES):
        check()
        count, found = _find_highest(names[:-1], snapshots)
        if found is not None and lease:
            found = hold(found.name)
        if found is not None or not count:
            return count, found
    return 0, None


def _find_highest(
    names: Sequence[str], snapshots: SnapshotService
) -> tuple[int, SnapshotInfo | None]:
    """Return how many of the snapshots exist, and the highest of them.

    This is a binary search, but the first question is about the lowest snapshot, because often
    none exists.
    """
    count, end, found = 0, len(names), None
    middle = 0
    while count < end:
        snapshot = snapshots.find(names[middle])
        if snapshot is None:
            end = middle
        else:
            count, found = middle + 1, snapshot
        middle = (count + end) // 2
    return count, found

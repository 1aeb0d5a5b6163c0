"""containerd's releases: how long the containerd project fixes faults in each of them."""

from __future__ import annotations

from datetime import date

from ..records import record


@record(frozen=True)
class Release:
    """A release branch of containerd.

    Attributes:
        end_of_life: The last day on which the containerd project fixes faults in this release.
        is_lts: Whether the release has long-term support.
    """

    end_of_life: date
    is_lts: bool = False


#: The releases that this package knows, by their first two numbers, the oldest first. Where
#: containerd's page names only a month, the day is the month's last.
#: Source: RELEASES.md of containerd 2.4.2.
RELEASES: dict[tuple[int, ...], Release] = {
    (1, 6): Release(date(2025, 8, 23)),
    (1, 7): Release(date(2026, 9, 30), is_lts=True),
    (2, 0): Release(date(2027, 3, 31), is_lts=True),
    (2, 1): Release(date(2026, 7, 3)),
    (2, 2): Release(date(2026, 11, 6)),
    (2, 3): Release(date(2028, 4, 30), is_lts=True),
    (2, 4): Release(date(2027, 5, 16)),
}

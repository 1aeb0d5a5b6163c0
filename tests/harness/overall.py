"""A progress callback that checks what every operation promises of its progress."""

from __future__ import annotations

from containerd_lite import ProgressEvent
from tests.harness.images import Image

#: Stages whose events are about a reference, or about a request.
_OTHERS = ("resolving", "resolved", "retrying", "done")


class Told:
    """Keeps the events, and checks each: what is done never falls, and the total stays."""

    def __init__(self) -> None:
        self.events: list[ProgressEvent] = []
        #: The first stage, the offset and the size of each object.
        self.named: dict[str, tuple[str, int, int]] = {}

    def __call__(self, event: ProgressEvent) -> None:
        overall = event.overall
        if self.events:
            last = self.events[-1].overall
            assert overall.done >= last.done, (last, event)
            assert last.total in (None, overall.total), (last, event)
        if overall.total is not None:
            assert overall.done <= overall.total, event
        assert overall.rate >= 0
        assert overall.eta is None or overall.eta >= 0
        self.events.append(event)
        if event.stage not in _OTHERS:
            self.named.setdefault(event.name, (event.stage, event.offset, event.total))

    def check_end(self, *sizes: int) -> None:
        """All is done; each of ``sizes`` is the size of an object that was named as it began."""
        overall = self.events[-1].overall
        assert overall.done == overall.total == sum(sizes)
        assert overall.eta == 0.0
        assert sorted(size for _, _, size in self.named.values()) == sorted(sizes)
        assert {(stage, offset) for stage, offset, _ in self.named.values()} == {("waiting", 0)}

    @property
    def is_known_at_once(self) -> bool:
        """Whether the total was known as soon as all objects were named."""
        first = next(event for event in self.events if event.stage != "waiting")
        return first.overall.total is not None

    @property
    def known_at(self) -> int:
        """How many bytes had been transferred or found when the total became known."""
        return next(e.overall.done for e in self.events if e.overall.total is not None)


def sizes_of(*images: Image) -> list[int]:
    """The size of each blob of some images."""
    return [len(body) for body in {d: b for i in images for d, b in i.blobs.items()}.values()]

"""A resolver of the tests' own: the seam that callers have."""

from __future__ import annotations

import io
from collections.abc import Callable

from containerd_lite.errors import NotFound, RegistryUnavailable
from containerd_lite.oci.descriptor import Descriptor
from tests.harness import images


class Source(io.BytesIO):
    """A blob's bytes; ``fail_at`` bytes in, the connection breaks."""

    def __init__(self, body: bytes, fail_at: int | None = None) -> None:
        super().__init__(body if fail_at is None else body[:fail_at])
        self._fails = fail_at is not None

    def readinto(self, buffer: object, /) -> int:
        count = super().readinto(buffer)  # type: ignore[arg-type]
        if not count and self._fails:
            raise RegistryUnavailable("the connection broke")
        return count


class OwnResolver:
    """Serves one image by a name that no registry has; may break connections and bytes."""

    def __init__(self, image: images.Image, cuts: list[int] | None = None) -> None:
        self.image = image
        self.cuts = cuts or []
        self.asked: list[tuple[str, int]] = []
        self.before_fetch: Callable[[Descriptor], object] = lambda descriptor: None

    def resolve(self, ref: str) -> tuple[str, Descriptor]:
        if ref != "Own Name!":
            raise NotFound(f"no {ref}")
        return ref, Descriptor.from_json(self.image.manifest)

    def fetcher(self, ref: str) -> OwnResolver:
        return self

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Source:
        self.asked.append((descriptor.digest, offset))
        self.before_fetch(descriptor)
        body = self.image.blobs[descriptor.digest][offset:]
        return Source(body, self.cuts.pop(0) if self.cuts else None)

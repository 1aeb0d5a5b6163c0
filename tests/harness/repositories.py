"""A repository in memory, as a source of signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from containerd_lite.errors import NotFound, SizeMismatch
from containerd_lite.oci import digest as digests
from containerd_lite.oci.descriptor import Descriptor

from .images import Image


class MemoryRepository:
    """A ``trust.Repository`` whose owner may put anything into it.

    Attributes:
        blobs: The content by digest.
        tags: The descriptors by tag.
        listed: The descriptors of all referrers.
        asked: What was asked for: a tag, or a digest.
        before: A function that is called before each request. It may raise an error.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.tags: dict[str, Descriptor] = {}
        self.listed: list[Descriptor] = []
        self.asked: list[str] = []
        self.before: Callable[[str], object] = lambda name: None

    def add(self, image: Image, tag: str = "", **changes: object) -> Descriptor:
        """Put a manifest and what it refers to here, under a tag or as a referrer.

        ``changes`` are fields of the referrer's descriptor.
        """
        self.blobs |= image.blobs
        descriptor = Descriptor.from_json({**image.manifest, **changes})
        if tag:
            self.tags[tag] = descriptor
        else:
            self.listed.append(descriptor)
        return descriptor

    def _note(self, name: str) -> None:
        self.asked.append(name)
        self.before(name)

    def referrers(self, target: Descriptor) -> Sequence[Descriptor]:
        """Return the manifests that say that they refer to ``target``, true or not."""
        self._note("referrers")
        return self.listed

    def find(self, tag: str) -> Descriptor | None:
        """Return the descriptor that a tag refers to."""
        self._note(tag)
        return self.tags.get(tag)

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """Return content that matches its descriptor, as the protocol demands."""
        self._note(descriptor.digest)
        if descriptor.size > limit:
            raise SizeMismatch(f"{descriptor.digest} is too large")
        body = self.blobs.get(descriptor.digest)
        if body is None:
            raise NotFound(f"{descriptor.digest} does not exist")
        digests.verify(body, descriptor.digest, descriptor.size)
        return body

"""The search for signatures: which manifests and tags are looked at."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from containerd_lite.errors import NotFound
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.trust.search import find_candidates


class Empty:
    """A repository without signatures that remembers for which tags it was asked."""

    def __init__(self) -> None:
        self.tags: list[str] = []

    def referrers(self, target: Descriptor) -> Sequence[Descriptor]:
        return ()

    def find(self, tag: str) -> None:
        assert len(tag) <= 128
        self.tags.append(tag)

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        raise NotFound("nothing")


@pytest.mark.parametrize(
    ("digest", "attestations", "tags"),
    [
        ("sha256:" + "a" * 64, False, ["sha256-" + "a" * 64 + ".sig"]),
        (
            "sha256:" + "a" * 64,
            True,
            ["sha256-" + "a" * 64 + ".sig", "sha256-" + "a" * 64 + ".att"],
        ),
        ("sha512:" + "a" * 128, True, []),  # the tag would be too long
    ],
)
def test_the_tags_of_cosign(digest: str, attestations: bool, tags: list[str]) -> None:
    target, repository = Descriptor(media_types.OCI_MANIFEST, digest, 2), Empty()
    assert not list(find_candidates(repository, target, attestations=attestations))
    assert repository.tags == tags

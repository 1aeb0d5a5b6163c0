"""Choosing a manifest out of an index."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from containerd_lite.errors import InvalidArgument, NoMatchingPlatform
from containerd_lite.images.platforms import find_manifest
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.manifest import Index, Manifest
from containerd_lite.oci.platform import parse


def descriptor(
    n: int,
    platform: str | None = None,
    annotations: Mapping[str, str] | None = None,
    media_type: str = media_types.OCI_MANIFEST,
) -> Descriptor:
    named = parse(platform) if platform else None
    return Descriptor(
        media_type, f"sha256:{n:064x}", 1, platform=named, annotations=dict(annotations or {})
    )


def manifest(n: int) -> Manifest:
    return Manifest(media_types.OCI_MANIFEST, descriptor(n), (), {"n": str(n)})


def choose(platform: str, *entries: Descriptor) -> int:
    """The number of the manifest that is chosen."""
    top = descriptor(0, media_type=media_types.OCI_INDEX)

    def read(target: Descriptor) -> Manifest | Index:
        if target == top:
            return Index(media_types.OCI_INDEX, entries)
        return manifest(int(target.digest[7:], 16))

    return int(find_manifest("name", top, parse(platform), read).annotations["n"])


@pytest.mark.parametrize(
    ("wanted", "entries", "chosen"),
    [
        ("linux/amd64", [(1, "linux/arm64"), (2, "linux/amd64")], 2),
        ("linux/arm/v7", [(1, "linux/arm/v5"), (2, "linux/arm/v6"), (3, "linux/arm64")], 2),
        ("linux/arm64", [(1, "linux/arm/v7"), (2, "linux/arm64/v8")], 2),
        ("linux/amd64/v3", [(1, "linux/amd64"), (2, "linux/amd64/v2"), (3, "linux/amd64/v4")], 2),
        ("linux/amd64", [(1, None), (2, "linux/amd64")], 2),
        ("linux/amd64", [(1, None), (2, "linux/s390x")], 1),
        ("linux/amd64", [(1, "linux/amd64"), (2, "linux/amd64")], 1),
        ("linux/amd64", [(1, "linux/386")], 1),
        ("linux/arm/v7", [(1, "linux/arm/v6"), (1, "linux/arm/v7")], 1),
        ("linux/amd64", [(1, "linux(+erofs)/amd64"), (2, "linux/amd64")], 2),
        ("linux(+erofs)/amd64", [(1, "linux/amd64"), (2, "linux(+erofs)/amd64")], 2),
        ("linux(+erofs)/amd64", [(1, "linux/amd64")], 1),
        ("linux(+a+b)/amd64", [(1, "linux(+a)/amd64"), (2, "linux(+a+b)/amd64")], 2),
        ("linux(+a)/amd64/v2", [(1, "linux(+a)/amd64"), (2, "linux/amd64/v2")], 2),
    ],
)
def test_the_best_fit_is_chosen(
    wanted: str, entries: list[tuple[int, str | None]], chosen: int
) -> None:
    assert choose(wanted, *(descriptor(n, platform) for n, platform in entries)) == chosen


def test_attestations_are_no_images() -> None:
    attestation = {"vnd.docker.reference.type": "attestation-manifest"}
    found = choose("linux/amd64", descriptor(1, None, attestation), descriptor(2, "linux/amd64"))
    assert found == 2


def test_no_match_says_what_there_is() -> None:
    with pytest.raises(NoMatchingPlatform, match=r"linux/amd64; it has linux/s390x, windows/amd64"):
        choose("linux/amd64", descriptor(1, "linux/s390x"), descriptor(2, "windows/amd64"))
    with pytest.raises(NoMatchingPlatform, match="it has none"):
        choose("linux/amd64")


def test_indexes_without_end_are_left() -> None:
    reads = []

    def read(target: Descriptor) -> Manifest | Index:
        reads.append(target)
        return Index(media_types.OCI_INDEX, (descriptor(1, "linux/amd64"),))

    with pytest.raises(InvalidArgument, match="nests indexes"):
        find_manifest("name", descriptor(0), parse("linux/amd64"), read)
    assert len(reads) < 10

"""Which label names which child, as containerd's ChildGCLabels has it."""

from __future__ import annotations

import pytest

from containerd_lite.images.gc_labels import SUBJECT, child_labels, source_key, source_label
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference


def child(media_type: str, n: int) -> Descriptor:
    return Descriptor(media_type, f"sha256:{n:064x}", 1)


def test_each_kind_has_its_prefix_and_its_count() -> None:
    children = [
        child(media_types.OCI_CONFIG, 1),
        child(media_types.OCI_LAYER_GZIP, 2),
        child(media_types.DOCKER_LAYER_GZIP, 3),
        child(media_types.OCI_MANIFEST, 4),
        child(media_types.DOCKER_INDEX, 5),
        child("application/vnd.in-toto+json", 6),
        child("text/plain", 7),
        child(media_types.DOCKER_CONFIG, 8),
    ]
    ref = "containerd.io/gc.ref.content"
    assert child_labels(children) == {
        f"{ref}.config": children[0].digest,
        f"{ref}.l.0": children[1].digest,
        f"{ref}.l.1": children[2].digest,
        f"{ref}.m.0": children[3].digest,
        f"{ref}.m.1": children[4].digest,
        f"{ref}.0": children[5].digest,
        f"{ref}.1": children[6].digest,
        f"{ref}.config.1": children[7].digest,
    }
    assert child_labels([]) == {}


def test_referrers_are_labelled_by_their_digests() -> None:
    """The key says sha256 of each algorithm, as in containerd's SetChildrenMappedLabels."""
    noted = Descriptor(media_types.OCI_MANIFEST, f"sha256:{'ab' * 32}", 1, {SUBJECT: "anything"})
    found = Descriptor(media_types.OCI_MANIFEST, f"sha512:{'cd' * 64}", 1)
    ref = "containerd.io/gc.ref.content"
    assert child_labels([noted, child(media_types.OCI_MANIFEST, 1)], [found]) == {
        f"{ref}.referrer.sha256.abababababab": noted.digest,
        f"{ref}.m.0": child(media_types.OCI_MANIFEST, 1).digest,
        f"{ref}.referrer.sha256.cdcdcdcdcdcd": found.digest,
    }


@pytest.mark.parametrize(
    ("ref", "key"),
    [
        ("busybox", "docker.io"),
        ("registry.example:5000/a/b", "registry.example"),
        ("127.0.0.1:5000/a", "127.0.0.1"),
        ("[::1]:5000/a", "::1"),
        ("[::1]/a", "::1"),
    ],
)
def test_the_source_leaves_the_port_out(ref: str, key: str) -> None:
    assert source_key(Reference.parse(ref)) == f"containerd.io/distribution.source.{key}"


def test_sources_are_sorted_and_named_once() -> None:
    (value,) = source_label(Reference.parse("x.example/b/c"), "z,a,b/c").values()
    assert value == "a,b/c,z"


def test_a_source_label_that_is_full_stays_as_it_is() -> None:
    """containerd takes 4096 bytes of key and value."""
    reference, key = Reference.parse("x.example/b/c"), "containerd.io/distribution.source.x.example"
    room = 4096 - len(key) - len("b/c,")
    fits, full = "d" * room, "d" * (room + 1)
    assert source_label(reference, fits) == {key: f"b/c,{fits}"}
    assert source_label(reference, full) == {}

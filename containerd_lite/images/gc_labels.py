"""Labels that tie content together for containerd's garbage collection and its mirrors.

What lives here: which label names which child (core/images, ChildGCLabels), and where content
came from.  What may not: writing them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..oci import digest as digests
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.reference import Reference

_CONTENT = "containerd.io/gc.ref.content"
_SOURCE = "containerd.io/distribution.source"
SNAPSHOT = "containerd.io/gc.ref.snapshot"
UNCOMPRESSED = "containerd.io/uncompressed"
#: Names, on an image, the digest of the manifest of schema 1 that it was made of.
CONVERTED = "io.containerd.image/converted-docker-schema1"
#: Bytes of a label, key and value together; containerd's labels package.
_MAX_LABEL = 4096
#: Characters of a referrer's digest in its label; a number would say nothing.
_SHOWN = 12


def child_labels(
    children: Iterable[Descriptor], referrers: Iterable[Descriptor] = ()
) -> dict[str, str]:
    """Labels of a manifest or index that keep its children, and its referrers, alive."""
    seen: Counter[str] = Counter()
    labels = {}
    for child in children:
        prefix = _prefix(child.media_type)
        place = seen[prefix]
        seen[prefix] += 1
        if prefix.endswith("."):
            labels[f"{prefix}{place}"] = child.digest
        else:
            labels[f"{prefix}.{place}" if place else prefix] = child.digest
    for one in referrers:
        algorithm, encoded = digests.algorithm(one.digest), digests.encoded(one.digest)
        labels[f"{_CONTENT}.referrer.{algorithm}.{encoded[:_SHOWN]}"] = one.digest
    return labels


def numbered_labels(children: Iterable[Descriptor]) -> dict[str, str]:
    """As ``child_labels``, by number alone: as containerd labels what it makes itself."""
    return {f"{_CONTENT}.{place}": child.digest for place, child in enumerate(children)}


def _prefix(media_type: str) -> str:
    if media_types.is_config(media_type):
        return f"{_CONTENT}.config"
    if media_types.is_manifest(media_type) or media_types.is_index(media_type):
        return f"{_CONTENT}.m."
    if media_types.is_layer(media_type):
        return f"{_CONTENT}.l."
    return f"{_CONTENT}."


def source_label(reference: Reference, present: str = "") -> dict[str, str]:
    """The label that says which repository has a blob; ``present`` is its value so far.

    Where that is full it stays as it is: it helps with mounts, and is worth no pull.
    """
    repositories = {reference.repository, *filter(None, present.split(","))}
    key, value = source_key(reference), ",".join(sorted(repositories))
    return {key: value} if len(key) + len(value) <= _MAX_LABEL else {}


def source_key(reference: Reference) -> str:
    """The label's name; like Go's client it leaves the port out."""
    host = reference.host
    if host.startswith("["):  # an IPv6 address
        return f"{_SOURCE}.{host[1:].partition(']')[0]}"
    return f"{_SOURCE}.{host.partition(':')[0]}"

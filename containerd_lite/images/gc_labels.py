"""Labels by which content refers to other content, and the label that names its repository.

containerd's garbage collector follows the references. The labels of children are those of
core/images, ChildGCLabels.
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
#: Label of an image that was converted from schema 1: the digest of the original manifest.
CONVERTED = "io.containerd.image/converted-docker-schema1"
#: Most bytes of a label, key and value together, as in containerd's labels package.
_MAX_LABEL = 4096
#: Characters of a referrer's digest in its label. A number would not say which referrer it is.
_SHORT_DIGEST = 12


def child_labels(
    children: Iterable[Descriptor], referrers: Iterable[Descriptor] = ()
) -> dict[str, str]:
    """Return the labels of a manifest or index that keep its children and referrers alive."""
    seen: Counter[str] = Counter()
    labels = {}
    for child in children:
        prefix = _prefix(child.media_type)
        number = seen[prefix]
        seen[prefix] += 1
        if prefix.endswith("."):
            labels[f"{prefix}{number}"] = child.digest
        else:
            labels[f"{prefix}.{number}" if number else prefix] = child.digest
    for referrer in referrers:
        algorithm, encoded = digests.algorithm(referrer.digest), digests.encoded(referrer.digest)
        labels[f"{_CONTENT}.referrer.{algorithm}.{encoded[:_SHORT_DIGEST]}"] = referrer.digest
    return labels


def numbered_labels(children: Iterable[Descriptor]) -> dict[str, str]:
    """Return labels that only number the children, as containerd labels what it makes itself."""
    return {f"{_CONTENT}.{number}": child.digest for number, child in enumerate(children)}


def _prefix(media_type: str) -> str:
    if media_types.is_config(media_type):
        return f"{_CONTENT}.config"
    if media_types.is_manifest(media_type) or media_types.is_index(media_type):
        return f"{_CONTENT}.m."
    if media_types.is_layer(media_type):
        return f"{_CONTENT}.l."
    return f"{_CONTENT}."


def source_label(reference: Reference, present: str = "") -> dict[str, str]:
    """Return the label that says which repositories have a blob.

    ``present`` is the label's current value. The result is empty if the label would become too
    long. The label only helps later pushes to mount blobs, so a pull does not fail for it.
    """
    repositories = {reference.repository, *filter(None, present.split(","))}
    key, value = source_key(reference), ",".join(sorted(repositories))
    return {key: value} if len(key) + len(value) <= _MAX_LABEL else {}


def source_key(reference: Reference) -> str:
    """Return the key of the source label, without the port, as containerd's Go client does."""
    host = reference.host
    if host.startswith("["):  # an IPv6 address
        return f"{_SOURCE}.{host[1:].partition(']')[0]}"
    return f"{_SOURCE}.{host.partition(':')[0]}"

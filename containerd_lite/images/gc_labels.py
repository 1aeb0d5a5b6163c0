"""Labels of content: its references to other content, and the repositories that have it.

containerd's garbage collector does not delete content that other content refers to. The labels for
children are the same as those of ``ChildGCLabels`` in containerd's core/images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..oci import digest as digests
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.image_record import MAX_LABEL
from ..oci.reference import Reference

_CONTENT = "containerd.io/gc.ref.content"
_SOURCE = "containerd.io/distribution.source"
SNAPSHOT = "containerd.io/gc.ref.snapshot"
UNCOMPRESSED = "containerd.io/uncompressed"
#: Annotation of a child that is a referrer. Its value is the digest of the subject. containerd's Go
#: client sets it in the ``index.json`` of archives (core/images/annotations.go).
SUBJECT = "io.containerd.manifest.subject"
#: The prefix of a referrer's label, whatever the digest's algorithm is. The key continues with the
#: first characters of the referrer's digest, which identify the referrer, unlike a number.
REFERRER = f"{_CONTENT}.referrer.sha256."
_SHORT_DIGEST = 12


def child_labels(
    children: Iterable[Descriptor], referrers: Iterable[Descriptor] = ()
) -> dict[str, str]:
    """Return the labels by which a manifest or index keeps its children and referrers alive.

    A child with the annotation ``SUBJECT`` is labelled as a referrer.
    """
    seen: Counter[str] = Counter()
    labels = {}
    for child in children:
        if SUBJECT in child.annotations:
            labels[_referrer_key(child)] = child.digest
            continue
        prefix = _prefix(child.media_type)
        number = seen[prefix]
        seen[prefix] += 1
        if prefix.endswith("."):
            labels[f"{prefix}{number}"] = child.digest
        else:
            labels[f"{prefix}.{number}" if number else prefix] = child.digest
    for referrer in referrers:
        labels[_referrer_key(referrer)] = referrer.digest
    return labels


def _referrer_key(referrer: Descriptor) -> str:
    return f"{REFERRER}{digests.encoded(referrer.digest)[:_SHORT_DIGEST]}"


def numbered_labels(children: Iterable[Descriptor]) -> dict[str, str]:
    """Return labels whose keys contain the number of a child, but not the kind of the child.

    containerd sets labels of this form on the manifests that it creates.
    """
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
    """Return the label that lists the repositories that have a blob.

    ``present`` is the label's current value. If the label would become too long, the result is
    empty. A missing label is not an error, because the label only helps later pushes to mount the
    blob.
    """
    repositories = {reference.repository, *filter(None, present.split(","))}
    key, value = source_key(reference), ",".join(sorted(repositories))
    return {key: value} if len(key) + len(value) <= MAX_LABEL else {}


def source_key(reference: Reference) -> str:
    """Return the key of the source label.

    The key contains the host without the port, as in containerd's Go client.
    """
    host = reference.host
    if host.startswith("["):  # an IPv6 address
        return f"{_SOURCE}.{host[1:].partition(']')[0]}"
    return f"{_SOURCE}.{host.partition(':')[0]}"

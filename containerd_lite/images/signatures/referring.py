"""Lists what refers to an image in its registry, without verifying it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from ...errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT
from ...oci.manifest import Index, Manifest, parse
from ...oci.reference import Reference
from ...records import record, replace
from ...trust import manifests_of, signature_tags
from ..job import Job, side_by_side
from ..resolver import Resolver
from .repositories import ResolverRepository

#: How a manifest refers to an image: by its subject, or by one of cosign's tags.
ReferringKind: TypeAlias = Literal["referrer", "sig", "att", "sbom"]
_TAGS: tuple[ReferringKind, ...] = ("sig", "att", "sbom")

#: The annotation with the type of the attestation in a bundle.
_PREDICATE_OF_BUNDLE = "dev.sigstore.bundle.predicateType"
#: The annotation with the type of an attestation in a layer under cosign's tag.
_PREDICATE_OF_LAYER = "predicateType"

#: The number of manifests of an image that are looked at side by side.
_PARALLEL = 8
#: The maximum number of manifests of an image, and of manifests that refer to them.
_MAX_SUBJECTS, _MAX_REFERRING = 256, 10_000
#: The maximum number of bytes that are read for one image.
_MAX_TOTAL = 64 << 20


@record(frozen=True)
class ReferringManifest:
    """A manifest that refers to an image, as its registry describes it. It is not verified.

    Attributes:
        subject: The manifest or index of the image.
        kind: ``"referrer"`` if the manifest names its subject, otherwise the suffix of cosign's
            tag.
        reference: The name of the manifest, with its tag if it has one, and with its digest.
        descriptor: The descriptor of the manifest.
        types: The artifact type of a referrer, or the media types of the layers under a tag.
        predicate_types: The types of the attestations, as far as they are stated.
        problem: Why the manifest cannot be read; ``""`` if it can, or if its list states the type.
    """

    subject: Descriptor
    kind: ReferringKind
    reference: str
    descriptor: Descriptor
    types: tuple[str, ...] = ()
    predicate_types: tuple[str, ...] = ()
    problem: str = ""


def find_referring(resolver: Resolver, ref: str) -> tuple[ReferringManifest, ...]:
    """Return the manifests that refer to an image, or to a platform of an image with an index.

    Args:
        resolver: Reaches the registry.
        ref: The image.

    Raises:
        NotFound: The image does not exist.
        ResourceExhausted: There are too many manifests.
    """
    name, target = resolver.resolve(ref)
    reference = Reference.parse(name)
    repository = ResolverRepository(resolver, reference)
    subjects = {target.digest: target}
    if media_types.is_index(target.media_type):
        for listed in manifests_of(repository, target):
            if not media_types.is_attestation(listed.media_type, listed.annotations):
                subjects.setdefault(listed.digest, listed)
    if len(subjects) > _MAX_SUBJECTS:
        raise ResourceExhausted(f"{target.digest} lists more than {_MAX_SUBJECTS} manifests")
    search = _Search(repository, reference)
    side_by_side(search.look_at, subjects.values(), Job(), min(_PARALLEL, len(subjects)))
    return tuple(found for digest in subjects for found in search.found[digest])


class _Search:
    """The search for what refers to one image. Threads can share it.

    Args:
        repository: The repository of the image.
        reference: The image.
    """

    def __init__(self, repository: ResolverRepository, reference: Reference) -> None:
        self.found: dict[str, Sequence[ReferringManifest]] = {}
        self._repository = repository
        self._reference = reference
        self._lock = threading.Lock()
        self._manifests_left = _MAX_REFERRING
        self._bytes_left = _MAX_TOTAL

    def look_at(self, subject: Descriptor) -> None:
        """Find what refers to one manifest or index of the image."""
        self.found[subject.digest] = [*self._referrers(subject), *self._tags(subject)]

    def _referrers(self, subject: Descriptor) -> Iterator[ReferringManifest]:
        for descriptor in self._repository.referrers(subject):
            self._take(1, 0)
            reference = replace(self._reference, tag="", digest=descriptor.digest)
            found = ReferringManifest(subject, "referrer", str(reference), descriptor)
            kind, annotations, problem = descriptor.artifact_type, descriptor.annotations, ""
            # In the list under the fallback tag, cosign 3.1 writes the type of the empty config.
            if kind in ("", media_types.OCI_EMPTY):
                document, problem = self._read(descriptor)
                if document is not None:
                    kind, annotations = _type_of(document), document.annotations
                    if document.subject is None or document.subject.digest != subject.digest:
                        problem = "its subject is another manifest"
            yield replace(
                found,
                types=_distinct([kind]),
                predicate_types=_distinct([annotations.get(_PREDICATE_OF_BUNDLE, "")]),
                problem=problem,
            )

    def _tags(self, subject: Descriptor) -> Iterator[ReferringManifest]:
        for kind, tag in signature_tags(subject.digest, _TAGS).items():
            descriptor = self._repository.find(tag)
            if descriptor is None:
                continue
            self._take(1, 0)
            reference = replace(self._reference, tag=tag, digest=descriptor.digest)
            document, problem = self._read(descriptor)
            layers = document.layers if isinstance(document, Manifest) else ()
            predicates = (each.annotations.get(_PREDICATE_OF_LAYER, "") for each in layers)
            yield ReferringManifest(
                subject,
                kind,
                str(reference),
                descriptor,
                types=_distinct([each.media_type for each in layers]),
                predicate_types=_distinct(predicates),
                problem=problem,
            )

    def _read(self, descriptor: Descriptor) -> tuple[Manifest | Index | None, str]:
        """Return a manifest, or why it cannot be read."""
        self._take(0, min(descriptor.size, MAX_DOCUMENT))
        try:
            body = self._repository.read(descriptor, MAX_DOCUMENT)
            return parse(body, descriptor.media_type), ""
        except (DataLoss, InvalidArgument, NotFound) as error:
            return None, error.message

    def _take(self, manifests: int, size: int) -> None:
        """Count manifests and bytes. Raises ResourceExhausted if there are too many."""
        with self._lock:
            self._manifests_left -= manifests
            self._bytes_left -= size
            if self._manifests_left < 0 or self._bytes_left < 0:
                raise ResourceExhausted(
                    f"more than {_MAX_REFERRING} manifests or {_MAX_TOTAL >> 20} MiB refer to "
                    f"{self._reference}"
                )


def _type_of(document: Manifest | Index) -> str:
    """Return the artifact type; without one, the type of the config is the type of the artifact."""
    if document.artifact_type or isinstance(document, Index):
        return document.artifact_type
    return document.config.media_type


def _distinct(texts: Sequence[str] | Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, texts)))

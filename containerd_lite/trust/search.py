"""Finds the signatures and attestations of an image, wherever its repository has them.

cosign 3 attaches bundles as referrers of the image. cosign 2 and skopeo store signatures under the
tag ``sha256-….sig``, and cosign 2 stores attestations under ``sha256-….att``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol, TypeAlias, TypeVar

from ..errors import DataLoss, InvalidArgument, NotFound
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import Index, Manifest, parse
from ..oci.reference import MAX_TAG
from ..printable import quoted
from ..records import record
from .verdict import Rejection

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE_ENVELOPE = "application/vnd.dsse.envelope.v1+json"
#: The media type of the bundles that cosign 3 writes.
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
#: The prefix of the media types of all versions of bundles.
_BUNDLES = "application/vnd.dev.sigstore.bundle"

#: The maximum number of manifests that are read for one image, of layers of one manifest, and of
#: signatures of one image. cosign allows 1,000 of each (CVE-2023-46737, CVE-2024-29902).
MAX_MANIFESTS, MAX_LAYERS, MAX_CANDIDATES = 256, 1000, 1000
#: The maximum size of a signature, and of an attestation, in bytes.
MAX_BODY = 24 << 20
#: The maximum number of bytes that are read for one manifest or index.
_MAX_TOTAL = 256 << 20
#: The maximum number of manifests and layers that are read for all platforms of an image, and for
#: all images of an archive. Verifying as many signatures takes some seconds.
MAX_READS = 20_000

_Suffix = TypeVar("_Suffix", bound=str)

#: The maximum number of indexes in an image whose platforms are looked at.
_MAX_INDEXES = 64

#: Artifact types of referrers that can be signatures. In the index under the fallback tag, cosign
#: 3.1 writes the type of the empty config.
_ARTIFACT_TYPES = (_BUNDLES, "application/vnd.dev.cosign.artifact.", "application/vnd.oci.empty.")

#: A function that returns those children of an index that are used. It gets the index, and whether
#: the index is the root.
Choose: TypeAlias = Callable[[Manifest | Index, bool], Sequence[Descriptor]]


class Repository(Protocol):
    """The repository of an image, as a source of signatures."""

    def referrers(self, target: Descriptor) -> Sequence[Descriptor]:
        """Return the manifests whose subject is ``target``."""

    def find(self, tag: str) -> Descriptor | None:
        """Return the descriptor that a tag refers to; ``None`` if the tag does not exist."""

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """Return content that matches its descriptor.

        Raises:
            NotFound: The content does not exist.
            DataLoss: The content does not match its descriptor, or has more than ``limit`` bytes.
        """


@record(frozen=True)
class Candidate:
    """Bytes that can be a signature or an attestation of an image.

    Attributes:
        where: Where the bytes were found, for messages.
        media_type: The media type of the bytes.
        body: The bytes.
        annotations: The annotations of the bytes. In the tag form, they contain the signature.
        is_in_tag: Whether the bytes were found under a tag of cosign's, not in a referrer.
    """

    where: str
    media_type: str
    body: bytes
    annotations: dict[str, str]
    is_in_tag: bool

    @property
    def is_bundle(self) -> bool:
        """Whether the bytes are a Sigstore bundle."""
        return self.media_type.startswith(_BUNDLES)


def manifests_of(
    repository: Repository, target: Descriptor, choose: Choose | None = None
) -> Sequence[Descriptor]:
    """Return the manifests that an index, and the indexes in it, list. Each occurs once.

    Args:
        repository: The repository that has the indexes.
        target: The index.
        choose: A function that returns the used children of an index. Default: all.
    """
    found, indexes = {(target.media_type, target.digest): target}, [target]
    for index in indexes:  # nested indexes are appended
        document = parse(repository.read(index, MAX_DOCUMENT), index.media_type)
        for child in choose(document, index is target) if choose else document.children:
            key = (child.media_type, child.digest)
            if key not in found and media_types.is_index(child.media_type):
                indexes.append(child)
            found.setdefault(key, child)
        if len(indexes) > _MAX_INDEXES:
            raise InvalidArgument(f"{target.digest} has more than {_MAX_INDEXES} nested indexes")
    return [each for each in found.values() if not media_types.is_index(each.media_type)]


def signature_tag(digest: str, suffix: str) -> str:
    """Return cosign's tag for ``digest``: ``sha256-….sig``, ``.att`` or ``.sbom``."""
    return f"{digest.replace(':', '-', 1)}.{suffix}"


def signature_tags(digest: str, suffixes: Sequence[_Suffix]) -> Mapping[_Suffix, str]:
    """Return cosign's tags for ``digest``, by their suffixes. Tags that are too long are left out.

    For SHA-512, all tags are too long.
    """
    tags = {suffix: signature_tag(digest, suffix) for suffix in suffixes}
    return {suffix: tag for suffix, tag in tags.items() if len(tag) <= MAX_TAG}


def is_signature_layer(media_type: str) -> bool:
    """Return whether a layer of this media type can be a signature or an attestation."""
    return media_type in (SIMPLE_SIGNING, DSSE_ENVELOPE) or media_type.startswith(_BUNDLES)


def find_candidates(
    repository: Repository,
    target: Descriptor,
    *,
    attestations: bool,
    referrers: bool = True,
) -> Iterator[Candidate | Rejection]:
    """Yield the possible signatures and attestations of an image, each when it is asked for.

    Args:
        repository: The repository of the image.
        target: The image's manifest or index.
        attestations: Whether to look for attestations under cosign's tag, too.
        referrers: Whether to look for referrers of the image.
    """
    found = _find_all(repository, target, attestations=attestations, referrers=referrers)
    yield from islice(found, MAX_CANDIDATES)
    if next(found, None) is not None:
        yield Rejection("signatures", f"only the first {MAX_CANDIDATES} are read")


def _find_all(
    repository: Repository, target: Descriptor, *, attestations: bool, referrers: bool
) -> Iterator[Candidate | Rejection]:
    """Yield all of them; see ``find_candidates``."""
    reader = _ManifestReader(repository, target.digest)
    listed = [
        each
        for each in (repository.referrers(target) if referrers else ())
        if _may_be_signature(each)
    ]
    # Bundles come first, because other referrers are signatures only seldom.
    listed.sort(key=lambda each: not each.artifact_type.startswith(_BUNDLES))
    if len(listed) > MAX_MANIFESTS:
        yield Rejection("referrers", f"only the first {MAX_MANIFESTS} of {len(listed)} are read")
    for descriptor in listed[:MAX_MANIFESTS]:
        yield from reader.read_manifest(descriptor, f"referrer {descriptor.digest}", is_tag=False)
    suffixes = ("sig", "att") if attestations else ("sig",)
    for tag in signature_tags(target.digest, suffixes).values():
        found = repository.find(tag)
        if found is not None:
            yield from reader.read_manifest(found, f"tag {tag}", is_tag=True)


def _may_be_signature(descriptor: Descriptor) -> bool:
    kind = descriptor.artifact_type
    return not kind or kind.startswith(_ARTIFACT_TYPES)


class _ManifestReader:
    """Reads the manifests and layers with the signatures of one image, within limits."""

    def __init__(self, repository: Repository, digest: str) -> None:
        self._repository = repository
        self._digest = digest
        self._bytes_left = _MAX_TOTAL
        self._seen: set[tuple[str, int]] = set()

    def read_manifest(
        self, descriptor: Descriptor, where: str, *, is_tag: bool
    ) -> Iterator[Candidate | Rejection]:
        """Yield the layers of a manifest that can be signatures."""
        try:
            manifest = self._parse(descriptor)
        except (DataLoss, InvalidArgument, NotFound) as error:
            yield Rejection(where, error.message)
            return
        subject = manifest.subject.digest if manifest.subject else ""
        if subject != self._digest and (subject or not is_tag):
            yield Rejection(where, f"its subject is {quoted(subject)}, not the image")
            return
        if len(manifest.layers) > MAX_LAYERS:
            yield Rejection(where, f"it has more than the {MAX_LAYERS} layers allowed")
            return
        for number, layer in enumerate(manifest.layers, 1):
            if is_signature_layer(layer.media_type):
                found = self._read_layer(layer, f"{where}, layer {number}", is_tag=is_tag)
                if found is not None:
                    yield found

    def _parse(self, descriptor: Descriptor) -> Manifest:
        body = self._read(descriptor, MAX_DOCUMENT)
        document = parse(body, descriptor.media_type)
        if not isinstance(document, Manifest):
            raise InvalidArgument("it is an index, not a manifest")
        return document

    def _read_layer(
        self, layer: Descriptor, where: str, *, is_tag: bool
    ) -> Candidate | Rejection | None:
        annotations = dict(layer.annotations or {})
        key = (layer.digest, hash(frozenset(annotations.items())))  # annotations can be large
        if key in self._seen:
            return None
        self._seen.add(key)
        try:
            body = self._read(layer, MAX_BODY)
        except (DataLoss, InvalidArgument, NotFound) as error:
            return Rejection(where, error.message)
        return Candidate(where, layer.media_type, body, annotations, is_tag)

    def _read(self, descriptor: Descriptor, limit: int) -> bytes:
        if descriptor.size > min(limit, self._bytes_left):
            raise InvalidArgument(
                f"{descriptor.digest} has {descriptor.size} bytes, more than the "
                f"{min(limit, self._bytes_left)} allowed"
            )
        self._bytes_left -= descriptor.size
        if descriptor.data is not None:
            return descriptor.data
        return self._repository.read(descriptor, limit)

"""Signs images in registries, and attaches the signatures to the images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from ...errors import Conflict, InvalidArgument
from ...interrupt import check
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT
from ...oci.manifest import Manifest, parse
from ...oci.reference import Reference
from ...progress import ProgressCallback
from ...records import field, record, replace
from ...registry.openers import opener as content_opener
from ...registry.registry_access import RegistryOptions
from ...store.write_locks import write_lock
from ...trust import (
    PREDICATE_TYPES,
    SignatureManifest,
    SignedManifests,
    SignedPayload,
    SignedStatement,
    Signer,
    TagManifest,
    manifests_of,
    reference_of,
    sign_payload,
    sign_statement,
    signature_tag,
)
from ..image_backend import ImageBackend
from ..resolver import PushResolver, using
from .repositories import ResolverRepository

if TYPE_CHECKING:
    from .services import SigningServices

_Signed = TypeVar("_Signed", SignedPayload, SignedStatement)

_LOGGER = logging.getLogger(__package__)

#: Where a signature is stored: under cosign's tag, as a referrer of the image, or both.
SignatureForm = Literal["tag", "referrer", "both"]

#: How often a signature is appended again if another client has overwritten the tag meanwhile.
_MAX_TRIES = 10


@record(frozen=True)
class AttachedSignature:
    """A signature or an attestation that was attached to an image.

    Attributes:
        digest: The digest of the signed manifest or index.
        reference: The manifest that holds the signature: its digest, and its tag if it has one.
    """

    digest: str
    reference: str

    def __str__(self) -> str:
        return f"{self.digest} is signed by {self.reference}"


@record(frozen=True)
class SignRequest:
    """The options of a signature.

    Attributes:
        signer: The key.
        form: Where the signatures are stored.
        manifests: Which manifests of an image with an index are signed.
        annotations: Further parts of what is signed.
        progress: A function that is called with the events of the uploads.
        services: The services that prove the time of the signatures. Default: none.
    """

    signer: Signer
    form: SignatureForm = "both"
    manifests: SignedManifests = "both"
    annotations: Mapping[str, str] = field(default_factory=dict)
    progress: ProgressCallback | None = None
    services: SigningServices | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.signer, Signer):
            raise InvalidArgument(
                f"signer={type(self.signer).__name__} is not a Signer",
                remedy='Pass Signer.from_file("cosign.key", password)',
            )
        if self.form not in get_args(SignatureForm):
            raise InvalidArgument(f'form={self.form!r} is not "tag", "referrer" or "both"')
        if self.manifests not in get_args(SignedManifests):
            raise InvalidArgument(
                f'manifests={self.manifests!r} is not "index", "platforms" or "both"'
            )


def sign_request(signer: Signer | SignRequest) -> SignRequest:
    """Return how to sign, from a signer or from a request."""
    return signer if isinstance(signer, SignRequest) else SignRequest(signer)


def sign_reference(
    backend: ImageBackend,
    ref: str,
    request: SignRequest,
    resolver: PushResolver | RegistryOptions | None,
) -> tuple[AttachedSignature, ...]:
    """Sign an image in a registry; see ``Client.sign``."""
    with using(resolver, backend.host_caches, request.progress) as found:
        return sign_by_resolver(found, ref, request)


def sign_by_resolver(
    resolver: PushResolver, ref: str, request: SignRequest
) -> tuple[AttachedSignature, ...]:
    """Sign an image in a registry; see ``Client.sign``."""
    name, target = resolver.resolve(ref)
    return sign_target(resolver, reference_of(name), target, request)


def attest_reference(
    backend: ImageBackend,
    ref: str,
    predicate_type: str,
    predicate: Mapping[str, object],
    request: SignRequest,
    resolver: PushResolver | RegistryOptions | None,
) -> tuple[AttachedSignature, ...]:
    """Attach an attestation to an image in a registry; see ``Client.attest``."""
    with using(resolver, backend.host_caches, request.progress) as found:
        return attest_by_resolver(found, ref, predicate_type, predicate, request)


def attest_by_resolver(
    resolver: PushResolver,
    ref: str,
    predicate_type: str,
    predicate: Mapping[str, object],
    request: SignRequest,
) -> tuple[AttachedSignature, ...]:
    """Attach an attestation to an image in a registry; see ``Client.attest``."""
    kind = PREDICATE_TYPES.get(predicate_type, predicate_type)
    if ":" not in kind:
        raise InvalidArgument(
            f"{predicate_type!r} is not the type of a predicate",
            remedy=f"Pass a URI, or one of {', '.join(PREDICATE_TYPES)}",
        )
    name, target = resolver.resolve(ref)
    attacher = _Attacher(resolver, reference_of(name), request)
    return tuple(attacher.attest(target, kind, predicate))


def sign_target(
    resolver: PushResolver, reference: Reference, target: Descriptor, request: SignRequest
) -> tuple[AttachedSignature, ...]:
    """Sign a manifest, or an index and the manifests that it lists.

    The manifests must be in the registry.

    Args:
        resolver: Reaches the registry.
        reference: The name of the image.
        target: The manifest or index.
        request: What to sign, and how.
    """
    attacher = _Attacher(resolver, reference, request)
    return tuple(
        attached
        for manifest in _wanted(attacher.repository, target, request.manifests)
        for attached in attacher.sign(manifest)
    )


def _wanted(
    repository: ResolverRepository, target: Descriptor, manifests: SignedManifests
) -> Sequence[Descriptor]:
    """Return the manifests to sign. Platforms come first, so a signed index is complete."""
    if not media_types.is_index(target.media_type):
        return (target,)
    listed = manifests_of(repository, target) if manifests != "index" else ()
    return (*listed, target) if manifests != "platforms" else listed


class _Attacher:
    """Signs manifests of one image.

    Args:
        resolver: Reaches the registry.
        reference: The name of the image.
        request: How to sign.
    """

    def __init__(self, resolver: PushResolver, reference: Reference, request: SignRequest) -> None:
        self._resolver = resolver
        self._reference = reference
        self._request = request
        self.repository = ResolverRepository(resolver, reference)

    def sign(self, target: Descriptor) -> Sequence[AttachedSignature]:
        """Sign one manifest or index; return where the signatures are."""
        request = self._request
        signer, annotations = request.signer, request.annotations
        attached = []
        if request.form != "tag":
            statement = sign_statement(signer, target.digest, annotations=annotations)
            attached.append(self._locked(self._refer, target, self._proven(statement)))
        if request.form != "referrer":
            name = str(replace(self._reference, digest="")) if self._reference.tag else ""
            payload = sign_payload(
                signer, name or self._reference.name, target.digest, annotations=annotations
            )
            attached.append(self._locked(self._append, target, "sig", payload))
        for each in attached:
            _LOGGER.info("%s", each)
        return attached

    def attest(
        self, target: Descriptor, predicate_type: str, predicate: Mapping[str, object]
    ) -> Sequence[AttachedSignature]:
        """Attach an attestation to one manifest or index; return where the attestation is."""
        request = self._request
        statement = sign_statement(
            request.signer,
            target.digest,
            predicate_type,
            predicate,
            annotations=request.annotations,
        )
        attached = []
        if request.form != "tag":
            attached.append(self._locked(self._refer, target, self._proven(statement)))
        if request.form != "referrer":
            attached.append(self._locked(self._append, target, "att", statement))
        return attached

    def _locked(self, attach: Callable[..., AttachedSignature], *args: object) -> AttachedSignature:
        """Call ``attach`` while no other thread of this process attaches in the same repository.

        So no thread overwrites the changes of another thread. Besides, docker-registry 2.8 can
        refuse a manifest while another client uploads the same blob.
        """
        with write_lock(("sign", self._reference.name), check):
            return attach(*args)

    def _refer(self, target: Descriptor, statement: SignedStatement) -> AttachedSignature:
        """Push a referrer; push it again if another client has overwritten the list of referrers.

        A registry without the referrers API has no conditional PUT of the list, so two clients can
        overwrite each other's entries.
        """
        made = statement.to_referrer(target, datetime.now(timezone.utc))
        digest = made.manifest.descriptor.digest
        for _ in range(_MAX_TRIES):
            self._push(made, replace(self._reference, tag="", digest=digest))
            if any(found.digest == digest for found in self.repository.referrers(target)):
                return AttachedSignature(target.digest, f"{self._reference.name}@{digest}")
        raise self._conflict(target)

    def _proven(self, signed: _Signed, *, is_tag: bool = False) -> _Signed:
        """Return a signature with the proofs of the services."""
        services = self._request.services
        if services is None:
            if signed.signer.certificates:
                raise InvalidArgument(
                    "nothing proves the time of the signature, which its certificate needs",
                    remedy="Pass services= with a timestamp authority, or with Rekor 1",
                )
            return signed
        return replace(signed, proofs=services.prove(signed, is_tag=is_tag))

    def _append(self, target: Descriptor, suffix: str, signed: _Signed) -> AttachedSignature:
        """Append a layer to the manifest under one of cosign's tags.

        Registries have no conditional PUT. So the tag is read again afterwards, and the layer is
        appended again if another client has overwritten the tag.
        """
        tag = signature_tag(target.digest, suffix)
        reference = replace(self._reference, tag=tag, digest="")
        key = self._request.signer.public
        layer, made = signed.to_layer(), None
        for _ in range(_MAX_TRIES):
            found = self.repository.find(tag)
            old = TagManifest(self._layers(found, made))
            if found is not None and old.has(layer, key):
                return AttachedSignature(target.digest, f"{reference}@{found.digest}")
            if made is None:  # the services are asked only if the tag lacks the signature
                layer = self._proven(signed, is_tag=True).to_layer()
            made = old.with_layer(layer)
            self._push(made, reference)
        raise self._conflict(target)

    def _layers(
        self, descriptor: Descriptor | None, made: SignatureManifest | None
    ) -> tuple[Descriptor, ...]:
        """Return the layers under a tag. If the tag refers to ``made``, nothing is fetched."""
        if descriptor is None:
            return ()
        if made is not None and descriptor.digest == made.manifest.descriptor.digest:
            body = made.manifest.body
        else:
            body = self.repository.read(descriptor, MAX_DOCUMENT)
        manifest = parse(body, descriptor.media_type)
        if not isinstance(manifest, Manifest):
            raise InvalidArgument(f"{descriptor.digest} is an index, not a manifest of signatures")
        return manifest.layers

    def _push(self, made: SignatureManifest, reference: Reference) -> None:
        pusher = self._resolver.pusher(str(reference))
        progress = self._request.progress
        for blob in made.blobs:
            pusher.push(blob.descriptor, content_opener(blob.body), progress=progress)
        manifest = made.manifest
        if reference.digest:
            pusher.push(manifest.descriptor, content_opener(manifest.body), progress=progress)
        else:
            pusher.name(manifest.descriptor, manifest.body, progress=progress)

    def _conflict(self, target: Descriptor) -> Conflict:
        return Conflict(
            f"other clients overwrote the signatures of {self._reference.name}@{target.digest} "
            f"{_MAX_TRIES} times",
            remedy="Sign again",
        )

"""The verbs of clients and layouts for signatures: verify, sign and attest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ... import images
from ...printable import quoted
from .. import signatures
from ..base import Verbs

if TYPE_CHECKING:
    from ...operation import CancelToken
    from ...progress import ProgressCallback
    from ...registry.registry_access import RegistryCredentials, RegistryOptions
    from ...trust.rules import SignedManifests
    from ...trust.signers import Signer
    from ...trust.verdict import Verdict
    from ..image import Image
    from ..resolver import PushResolver, Resolver
    from .policies import PolicyLike
    from .services import SigningServices
    from .sign import AttachedSignature, SignatureForm


class SignatureVerbs(Verbs):
    """The verbs for signatures of images."""

    def verify_signatures(
        self,
        source: str | Image,
        policy: PolicyLike | None = None,
        *,
        platform: str | Sequence[str] | None = None,
        resolver: Resolver | None = None,
        registry: RegistryOptions | None = None,
        credentials: RegistryCredentials | None = None,
        plain_http: bool | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Verdict:
        """Verify the signatures of an image against a policy, without pulling the image.

        Args:
            source: The reference of an image in a registry; its signatures are looked for in the
                registry. Or an ``Image`` of the store; its signatures are looked for in the store.
                They are there if the image was pulled with ``referrers``, or imported with its
                signatures.
            policy: The policy, or the path of its file. It applies together with the policy of the
                client. Default: the policy of the client.
            platform: The platforms that are verified if the policy wants a signature of each
                platform. Default: all.
            resolver: As for ``pull``.
            registry: As for ``pull``.
            credentials: As for ``pull``.
            plain_http: As for ``pull``.
            timeout: As for ``pull``.
            cancel: As for ``pull``.

        Returns:
            What was verified, by whose signatures, and by which rule.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: The call took longer than ``timeout``.
            Unsigned: The image has no signature.
            Untrusted: The signatures do not meet the policy. ``rejected`` says why.
            SignatureError: No rule of the policy applies to the image, or a rule rejects it.
            SignaturesUnavailable: The registry failed, so it is unknown whether there are
                signatures.
            NotFound: The image does not exist.
            InvalidArgument: No policy was passed, or an argument is invalid.
        """
        with self._operation(f"verification of {quoted(source)}", timeout, cancel):
            return images.verify_signatures(
                self._images,
                source,
                policy,
                platform=platform,
                resolver=self._registry(resolver, registry, credentials, plain_http),
            )

    def sign(
        self,
        ref: str,
        signer: Signer,
        *,
        form: SignatureForm = "both",
        manifests: SignedManifests = "both",
        annotations: Mapping[str, str] | None = None,
        services: SigningServices | None = None,
        resolver: PushResolver | None = None,
        registry: RegistryOptions | None = None,
        credentials: RegistryCredentials | None = None,
        plain_http: bool | None = None,
        progress: ProgressCallback | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> tuple[AttachedSignature, ...]:
        """Sign an image in a registry, and attach the signatures to it.

        Signatures of others stay. A manifest that the same key has signed already, with the same
        name and annotations, gets no second signature under cosign's tag.

        Args:
            ref: The reference of the image. If it has a digest, this digest is signed.
            signer: The key, such as ``Signer.from_file("cosign.key", password)``.
            form: Where the signatures are stored. ``"tag"``: under cosign's tag, which cosign 2 and
                skopeo read. ``"referrer"``: as a bundle in a referrer of the image, which cosign 3
                reads. ``"both"``: cosign 3 reads both.
            manifests: Which manifests of an image with an index are signed. ``"index"``: the index,
                which is what cosign verifies. ``"platforms"``: each manifest that it lists, which
                is what skopeo verifies. ``"both"``: all of them.
            annotations: Further parts of what is signed, such as the number of a build.
            services: The transparency log and the timestamp authority that prove the time of the
                signatures. A signer with a certificate needs them. Default: none.
            resolver: As for ``push``.
            registry: As for ``pull``.
            credentials: As for ``pull``.
            plain_http: As for ``pull``.
            progress: As for ``push``.
            timeout: As for ``pull``.
            cancel: As for ``pull``.

        Returns:
            For each signature: what it signs, and where it is.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: The call took longer than ``timeout``.
            NotFound: The image does not exist.
            RegistryUnauthorized: The registry refuses access.
            Conflict: Other clients overwrote the signatures again and again.
            InvalidArgument: An argument is invalid.
        """
        request = signatures.SignRequest(
            signer=signer,
            form=form,
            manifests=manifests,
            annotations=dict(annotations or {}),
            progress=progress,
            services=services,
        )
        with self._operation(f"signing of {quoted(ref)}", timeout, cancel):
            return signatures.sign_reference(
                self._images,
                ref,
                request,
                self._registry(resolver, registry, credentials, plain_http),
            )

    def attest(
        self,
        ref: str,
        predicate: Mapping[str, object],
        type: str,
        signer: Signer,
        *,
        form: SignatureForm = "referrer",
        annotations: Mapping[str, str] | None = None,
        services: SigningServices | None = None,
        resolver: PushResolver | None = None,
        registry: RegistryOptions | None = None,
        credentials: RegistryCredentials | None = None,
        plain_http: bool | None = None,
        progress: ProgressCallback | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> tuple[AttachedSignature, ...]:
        """Attach a signed attestation to an image in a registry.

        Args:
            ref: The reference of the image. If it refers to an index, the attestation is about the
                index.
            predicate: What is stated about the image, such as an SBOM. It must fit into JSON.
            type: The type of the predicate: a URI, or a word that cosign knows (``"spdxjson"``,
                ``"slsaprovenance1"``, ``"cyclonedx"``, ``"vuln"``, ``"openvex"``).
            signer: The key.
            form: As for ``sign``.
            annotations: Annotations of the attestation's subject.
            services: As for ``sign``.
            resolver: As for ``push``.
            registry: As for ``pull``.
            credentials: As for ``pull``.
            plain_http: As for ``pull``.
            progress: As for ``push``.
            timeout: As for ``pull``.
            cancel: As for ``pull``.

        Returns:
            Where the attestation is.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: The call took longer than ``timeout``.
            NotFound: The image does not exist.
            RegistryUnauthorized: The registry refuses access.
            Conflict: Other clients overwrote the attestations again and again.
            InvalidArgument: An argument is invalid.
        """
        request = signatures.SignRequest(
            signer=signer,
            form=form,
            annotations=dict(annotations or {}),
            progress=progress,
            services=services,
        )
        with self._operation(f"attestation of {quoted(ref)}", timeout, cancel):
            return signatures.attest_reference(
                self._images,
                ref,
                type,
                predicate,
                request=request,
                resolver=self._registry(resolver, registry, credentials, plain_http),
            )

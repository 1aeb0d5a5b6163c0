"""Verifies that images meet policies: images in registries, and images in a store."""

from __future__ import annotations

from collections.abc import Sequence

from ...oci.descriptor import Descriptor
from ...oci.manifest import Index, Manifest
from ...oci.reference import Reference
from ...records import record
from ...registry.registry_access import RegistryOptions
from ...trust import Policy, Repository, Verdict, enforce, reference_of
from ..image import Image
from ..image_backend import ImageBackend
from ..platforms import Platforms, wanted_children
from ..resolver import Resolver, using
from .repositories import ResolverRepository, StoreRepository


@record(frozen=True)
class Guard:
    """The policies that an image must meet before it is used.

    Attributes:
        policies: The policies. An image must meet all of them.
    """

    policies: tuple[Policy, ...]

    def check_pull(
        self, resolver: Resolver, name: str, target: Descriptor, platforms: Platforms | None = None
    ) -> Verdict:
        """Verify an image that a resolver has found; see ``check``."""
        reference = reference_of(name)
        return self.check(ResolverRepository(resolver, reference), reference, target, platforms)

    def check(
        self,
        repository: Repository,
        reference: Reference,
        target: Descriptor,
        platforms: Platforms | None = None,
    ) -> Verdict:
        """Verify an image; see ``trust.enforce``.

        Args:
            repository: The repository that has the signatures.
            reference: The name under which the image is used.
            target: The image's manifest or index.
            platforms: The platforms that are used. Default: all.

        Raises:
            SignatureError: The image does not meet the policies.
        """
        wanted = platforms or Platforms(None)

        def choose(document: Manifest | Index, is_root: bool) -> Sequence[Descriptor]:
            return wanted_children(document, wanted, target.digest, is_root=is_root)

        return enforce(self.policies, repository, reference, target, choose)


def verify_image(
    backend: ImageBackend,
    source: str | Image,
    guard: Guard,
    *,
    platform: str | Sequence[str] | None,
    resolver: Resolver | RegistryOptions | None,
) -> Verdict:
    """Verify the signatures of an image; see ``Client.verify_signatures``."""
    platforms = None if platform is None else Platforms.of(platform)
    if isinstance(source, Image):
        reference = reference_of(source.name)
        repository = StoreRepository(backend.names, backend.store, reference)
        return guard.check(repository, reference, source.target, platforms)
    with using(resolver, backend.host_caches) as found:
        return _verify_reference(guard, found, source, platforms)


def verify_by_resolver(
    resolver: Resolver, ref: str, policy: Policy, *, platform: str | Sequence[str] | None = None
) -> Verdict:
    """Verify the signatures of an image in a registry; see ``Client.verify_signatures``."""
    platforms = None if platform is None else Platforms.of(platform)
    return _verify_reference(Guard((policy,)), resolver, ref, platforms)


def _verify_reference(
    guard: Guard, resolver: Resolver, ref: str, platforms: Platforms | None
) -> Verdict:
    name, target = resolver.resolve(ref)
    return guard.check_pull(resolver, name, target, platforms)

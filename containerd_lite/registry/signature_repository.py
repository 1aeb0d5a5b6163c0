"""A repository of a registry as a source of signatures; see ``trust.Repository``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

from ..errors import RegistryNotFound, SizeMismatch
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.reference import Reference
from ..records import replace
from ..trust import enforce

if TYPE_CHECKING:
    from ..trust.policy import Policy
    from ..trust.verdict import Verdict
    from .blob import BlobReader
    from .parts import PartsReader


class _Registry(Protocol):
    """The methods of ``Registry`` that find and read signatures."""

    def resolve(self, reference: Reference) -> Descriptor: ...
    def referrers(self, reference: Reference) -> tuple[Descriptor, ...]: ...
    def fetch_manifest(self, reference: Reference, descriptor: Descriptor) -> bytes: ...
    def open_blob(
        self, reference: Reference, descriptor: Descriptor
    ) -> BlobReader | PartsReader: ...


class SignatureRepository:
    """The repository of an image.

    Args:
        registry: The registry.
        reference: The image.
    """

    def __init__(self, registry: _Registry, reference: Reference) -> None:
        self._registry = registry
        self._reference = reference

    def referrers(self, target: Descriptor) -> Sequence[Descriptor]:
        """Return the manifests whose subject is ``target``."""
        return self._registry.referrers(replace(self._reference, digest=target.digest))

    def find(self, tag: str) -> Descriptor | None:
        """Return the descriptor that a tag refers to; ``None`` if the tag does not exist."""
        try:
            return self._registry.resolve(replace(self._reference, tag=tag, digest=""))
        except RegistryNotFound:
            return None

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """Return content that matches its descriptor; see ``trust.Repository``."""
        if descriptor.size > limit:
            raise SizeMismatch(f"{descriptor.digest} is larger than the {limit} bytes allowed")
        if media_types.is_document(descriptor.media_type):
            return self._registry.fetch_manifest(self._reference, descriptor)
        with closing(self._registry.open_blob(self._reference, descriptor)) as reader:
            return reader.read()


def verify_reference(registry: _Registry, reference: Reference, policy: Policy) -> Verdict:
    """Verify the signatures of an image; see ``Registry.verify_signatures``."""
    target = registry.resolve(reference)
    return enforce((policy,), SignatureRepository(registry, reference), reference, target)

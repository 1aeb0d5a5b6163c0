"""Verifies that images meet policies."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone

from ...errors import (
    Cancelled,
    ContainerdError,
    DataLoss,
    InvalidArgument,
    NotFound,
    SignatureError,
    SignaturesUnavailable,
    Untrusted,
)
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT
from ...oci.manifest import parse
from ...oci.reference import Reference
from ...records import record
from ...trust import JudgedImage, Policy, Repository, Rule, Verdict, distinct, judge_image
from ..image import Image
from ..image_backend import ImageBackend
from ..names import parse_name
from ..platforms import Platforms, wanted_children
from ..resolver import Resolver, using
from .repositories import ResolverRepository, StoreRepository

_LOGGER = logging.getLogger("containerd_lite.images")

#: The maximum number of indexes in an image of which each platform must be signed.
_MAX_INDEXES = 64


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
        """Verify an image.

        Args:
            repository: The repository that has the signatures.
            reference: The name under which the image is used.
            target: The image's manifest or index.
            platforms: The platforms that are used. Default: all.

        Returns:
            What was verified. If several policies apply, the verdict names all of their rules.

        Raises:
            Unsigned: The image has no signature.
            Untrusted: The signatures do not meet the policies.
            SignatureError: No rule applies to the image, or a rule rejects it.
            SignaturesUnavailable: The repository could not be read.
        """
        watched, now = _Watched(repository, reference), datetime.now(timezone.utc)
        verdicts: list[Verdict] = []
        for policy in self.policies:
            pattern, rules = policy.rules_for(reference)
            roots = [target]
            if media_types.is_index(target.media_type) and any(r.signed != "index" for r in rules):
                roots += manifests_of(watched, target, platforms or Platforms(None))
            for root in roots:
                wanted = [rule for rule in rules if _applies(rule, root, target)]
                judged = JudgedImage(reference, root)
                if wanted:
                    verdicts.append(judge_image(wanted, judged, watched, now, pattern=pattern))
            if any(not any(_applies(rule, root, target) for root in roots) for rule in rules):
                raise Untrusted(f"{reference} ({target.digest}) lists no manifest to verify")
        verdict = Verdict(
            target.digest,
            " and ".join(dict.fromkeys(each.rule for each in verdicts)),
            distinct(found for each in verdicts for found in each.signatures),
            tuple(found for each in verdicts for found in each.attestations),
            now,
        )
        _LOGGER.info("%s: %s", reference, verdict)
        return verdict


def verify_image(
    backend: ImageBackend,
    source: str | Image,
    guard: Guard,
    *,
    platform: str | Sequence[str] | None,
    resolver: Resolver | None,
) -> Verdict:
    """Verify the signatures of an image; see ``Client.verify_signatures``."""
    platforms = None if platform is None else Platforms.of(platform)
    if isinstance(source, Image):
        reference = reference_of(source.name)
        repository = StoreRepository(backend.names, backend.store, reference)
        return guard.check(repository, reference, source.target, platforms)
    with using(resolver) as found:
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


def reference_of(name: str) -> Reference:
    """Return a name as a reference. Raises SignatureError if it is not a reference."""
    reference = parse_name(name)
    if reference is None:
        raise SignatureError(
            f"{name!r} is not a reference, so no rule of a policy can apply to it",
            remedy="Pass a reference with ref=",
        )
    return reference


def _applies(rule: Rule, manifest: Descriptor, root: Descriptor) -> bool:
    """Return whether a rule wants a signature of a manifest of an image."""
    if not media_types.is_index(root.media_type) or rule.accept or rule.reject:
        return manifest is root
    return rule.signed == "both" or (rule.signed == "index") == (manifest is root)


def manifests_of(
    repository: Repository, target: Descriptor, platforms: Platforms
) -> Sequence[Descriptor]:
    """Return the manifests that an index and the indexes in it list for the platforms."""
    found: list[Descriptor] = []
    indexes = [target]
    for index in indexes:  # nested indexes are appended
        document = parse(repository.read(index, MAX_DOCUMENT), index.media_type)
        for child in wanted_children(document, platforms, target.digest, is_root=index is target):
            (indexes if media_types.is_index(child.media_type) else found).append(child)
        if len(indexes) > _MAX_INDEXES:
            raise InvalidArgument(f"{target.digest} has more than {_MAX_INDEXES} nested indexes")
    return found


class _Watched:
    """A repository whose failures become ``SignaturesUnavailable``; a ``trust.Repository``.

    A registry that does not answer says nothing about signatures. So its failure never means that
    an image is unsigned.
    """

    def __init__(self, repository: Repository, reference: Reference) -> None:
        self._repository = repository
        self._reference = reference

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except (Cancelled, SignatureError):
            raise
        except ContainerdError as error:
            raise SignaturesUnavailable(
                f"the signatures of {self._reference} cannot be read: {error}",
                remedy=error.remedy,
            ) from error

    def referrers(self, target: Descriptor) -> Sequence[Descriptor]:
        """Return the manifests whose subject is ``target``."""
        with self._reporting():
            return self._repository.referrers(target)

    def find(self, tag: str) -> Descriptor | None:
        """Return the descriptor that a tag refers to; ``None`` if the tag does not exist."""
        with self._reporting():
            return self._repository.find(tag)

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """Return content that matches its descriptor. Content can be missing or broken."""
        with self._reporting():
            try:
                return self._repository.read(descriptor, limit)
            except (DataLoss, InvalidArgument, NotFound) as error:
                failure = error
        raise failure

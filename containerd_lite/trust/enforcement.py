"""Verifies that an image meets policies, whatever its repository is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone

from ..errors import (
    Cancelled,
    ContainerdError,
    DataLoss,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    SignatureError,
    SignaturesUnavailable,
    Untrusted,
)
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.reference import Reference
from .judge import JudgedImage, judge_image
from .policy import Policy
from .rules import Rule
from .search import MAX_READS, Choose, Repository, manifests_of
from .verdict import Verdict, distinct

_LOGGER = logging.getLogger(__package__)


def enforce(
    policies: Sequence[Policy],
    repository: Repository,
    reference: Reference,
    target: Descriptor,
    choose: Choose | None = None,
) -> Verdict:
    """Verify that an image meets policies.

    Args:
        policies: The policies. The image must meet all of them.
        repository: The repository that has the signatures.
        reference: The name under which the image is used.
        target: The image's manifest or index.
        choose: A function that returns the used children of an index. Default: all.

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
    for policy in policies:
        pattern, rules = policy.rules_for(reference)
        roots = [target]
        if media_types.is_index(target.media_type) and any(r.signed != "index" for r in rules):
            roots += manifests_of(watched, target, choose)
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


def reference_of(name: str) -> Reference:
    """Return a name as a reference.

    Raises:
        SignatureError: The name is not a reference.
    """
    try:
        return Reference.parse(name)
    except InvalidArgument:
        raise SignatureError(
            f"{name!r} is not a reference, so no rule of a policy can apply to it",
            remedy="Pass a reference with ref=",
        ) from None


def _applies(rule: Rule, manifest: Descriptor, root: Descriptor) -> bool:
    """Return whether a rule wants a signature of a manifest of an image."""
    if not media_types.is_index(root.media_type) or rule.accept or rule.reject:
        return manifest is root
    return rule.signed == "both" or (rule.signed == "index") == (manifest is root)


class _Watched:
    """A repository whose failures become ``SignaturesUnavailable``; a ``trust.Repository``.

    A registry that does not answer says nothing about signatures. So its failure never means that
    an image is unsigned.
    """

    def __init__(self, repository: Repository, reference: Reference) -> None:
        self._repository = repository
        self._reference = reference
        self._reads_left = MAX_READS

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
            self._reads_left -= 1
            if self._reads_left < 0:
                raise ResourceExhausted(f"there are more than {MAX_READS} manifests and signatures")
            try:
                return self._repository.read(descriptor, limit)
            except (DataLoss, InvalidArgument, NotFound) as error:
                failure = error
        raise failure

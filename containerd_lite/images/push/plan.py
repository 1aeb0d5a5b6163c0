"""Plans a push: decides which content is pushed in which order, and finds missing content.

The module ``delivery`` pushes the content of a plan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Protocol

from ...errors import InvalidArgument, NotFound
from ...oci import digest as digests
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...oci.manifest import Index, Manifest, parse
from ...records import field, record, replace
from ..job import Job
from ..platforms import Platforms, wanted_children
from ..walk import Dispatcher, Handler, key

_Key = tuple[str, str]


class Contents(Protocol):
    """Reads the content to push, from a store or a registry."""

    @property
    def remedy(self) -> str:
        """The remedy in the error that reports missing content."""

    def missing(self, contents: Sequence[Descriptor]) -> set[str]:
        """Return the digests of the content that cannot be read.

        Content does not count as missing if only an attempt to read it can show this.
        """

    def read(self, document: Descriptor) -> bytes:
        """Return the verified content of a manifest or index.

        Raises:
            NotFound: The content is missing.
        """

    def open_at(self, blob: Descriptor, offset: int) -> BinaryIO:
        """Return the blob as a file that begins at ``offset``.

        Raises:
            NotFound: The content is missing.
        """

    def repositories(self, blob: Descriptor, parents: Sequence[Descriptor]) -> Sequence[str]:
        """Return repositories of the destination's registry that probably have the blob.

        The most probable repository comes first.
        """


@record(frozen=True)
class Choice:
    """The caller's choice of what to push.

    Attributes:
        name: The name of the image, for error messages.
        platforms: The platforms to push; ``None`` means all.
        sparse: Whether an index is pushed unchanged even if some of its manifests are not pushed.
    """

    name: str
    platforms: Platforms | None = None
    sparse: bool = False

    def of(self, document: Manifest | Index, is_root: bool) -> Sequence[Descriptor]:
        """Return the wanted children of a document."""
        if self.platforms is None:
            return document.children
        return wanted_children(document, self.platforms, self.name, is_root=is_root)

    def may_be_missing(self, entry: Descriptor) -> bool:
        """Return whether to leave an index entry out if some content of this entry is missing."""
        if self.platforms is None:
            return self.sparse
        return media_types.is_attestation(entry.media_type, entry.annotations)


@record
class Plan:
    """All content that a push sends.

    Attributes:
        blobs: The blobs by digest, in any order.
        documents: The manifests and indexes, children before parents. The last document is the
            root.
        reduced: The content of the reduced indexes, by digest. The planner makes these indexes, so
            no store contains them.
        parents: The documents that refer to a child, by the child's digest.
        is_sparse: Whether an index is pushed unchanged although some of its manifests are not
            pushed.
    """

    blobs: dict[str, Descriptor] = field(default_factory=dict)
    documents: list[Descriptor] = field(default_factory=list)
    reduced: dict[str, bytes] = field(default_factory=dict)
    parents: dict[str, list[Descriptor]] = field(default_factory=dict)
    is_sparse: bool = False

    @property
    def root(self) -> Descriptor:
        """The descriptor that the destination's name will refer to."""
        return self.documents[-1]


@record(frozen=True)
class _Node:
    """A document, its wanted children and its wanted referrers."""

    document: Manifest | Index
    children: Sequence[Descriptor]
    referrers: Sequence[Descriptor] = ()


class Planner:
    """Reads a target and its descendants, and decides what to push.

    Args:
        contents: Reads the content.
        choice: The caller's choice.
        job: The job that the push is part of.
        workers: How many documents are read at a time.
        referrers: A function that returns the referrers to push together with a document.
    """

    def __init__(
        self,
        contents: Contents,
        choice: Choice,
        job: Job,
        *,
        workers: int,
        referrers: Handler = lambda document: (),
    ) -> None:
        self._contents = contents
        self._choice = choice
        self._job = job
        self._workers = workers
        self._referrers = referrers
        self._nodes: dict[_Key, _Node] = {}
        #: The digests of missing content.
        self._missing: set[str] = set()
        #: The digests of missing foreign layers, which clients fetch from their URLs.
        self._missing_foreign: set[str] = set()
        #: For each descriptor: the digests of the missing content that prevents the push.
        self._missing_by_key: dict[_Key, set[str]] = {}
        #: The descriptor to push for each planned descriptor, by the key of the planned descriptor.
        #: The two differ only for an index that is reduced.
        self._pushed_as: dict[_Key, Descriptor] = {}
        self._plan = Plan()
        self._target: Descriptor | None = None

    def plan(self, target: Descriptor) -> Plan:
        """Return the plan for pushing ``target``.

        Raises:
            NotFound: Content is missing. The message lists the digests of the missing content.
            NoMatchingPlatform: The target lacks a wanted platform.
            InvalidArgument: The target is neither a manifest nor an index.
        """
        if not media_types.is_document(target.media_type):
            raise InvalidArgument(
                f"{target.digest} must be a manifest or index, not {target.media_type}"
            )
        self._target = target
        with Dispatcher(self._examine, self._workers, self._job) as dispatcher:
            dispatcher.add(target)
            dispatcher.wait()
        if missing := sorted(self._missing_for(target)):
            raise self._incomplete(target, missing)
        self._add(target)
        return self._plan

    def _examine(self, descriptor: Descriptor) -> Sequence[Descriptor]:
        """Read a document, look for its blobs, and return its wanted documents and referrers.

        The dispatcher calls this method with each document.
        """
        try:
            document = parse(self._contents.read(descriptor), descriptor.media_type)
        except NotFound:
            self._missing.add(descriptor.digest)
            return ()
        wanted = self._choice.of(document, is_root=descriptor == self._target)
        node = _Node(document, wanted, tuple(self._referrers(descriptor)))
        self._nodes[key(descriptor)] = node
        documents = [child for child in wanted if media_types.is_document(child.media_type)]
        blobs = [child for child in wanted if not media_types.is_document(child.media_type)]
        # The labels of the document name further repositories from which blobs can be mounted.
        missing = self._contents.missing((descriptor, *blobs))
        for blob in blobs:
            if blob.digest in missing:
                (self._missing_foreign if blob.is_foreign else self._missing).add(blob.digest)
        return (*documents, *node.referrers)

    def _incomplete(self, target: Descriptor, missing: Sequence[str]) -> NotFound:
        """Return the error for missing content. It names the platforms that are here."""
        text, remedy = f"{self._choice.name} lacks {digests.listed(missing)}", self._contents.remedy
        node = self._nodes.get(key(target))
        found: dict[bool, list[str]] = {True: [], False: []}
        for entry in node.children if node and isinstance(node.document, Index) else ():
            if entry.platform and not media_types.is_attestation(
                entry.media_type, entry.annotations
            ):
                found[not self._missing_for(entry)].append(str(entry.platform))
        if found[True] and found[False]:
            text += f", the content of {', '.join(found[False])}"
            remedy = f"Pass platform={found[True]} to push what is here. {remedy}"
        return NotFound(text, remedy=remedy)

    def _missing_for(self, descriptor: Descriptor) -> set[str]:
        """Return the digests of the missing content that prevents the push of ``descriptor``."""
        own_key = key(descriptor)
        if descriptor.digest in self._missing:
            return {descriptor.digest}
        if own_key not in self._missing_by_key:
            node = self._nodes.get(own_key)
            found = [(child, self._missing_for(child)) for child in node.children] if node else []
            if (
                node
                and isinstance(node.document, Index)
                and not all(missing for _, missing in found)
            ):
                found = [pair for pair in found if not self._choice.may_be_missing(pair[0])]
            self._missing_by_key[own_key] = set().union(*(missing for _, missing in found))
        return self._missing_by_key[own_key]

    def _add(self, descriptor: Descriptor) -> Descriptor:
        """Add a descriptor to the plan, after the content that it refers to.

        Return the descriptor to push (see ``_pushed_as``).
        """
        own_key = key(descriptor)
        if own_key in self._pushed_as or descriptor.digest in self._missing_foreign:
            return self._pushed_as.get(own_key, descriptor)
        self._pushed_as[own_key] = descriptor
        node = self._nodes.get(own_key)
        if node is None:
            self._plan.blobs[descriptor.digest] = descriptor
            return descriptor
        pushed_as = {key(c): self._add(c) for c in node.children if not self._missing_for(c)}
        for child in pushed_as.values():
            self._plan.parents.setdefault(child.digest, []).append(descriptor)
        if isinstance(node.document, Index) and not self._stays_unchanged(node.document, pushed_as):
            descriptor = self._reduce(descriptor, node.document, pushed_as)
            self._pushed_as[own_key] = descriptor
        else:  # no referrer refers to a reduced index, because its digest is new
            for referrer in node.referrers:
                if not self._missing_for(referrer):
                    self._add(referrer)
        self._plan.documents.append(descriptor)
        return descriptor

    def _stays_unchanged(self, index: Index, pushed_as: Mapping[_Key, Descriptor]) -> bool:
        """Return whether an index is pushed unchanged, and record whether the plan is sparse."""
        if all(
            key(entry) in pushed_as and pushed_as[key(entry)].digest == entry.digest
            for entry in index.manifests
        ):
            return True
        self._plan.is_sparse = self._choice.sparse
        return self._choice.sparse

    def _reduce(
        self, descriptor: Descriptor, index: Index, pushed_as: Mapping[_Key, Descriptor]
    ) -> Descriptor:
        """Make a new index with only the pushed entries, and return its descriptor.

        If a nested index is reduced, its entry in the outer index gets the new digest and size. All
        other fields stay unchanged.
        """
        document = json.loads(self._contents.read(descriptor))
        pairs = zip(document["manifests"], map(key, index.manifests), strict=True)
        document["manifests"] = [
            {**entry, "digest": pushed_as[entry_key].digest, "size": pushed_as[entry_key].size}
            for entry, entry_key in pairs
            if entry_key in pushed_as
        ]
        body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        digest = digests.of(body)
        self._plan.reduced[digest] = body
        return replace(descriptor, digest=digest, size=len(body), data=None)

"""What goes along with a target, what of it is missing, and in which order it is pushed.

What lives here: the plan, and how it is made.  What may not: carrying it out (``push``); requests.
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
    """Where what is pushed is read."""

    @property
    def remedy(self) -> str:
        """What helps where something is missing."""

    def has(self, blob: Descriptor) -> bool:
        """Whether it can be read, as far as that is known at once."""

    def read(self, document: Descriptor) -> bytes:
        """A manifest or index, verified.  Raises ``NotFound``."""

    def open_at(self, blob: Descriptor, offset: int) -> BinaryIO:
        """A blob from ``offset`` (bytes) on.  Raises ``NotFound``."""

    def repositories(self, blob: Descriptor, parents: Sequence[Descriptor]) -> Sequence[str]:
        """Repositories of the target's registry that may have it, the likeliest first."""


@record(frozen=True)
class Choice:
    """What of a target is to go along; ``name`` is for errors."""

    name: str
    platforms: Platforms | None = None
    sparse: bool = False

    def of(self, document: Manifest | Index, is_root: bool) -> Sequence[Descriptor]:
        """What a document refers to and is wanted."""
        if self.platforms is None:
            return document.children
        return wanted_children(document, self.platforms, self.name, is_root=is_root)

    def may_lack(self, entry: Descriptor) -> bool:
        """Whether an entry stays behind where its content is not all there."""
        if self.platforms is None:
            return self.sparse
        return media_types.is_attestation(entry.media_type, entry.annotations)


@record
class Plan:
    """What is to be pushed; ``documents`` are in order, the last one is the root.

    ``made`` are the bodies of the documents that are nowhere but here, ``parents`` the documents
    that refer to a blob, by its digest.
    """

    blobs: dict[str, Descriptor] = field(default_factory=dict)
    documents: list[Descriptor] = field(default_factory=list)
    made: dict[str, bytes] = field(default_factory=dict)
    parents: dict[str, list[Descriptor]] = field(default_factory=dict)
    is_sparse: bool = False

    @property
    def root(self) -> Descriptor:
        return self.documents[-1]


@record(frozen=True)
class _Node:
    """A document, what of it is wanted, and what refers to it and is wanted, too."""

    document: Manifest | Index
    children: Sequence[Descriptor]
    referrers: Sequence[Descriptor] = ()


class Planner:
    """Finds out what is below a target, what is missing, and what goes along."""

    def __init__(
        self,
        contents: Contents,
        choice: Choice,
        job: Job,
        *,
        workers: int,
        referrers: Handler = lambda document: (),
    ) -> None:
        """``referrers`` gives further manifests that go along with a document."""
        self._contents = contents
        self._choice = choice
        self._job = job
        self._workers = workers
        self._referrers = referrers
        self._nodes: dict[_Key, _Node] = {}
        self._absent: set[str] = set()
        self._away: set[str] = set()  # foreign layers, which are had by their URLs
        self._lacks: dict[_Key, set[str]] = {}
        self._placed: dict[_Key, Descriptor] = {}
        self._plan = Plan()
        self._target: Descriptor | None = None

    def plan(self, target: Descriptor) -> Plan:
        """Raises ``NotFound``, ``NoMatchingPlatform``, and what the contents raise."""
        if not media_types.is_document(target.media_type):
            raise InvalidArgument(f"{target.digest} is no manifest or index: {target.media_type}")
        self._target = target
        with Dispatcher(self._look, self._workers, self._job) as dispatcher:
            dispatcher.add(target)
            dispatcher.wait()
        if missing := sorted(self._lacking(target)):
            raise NotFound(
                f"{self._choice.name} lacks {digests.listed(missing)}",
                remedy=self._contents.remedy,
            )
        self._place(target)
        return self._plan

    def _look(self, descriptor: Descriptor) -> Sequence[Descriptor]:
        """A handler: notes what a descriptor is, and gives what of it is wanted."""
        media_type = descriptor.media_type
        if not media_types.is_document(media_type):
            if not self._contents.has(descriptor):
                absent = self._away if descriptor.is_foreign else self._absent
                absent.add(descriptor.digest)
            return ()
        try:
            document = parse(self._contents.read(descriptor), media_type)
        except NotFound:
            self._absent.add(descriptor.digest)
            return ()
        wanted = self._choice.of(document, is_root=descriptor == self._target)
        node = _Node(document, wanted, tuple(self._referrers(descriptor)))
        self._nodes[key(descriptor)] = node
        return (*node.children, *node.referrers)

    def _lacking(self, descriptor: Descriptor) -> set[str]:
        """The digests that are missing, and without which the descriptor does not go along."""
        here = key(descriptor)
        if descriptor.digest in self._absent:
            return {descriptor.digest}
        if here not in self._lacks:
            node = self._nodes.get(here)
            found = [(child, self._lacking(child)) for child in node.children] if node else []
            if node and isinstance(node.document, Index) and not all(lack for _, lack in found):
                found = [pair for pair in found if not self._choice.may_lack(pair[0])]
            self._lacks[here] = set().union(*(lack for _, lack in found))
        return self._lacks[here]

    def _place(self, descriptor: Descriptor) -> Descriptor:
        """Puts a descriptor behind all that it needs; gives what is pushed in its place."""
        here = key(descriptor)
        if here in self._placed or descriptor.digest in self._away:
            return self._placed.get(here, descriptor)
        self._placed[here] = descriptor
        node = self._nodes.get(here)
        if node is None:
            self._plan.blobs[descriptor.digest] = descriptor
            return descriptor
        placed = {key(c): self._place(c) for c in node.children if not self._lacking(c)}
        for child in placed.values():
            self._plan.parents.setdefault(child.digest, []).append(descriptor)
        if isinstance(node.document, Index) and not self._stays(node.document, placed):
            descriptor = self._reduced(descriptor, node.document, placed)
            self._placed[here] = descriptor
        else:  # of an index that is not pushed there are no referrers
            for referrer in node.referrers:
                if not self._lacking(referrer):
                    self._place(referrer)
        self._plan.documents.append(descriptor)
        return descriptor

    def _stays(self, index: Index, placed: Mapping[_Key, Descriptor]) -> bool:
        """Whether an index is pushed as it is."""
        if all(
            key(entry) in placed and placed[key(entry)].digest == entry.digest
            for entry in index.manifests
        ):
            return True
        self._plan.is_sparse = self._choice.sparse
        return self._choice.sparse

    def _reduced(
        self, descriptor: Descriptor, index: Index, placed: Mapping[_Key, Descriptor]
    ) -> Descriptor:
        """The index with those entries alone, and everything else as it was."""
        whole = json.loads(self._contents.read(descriptor))
        pairs = zip(whole["manifests"], map(key, index.manifests), strict=True)
        whole["manifests"] = [
            {**entry, "digest": placed[here].digest, "size": placed[here].size}
            for entry, here in pairs
            if here in placed
        ]
        body = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
        digest = digests.of(body)
        self._plan.made[digest] = body
        return replace(descriptor, digest=digest, size=len(body), data=None)

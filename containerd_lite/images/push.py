"""From a store to a registry.

What lives here: carrying out a plan of what is pushed.  What may not: making one (``plan``);
requests.  A copy is the same with content from elsewhere (``copy``).

Registries refuse a manifest before all that it refers to.  So blobs go first, side by side, then
manifests, then indexes, children before parents, and last the root under its name: who finds the
name finds all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import takewhile
from typing import BinaryIO

from ..errors import InvalidArgument, NotFound, RegistryError
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.reference import Reference
from ..progress import ProgressEvent
from ..registry.content import opener as content_opener
from ..store.protocol import ContentStore, read_blob
from .gate import Gate
from .job import Job
from .labels import source_key
from .names import name_of
from .plan import Choice, Contents, Plan, Planner
from .platforms import Platforms
from .resolver import Pusher
from .walk import Dispatcher

#: Repositories that are asked for a blob before it is uploaded.
_MOUNTS = 4


def push(
    store: ContentStore,
    pusher: Pusher,
    name: str,
    target: Descriptor,
    platforms: Platforms | None,
    job: Job,
    *,
    max_concurrent_uploads: int | None = None,
    chunk_size: int | None = None,
    sparse: bool = False,
) -> Descriptor:
    """Bring ``target`` to where ``name`` is; returns what the name stands for there now.

    Without ``platforms`` all goes along that the target refers to, and with ``sparse`` all of
    that which the store has.  With ``platforms`` an index is reduced to those, unless ``sparse``
    leaves it as it is.  ``chunk_size`` is in bytes.  Raises ``NotFound``, with the digests, for
    content that is missing, and what store and pusher raise; then no upload goes on.
    """
    contents = _Stored(store, parse_name(name))
    choice = Choice(name, platforms, sparse)
    gate = Gate(job, max_concurrent_uploads)
    plan = Planner(contents, choice, job, gate.workers).plan(target)
    Delivery(contents, pusher, job, gate, chunk_size).run(name, plan)
    return plan.root


def parse_name(name: str) -> Reference | None:
    """The name as a reference; a resolver may have names of another kind."""
    try:
        return Reference.parse(name)
    except InvalidArgument:
        return None


class Delivery:
    """Carries out a plan."""

    def __init__(
        self,
        contents: Contents,
        pusher: Pusher,
        job: Job,
        gate: Gate,
        chunk_size: int | None,
    ) -> None:
        self._contents = contents
        self._pusher = pusher
        self._job = job
        self._gate = gate
        self._chunk_size = chunk_size

    def run(self, name: str, plan: Plan) -> None:
        """Raises ``DigestMismatch`` where ``name`` has another digest than the root."""
        if parse_name(name) is not None:
            name_of(plan.root, name)
        *below, root = plan.documents
        manifests = [one for one in below if media_types.is_manifest(one.media_type)]
        self._push(plan, plan.blobs.values(), self._gate.workers)
        self._push(plan, manifests, self._gate.workers)
        indexes = [one for one in below if media_types.is_index(one.media_type)]
        try:
            self._push(plan, indexes, 1)  # in order
            self._pusher.name(root, self._body(plan, root), progress=self._tell)
        except RegistryError as error:
            if plan.is_sparse and 400 <= error.status < 500:
                error.remedy = error.remedy or (
                    "The registry may take no index without all its manifests: push a reduced "
                    "one with platform= and without sparse"
                )
            raise
        self._job.report("done", name)

    def _push(self, plan: Plan, descriptors: Iterable[Descriptor], workers: int) -> None:
        def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
            sources: Sequence[str] = ()
            if media_types.is_document(descriptor.media_type):
                opener = content_opener(self._body(plan, descriptor))
            else:
                opener = partial(self._contents.open_at, descriptor)
                parents = plan.parents.get(descriptor.digest, ())
                sources = self._contents.repositories(descriptor, parents)
            with self._gate.passing(descriptor):
                self._pusher.push(
                    descriptor,
                    opener,
                    mount_from=sources,
                    chunk_size=self._chunk_size,
                    progress=self._tell,
                )
            return ()

        with Dispatcher(handle, workers, self._job) as dispatcher:
            for descriptor in descriptors:
                dispatcher.add(descriptor)
            dispatcher.wait()

    def _body(self, plan: Plan, document: Descriptor) -> bytes:
        made = plan.made.get(document.digest)
        return self._contents.read(document) if made is None else made

    def _tell(self, event: ProgressEvent) -> None:
        self._job.check()  # in the middle of a blob, too
        self._job.tell(event)


class _Stored:
    """A store's content, on its way to ``target``; ``Contents``."""

    remedy = "Push what is here with platform= or sparse=True, or bring the rest with fetch_missing"

    def __init__(self, store: ContentStore, target: Reference | None) -> None:
        self._store = store
        self._target = target
        self._labels: dict[str, Mapping[str, str]] = {}

    def has(self, blob: Descriptor) -> bool:
        try:
            self._labels[blob.digest] = self._store.info(blob.digest).labels
        except NotFound:
            return blob.data is not None
        return True

    def read(self, document: Descriptor) -> bytes:
        if document.data is not None:
            return document.data
        return read_blob(self._store, document, MAX_DOCUMENT)

    def open_at(self, blob: Descriptor, offset: int) -> BinaryIO:
        if blob.data is not None:
            return content_opener(blob.data)(offset)
        file = self._store.reader(blob.digest)
        file.seek(offset)
        return file

    def repositories(self, blob: Descriptor, parents: Sequence[Descriptor]) -> Sequence[str]:
        """From the labels of the blob and its parents, the closest by path first."""
        target = self._target
        if target is None:
            return ()
        for parent in parents:
            if parent.digest not in self._labels:
                self.has(parent)
        found: set[str] = set()
        for one in (blob, *parents):
            labels = self._labels.get(one.digest, {})
            found.update(labels.get(source_key(target), "").split(","))
        found = {one for one in found if one != target.repository and _is_repository(one)}
        return sorted(found, key=lambda one: (-_shared(one, target.repository), one))[:_MOUNTS]


def _is_repository(text: str) -> bool:
    """Whether a label holds what a registry may be asked for."""
    found = parse_name(f"localhost/{text}")
    return found is not None and found.repository == text


def _shared(one: str, other: str) -> int:
    """How many components of the paths are the same at their beginning."""
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))

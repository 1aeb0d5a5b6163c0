"""Pushes the content of a plan in the order that registries require.

A registry refuses a manifest that refers to missing content. So blobs are pushed first, in
parallel, then manifests, then indexes. Nested indexes are pushed before the indexes that list them.
The root is pushed last, under its name. So a client that finds the name finds all content, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ...errors import RegistryError
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...progress import ProgressEvent
from ...registry.openers import opener as content_opener
from ..concurrency import Gate
from ..job import Job
from ..names import name_of, parse_name
from ..resolver import Pusher
from ..walk import Dispatcher
from .plan import Contents, Plan


class Delivery:
    """Pushes the content of plans.

    Args:
        contents: Reads the content.
        pusher: Pushes the content.
        job: The job that the push is part of.
        gate: Limits how many blobs are pushed at a time.
        chunk_size: Bytes per chunk of a blob. ``None`` means that blobs are not divided into
            chunks.
    """

    def __init__(
        self,
        contents: Contents,
        pusher: Pusher,
        job: Job,
        *,
        gate: Gate,
        chunk_size: int | None,
    ) -> None:
        self._contents = contents
        self._pusher = pusher
        self._job = job
        self._gate = gate
        self._chunk_size = chunk_size

    def run(
        self, name: str, plan: Plan, before_name: Callable[[Descriptor], object] | None = None
    ) -> None:
        """Push all content of ``plan``, and let ``name`` refer to the root of the plan.

        Args:
            name: The reference to push to.
            plan: What to push.
            before_name: A function that is called with the root when the registry has all content,
                but before ``name`` refers to the root. If it raises an error, ``name`` stays as it
                is.

        Raises:
            DigestMismatch: ``name`` contains a digest that is not the digest of the root.
        """
        if parse_name(name) is not None:
            name_of(plan.root, name)
        self._job.expect((*plan.blobs.values(), *plan.documents))
        self._job.seal()
        *below, root = plan.documents
        manifests = [entry for entry in below if media_types.is_manifest(entry.media_type)]
        self._push(plan, plan.blobs.values(), self._gate.workers)
        self._push(plan, manifests, self._gate.workers)
        indexes = [entry for entry in below if media_types.is_index(entry.media_type)]
        try:
            self._push(plan, indexes, 1)  # one thread, because nested indexes must come first
            if before_name is not None:
                self._push(plan, [root], 1)
                before_name(root)
            self._pusher.name(root, self._body(plan, root), progress=self._report)
        except RegistryError as error:
            if plan.is_sparse and 400 <= error.status < 500:
                error.remedy = error.remedy or (
                    "Pass platform= without sparse=True: the registry may refuse an index that "
                    "lists missing manifests"
                )
            raise
        self._job.report("done", name)

    def _push(self, plan: Plan, descriptors: Iterable[Descriptor], workers: int) -> None:
        """Push the content of descriptors by digest, in ``workers`` threads."""

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
                    progress=self._report,
                )
            return ()

        with Dispatcher(handle, workers, self._job) as dispatcher:
            for descriptor in descriptors:
                dispatcher.add(descriptor)
            dispatcher.wait()

    def _body(self, plan: Plan, document: Descriptor) -> bytes:
        reduced = plan.reduced.get(document.digest)
        return self._contents.read(document) if reduced is None else reduced

    def _report(self, event: ProgressEvent) -> None:
        self._job.check()  # so a failed job also stops the upload of a large blob
        self._job.report_event(event)

"""Carrying out a plan of what is pushed.

Registries refuse a manifest before all that it refers to.  So blobs go first, side by side, then
manifests, then indexes, children before parents, and last the root under its name: who finds the
name finds all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """Carries out a plan."""

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

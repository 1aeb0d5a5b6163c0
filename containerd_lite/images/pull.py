"""From a name to content in a store: the walk from index to layers.

What lives here: choosing the manifest for a platform, fetching it with its config and layers
side by side.  What may not: leases, image records; the unpacker is told about layers, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import cached_property

from ..errors import Cancelled, InvalidArgument, SizeMismatch
from ..oci import media_types
from ..oci.config import ImageConfig
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import Index, Manifest, parse
from ..oci.platform import Platform, rank
from ..oci.reference import Reference
from ..store.protocol import ContentStore, read_blob
from .fetch import Job, fetch_blob
from .labels import child_labels, source_key, source_label
from .platforms import find_manifest, no_match
from .resolver import Fetcher, Resolver


@dataclass(frozen=True)
class Pulled:
    """What a pull brought: the name, what it stands for, and the image for the platform."""

    name: str
    target: Descriptor
    manifest: Manifest
    config: ImageConfig | None


#: Told the image before its layers are there, and a function that waits for the layer at a place.
LayerConsumer = Callable[[Manifest, ImageConfig, Callable[[int], None]], object]


class Pull:
    """One pull into one store."""

    def __init__(
        self,
        resolver: Resolver,
        store: ContentStore,
        *,
        platform: Platform,
        job: Job,
        max_concurrent_downloads: int = 3,
    ) -> None:
        if max_concurrent_downloads < 1:
            raise InvalidArgument("max_concurrent_downloads must be 1 or more")
        self._resolver = resolver
        self._store = store
        self._platform = platform
        self._job = job
        self._workers = max_concurrent_downloads

    def run(self, ref: str, consume_layers: LayerConsumer | None = None) -> Pulled:
        """Fetch ``ref``; ``consume_layers`` works on the layers while they come.

        Raises ``NoMatchingPlatform``, ``InvalidArgument`` for documents that are not what they
        should be, and what resolver, fetcher and store raise.  Then no download goes on.
        """
        self._job.report("resolving", ref)
        name, target = self._resolver.resolve(ref)
        self._job.report("resolved", name, 0, target.size)
        source = _Source(self._resolver.fetcher(name), name, self._store, self._job)
        manifest = self._find_manifest(source, target)
        config = self._fetch_config(source, manifest)
        self._fetch_layers(source, manifest, config, consume_layers)
        self._job.report("done", name)
        return Pulled(name, target, manifest, config)

    def _find_manifest(self, source: _Source, target: Descriptor) -> Manifest:
        def read(target: Descriptor) -> Manifest | Index:
            document = parse(source.document(target), target.media_type)
            # All children are named, those not fetched too: a later pull may bring them.
            self._store.update(target.digest, child_labels(document.children))
            return document

        return find_manifest(source.name, target, self._platform, read)

    def _fetch_config(self, source: _Source, manifest: Manifest) -> ImageConfig | None:
        if not media_types.is_config(manifest.config.media_type):
            source.bring(manifest.config)
            return None  # an artifact: what its config means is not ours to know
        config = ImageConfig.parse(source.document(manifest.config))
        if rank(self._platform, config.platform) is None:
            raise no_match(source.name, self._platform, str(config.platform))
        return config

    def _fetch_layers(
        self,
        source: _Source,
        manifest: Manifest,
        config: ImageConfig | None,
        consume_layers: LayerConsumer | None,
    ) -> None:
        pending: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(self._workers, "containerd-lite-pull") as pool:
            try:
                for layer in manifest.layers:
                    if layer.digest not in pending:
                        task = pool.submit(copy_context().run, self._layer, source, layer)
                        pending[layer.digest] = task

                def wait_for(place: int) -> None:
                    pending[manifest.layers[place].digest].result()

                if consume_layers is not None and config is not None:
                    consume_layers(manifest, config, wait_for)
                for task in pending.values():
                    task.result()
            except BaseException as error:
                self._job.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                cause = _cause(error, pending.values())
                if cause is not error:
                    raise cause from error
                raise

    def _layer(self, source: _Source, layer: Descriptor) -> None:
        try:
            self._job.check()
            source.bring(layer)
        except BaseException:
            self._job.stop.set()  # at once: the others need not finish
            raise


@dataclass(frozen=True)
class _Source:
    """Where one name's content comes from, and the store that it goes to."""

    fetcher: Fetcher
    name: str
    store: ContentStore
    job: Job

    @cached_property
    def _reference(self) -> Reference | None:
        """The name as a reference; a resolver may have names of another kind."""
        with suppress(InvalidArgument):
            return Reference.parse(self.name)
        return None

    def bring(self, descriptor: Descriptor) -> None:
        """Have the blob in the store, labelled with the repository that it came from."""
        reference = self._reference
        labels = source_label(reference) if reference else {}
        is_new = fetch_blob(self.fetcher, self.store, descriptor, labels, self.job)
        if reference and not is_new:
            present = self.store.info(descriptor.digest).labels.get(source_key(reference), "")
            self.store.update(descriptor.digest, source_label(reference, present))

    def document(self, descriptor: Descriptor) -> bytes:
        """A manifest, index or config, brought and read whole."""
        if descriptor.size > MAX_DOCUMENT:
            raise SizeMismatch(
                f"{descriptor.digest} has {descriptor.size} bytes; {MAX_DOCUMENT} are allowed"
            )
        self.bring(descriptor)
        return read_blob(self.store, descriptor, MAX_DOCUMENT)


def _cause(error: BaseException, tasks: Iterable[Future[None]]) -> BaseException:
    """What went wrong first: the others only gave up because of it."""
    if not isinstance(error, Cancelled | CancelledError):
        return error
    failures = [task.exception() for task in tasks if task.done() and not task.cancelled()]
    return next((f for f in failures if f and not isinstance(f, Cancelled)), error)

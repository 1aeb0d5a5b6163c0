"""The walk of one pull from its target down to the layers.

The walk decides which content is fetched and which manifests are unpacked. Layers are unpacked
while the walk fetches other layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from typing import TYPE_CHECKING

from ...oci import media_types
from ...oci.config import ImageConfig
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT
from ...oci.manifest import Index, Manifest, parse
from ...store.protocol import read_blob
from ...workers import Workers, result_when_done
from ..concurrency import Gate
from ..gc_labels import child_labels
from ..image_backend import ImageBackend
from ..platforms import best, wanted_children
from ..walk import Dispatcher, Handler, SkipDescriptor, chain, key
from .metadata_walk import metadata_handler
from .pull_request import PullRequest
from .store_fetcher import StoreFetcher, check_document_size

if TYPE_CHECKING:
    from ..unpack.unpack import Unpacked, Unpacker


class FetchWalk:
    """The walk of one pull from its target down to the layers.

    Args:
        request: The arguments of the pull.
        backend: The backend that stores the image and unpacks it.
        source: Fetches content into the store.
        target: The manifest or index to start from.

    Attributes:
        has_octet_config: Whether the target is a manifest whose config has the media type
            ``application/octet-stream``.
    """

    def __init__(
        self,
        request: PullRequest,
        backend: ImageBackend,
        source: StoreFetcher,
        target: Descriptor,
    ) -> None:
        self._request = request
        self._platforms = request.platforms(backend)
        #: The platform to unpack if all platforms are fetched.
        self._default_platform = backend.platform
        self._source = source
        self._store = source.store
        self._job = source.job
        self._unpacker = None
        if request.unpack and backend.has_snapshots:
            self._unpacker = backend.unpacker(
                request.snapshotter,
                source.job,
                source.content,
                max_concurrent=request.max_concurrent_unpacks,
                needs_all=not request.discard_layers,
            )
        self._target = target
        self._root_config = ""
        self.has_octet_config = False
        #: The digests of the referrers and of all their descendants. The walk fetches all
        #: descendants of a referrer, for all platforms.
        self._below_referrers: set[str] = set()
        #: The digest of the only manifest that is unpacked if all platforms are fetched, and the
        #: digests of the indexes above this manifest.
        self._default_path = {target.digest}
        self._unpack_tasks: list[Future[Unpacked]] = []
        self._configs: dict[str, ImageConfig] = {}
        self._gate = Gate(
            self._job, request.max_concurrent_downloads, unpacks=self._unpacker is not None
        )

    def run(self) -> list[Unpacked]:
        """Fetch the wanted content and unpack it; return a result for each unpacked manifest."""
        handler = self._without_layers(self._with_callers_handlers(self._fetch))
        metadata = self._with_callers_handlers(metadata_handler(self._source))
        workers = self._gate.workers
        with (
            Workers(1, "containerd-lite-unpack") as self._unpack_pool,
            # The metadata has a dispatcher of its own. So a manifest that a forged index lists for
            # several platforms is fetched completely if one of these platforms is wanted.
            Dispatcher(metadata, workers, self._job) as self._metadata,
            Dispatcher(handler, workers, self._job, self._is_quick) as self._work,
        ):
            self._work.add(self._target)
            self._work.wait()
            unpacked = [result_when_done(task) for task in self._unpack_tasks]
            self._work.wait()  # wait also for the layers that the unpacker has added
            self._metadata.wait()
        return unpacked

    def _with_callers_handlers(self, handler: Handler) -> Handler:
        handler = chain(*self._request.handlers, handler)
        wrap = self._request.wrap_handler
        return handler if wrap is None else wrap(handler)

    def _is_quick(self, descriptor: Descriptor) -> bool:
        """Return whether nothing is fetched for a descriptor, and no handler of the caller runs."""
        if self._request.handlers or self._request.wrap_handler is not None:
            return False
        is_document = media_types.is_document(descriptor.media_type)
        return not is_document and self._source.content.holds(descriptor.digest)

    def _fetch(self, descriptor: Descriptor) -> Sequence[Descriptor]:
        """Fetch the content of one descriptor and return its wanted children.

        This method is the last handler of the chain.
        """
        if not media_types.is_document(descriptor.media_type):
            is_held = self._source.content.holds(descriptor.digest)
            with nullcontext() if is_held else self._gate.passing(descriptor):
                self._source.fetch_if_missing(descriptor)
            if descriptor.digest == self._root_config:
                config = self._config(descriptor)
                self._platforms.expect(config.platform, self._source.name)
            return ()
        check_document_size(descriptor)
        document = parse(self._source.document(descriptor), descriptor.media_type)
        referrers = self._source.referrers(descriptor) if self._request.referrers else ()
        below = document.children if descriptor.digest in self._below_referrers else ()
        self._below_referrers.update(child.digest for child in (*referrers, *below))
        # The labels name also the children that this pull skips, because a later pull may fetch
        # them.
        kept = self._kept(descriptor, document)
        self._source.label(descriptor, child_labels(kept, referrers))
        if isinstance(document, Manifest):
            self._source.find_children(descriptor, kept)
        return [*self._choose(descriptor, document), *referrers]

    def _kept(self, target: Descriptor, document: Manifest | Index) -> Sequence[Descriptor]:
        """Return the children that stay in the store after the pull."""
        if self._request.discard_layers and self._layers_to_unpack(target, document.children):
            return [c for c in document.children if not media_types.is_layer(c.media_type)]
        return document.children

    def _choose(self, target: Descriptor, document: Manifest | Index) -> Sequence[Descriptor]:
        """Return the children to fetch; record the root's config and the manifest to unpack."""
        if target.digest in self._below_referrers:
            return document.children
        is_root = target == self._target
        if isinstance(document, Index):
            best_entry = best(document, self._default_platform)
            if best_entry is not None and target.digest in self._default_path:
                self._default_path.add(best_entry.digest)
        elif is_root and _is_config(target, document.config):
            self._root_config = document.config.digest
            self.has_octet_config = document.config.media_type == media_types.OCTET_STREAM
        wanted = wanted_children(document, self._platforms, self._source.name, is_root=is_root)
        if self._request.all_metadata:
            chosen = set(map(key, wanted))
            self._fetch_metadata([c for c in document.children if key(c) not in chosen])
        return wanted

    def _fetch_metadata(self, documents: Sequence[Descriptor]) -> None:
        """Fetch documents of other platforms, without their layers."""
        self._job.expect(documents)
        for document in documents:
            self._metadata.add(document)

    def _without_layers(self, handler: Handler) -> Handler:
        """Return a handler that starts to unpack a manifest, and does not return its layers.

        The unpacker itself adds the layers to the walk when it needs them.
        """

        def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
            try:
                children = list(handler(descriptor))
            except SkipDescriptor:
                self._job.expect((), descriptor)
                raise
            if children or media_types.is_document(descriptor.media_type):
                self._job.expect(children, descriptor)
            found = self._layers_to_unpack(descriptor, children)
            if found is None:
                return children
            self._unpack_tasks.append(self._unpack_pool.submit(self._unpack, *found))
            return [child for child in children if not media_types.is_layer(child.media_type)]

        return handle

    def _layers_to_unpack(
        self, descriptor: Descriptor, children: Sequence[Descriptor]
    ) -> tuple[Unpacker, Descriptor, Sequence[Descriptor]] | None:
        """Return the unpacker, the config and the layers of a manifest that must be unpacked.

        For other content, return ``None``.
        """
        if self._unpacker is None or not self._must_unpack(descriptor):
            return None
        config = next((c for c in children if _is_config(descriptor, c)), None)
        layers = [c for c in children if media_types.is_layer(c.media_type)]
        if config is None or (not layers and len(children) > 1):
            return None  # an artifact, which cannot be unpacked
        return self._unpacker, config, layers

    def _must_unpack(self, descriptor: Descriptor) -> bool:
        """Return whether to unpack the content of ``descriptor``."""
        if (
            not media_types.is_manifest(descriptor.media_type)
            or descriptor.digest in self._below_referrers
        ):
            return False
        if media_types.is_attestation(descriptor.media_type, descriptor.annotations):
            return False
        return self._platforms.wanted is not None or descriptor.digest in self._default_path

    def _unpack(
        self, unpacker: Unpacker, config: Descriptor, layers: Sequence[Descriptor]
    ) -> Unpacked:
        """Unpack one manifest.

        This method waits for the walk, so it does not run in one of the walk's threads.
        """
        try:
            self._work.add(config).result()
            image_config = self._config(config)
            with self._gate.unpacking():
                return unpacker.unpack(
                    layers,
                    config,
                    image_config,
                    lambda needed: [self._work.add(layer) for layer in needed],
                    self._wait_for_layer,
                )
        except BaseException as error:
            self._job.fail(error)
            raise

    def _config(self, descriptor: Descriptor) -> ImageConfig:
        """Return an image config in the store; read it once."""
        found = self._configs.get(descriptor.digest)
        if found is None:
            found = ImageConfig.parse(read_blob(self._store, descriptor, MAX_DOCUMENT))
            self._configs[descriptor.digest] = found
        return found

    def _wait_for_layer(self, layer: Descriptor) -> None:
        """Wait until a layer has been fetched."""
        fetch = self._work.add(layer)
        # ``awaiting`` can let another download begin, so it is called only if the layer is missing.
        with nullcontext() if fetch.done() else self._gate.awaiting(layer):
            fetch.result()


def _is_config(manifest: Descriptor, child: Descriptor) -> bool:
    """Return whether ``child`` is the image config of ``manifest``.

    In a Docker manifest, the config can also have the media type ``application/octet-stream``.
    """
    is_octet_stream = child.media_type == media_types.OCTET_STREAM
    is_docker = manifest.media_type == media_types.DOCKER_MANIFEST
    return media_types.is_config(child.media_type) or (is_docker and is_octet_stream)

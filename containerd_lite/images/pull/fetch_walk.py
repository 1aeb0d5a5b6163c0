"""The walk of one pull, from an index to its layers: what is fetched, and who waits for what."""

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
from ...workers import Workers
from ..concurrency import Gate
from ..gc_labels import child_labels
from ..image_backend import ImageBackend
from ..platforms import best, wanted_children
from ..walk import Dispatcher, Handler, chain
from .convert_manifest import OCTET_STREAM
from .pull_request import PullRequest
from .store_fetcher import StoreFetcher, expect_bounded

if TYPE_CHECKING:
    from ..unpack.unpack import Unpacked, Unpacker


class FetchWalk:
    """The walk of one pull, from its target down."""

    def __init__(
        self,
        request: PullRequest,
        backend: ImageBackend,
        source: StoreFetcher,
        target: Descriptor,
    ) -> None:
        self._request = request
        self._platforms = request.platforms(backend)
        #: The platform that is unpacked where all are fetched.
        self._usual_platform = backend.platform
        self._source = source
        self._store = source.store
        self._job = source.job
        self._unpacker = None
        if request.unpack and backend.has_snapshots:
            self._unpacker = backend.unpacker(request.snapshotter, source.job)
        self._target = target
        self._root_config = ""
        #: Whether the target calls its config what old registries called everything.
        self.has_octet_config = False
        #: The referrers, and everything below them: no platform is chosen there.
        self._aside: set[str] = set()
        #: The manifest that is unpacked where all platforms are fetched, and the indexes above it.
        self._usual = {target.digest}
        self._unpacking: list[Future[Unpacked]] = []
        self._gate = Gate(
            self._job, request.max_concurrent_downloads, unpacks=self._unpacker is not None
        )

    def run(self) -> list[Unpacked]:
        """Fetch all that is wanted, and unpack it while it comes; returns what was unpacked."""
        request = self._request
        handler = chain(*request.handlers, self._fetch)
        if request.wrap_handler is not None:
            handler = request.wrap_handler(handler)
        with (
            Workers(1, "containerd-lite-unpack") as self._unpackers,
            Dispatcher(self._withholding(handler), self._gate.workers, self._job) as self._work,
        ):
            self._work.add(self._target)
            self._work.wait()
            found = [task.result() for task in self._unpacking]
            self._work.wait()  # for the layers that the unpacker asked for
        return found

    def _fetch(self, descriptor: Descriptor) -> Sequence[Descriptor]:
        """Bring one descriptor's content; the last of the handlers."""
        if not media_types.is_document(descriptor.media_type):
            with self._gate.passing(descriptor):
                self._source.bring(descriptor)
            if descriptor.digest == self._root_config:
                config = ImageConfig.parse(read_blob(self._store, descriptor, MAX_DOCUMENT))
                self._platforms.expect(config.platform, self._source.name)
            return ()
        expect_bounded(descriptor)
        document = parse(self._source.document(descriptor), descriptor.media_type)
        referrers = self._source.referrers(descriptor) if self._request.referrers else ()
        below = document.children if descriptor.digest in self._aside else ()
        self._aside.update(one.digest for one in (*referrers, *below))
        # All children are named, those not fetched too: a later pull may bring them.
        self._source.label(descriptor, child_labels(document.children, referrers))
        return [*self._wanted(descriptor, document), *referrers]

    def _wanted(self, target: Descriptor, document: Manifest | Index) -> Sequence[Descriptor]:
        if target.digest in self._aside:
            return document.children
        is_root = target == self._target
        if isinstance(document, Index):
            usual = best(document, self._usual_platform)
            if usual is not None and target.digest in self._usual:
                self._usual.add(usual.digest)
        elif is_root and _has_config(target, document.config):
            self._root_config = document.config.digest
            self.has_octet_config = document.config.media_type == OCTET_STREAM
        return wanted_children(document, self._platforms, self._source.name, is_root=is_root)

    def _withholding(self, handler: Handler) -> Handler:
        """A handler that leaves out the layers to unpack: the unpacker asks for them."""

        def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
            children = list(handler(descriptor))
            unpacker = self._unpacker
            if unpacker is None or not self._is_unpacked(descriptor):
                return children
            config = next((c for c in children if _has_config(descriptor, c)), None)
            layers = [c for c in children if media_types.is_layer(c.media_type)]
            if config is None or (not layers and len(children) > 1):
                return children  # an artifact: what it holds is not ours to know
            task = self._unpackers.submit(self._unpack, unpacker, config, layers)
            self._unpacking.append(task)
            return [child for child in children if child not in layers]

        return handle

    def _is_unpacked(self, descriptor: Descriptor) -> bool:
        if not media_types.is_manifest(descriptor.media_type) or descriptor.digest in self._aside:
            return False
        if media_types.is_attestation(descriptor.media_type, descriptor.annotations):
            return False
        return self._platforms.wanted is not None or descriptor.digest in self._usual

    def _unpack(
        self, unpacker: Unpacker, config: Descriptor, layers: Sequence[Descriptor]
    ) -> Unpacked:
        """In a thread of its own: it waits for the walk."""
        try:
            self._work.add(config).result()
            body = read_blob(self._store, config, MAX_DOCUMENT)
            with self._gate.unpacking():
                return unpacker.unpack(
                    layers,
                    config,
                    ImageConfig.parse(body),
                    lambda needed: [self._work.add(layer) for layer in needed],
                    self._await,
                )
        except BaseException as error:
            self._job.fail(error)
            raise

    def _await(self, layer: Descriptor) -> None:
        coming = self._work.add(layer)
        # Waiting would let another download begin, which a layer that is there must not do.
        with nullcontext() if coming.done() else self._gate.awaiting(layer):
            coming.result()


def _has_config(manifest: Descriptor, child: Descriptor) -> bool:
    """Whether a child of a manifest is an image's config, by that name or by none."""
    is_unnamed = child.media_type == OCTET_STREAM
    is_docker = manifest.media_type == media_types.DOCKER_MANIFEST
    return media_types.is_config(child.media_type) or (is_docker and is_unnamed)

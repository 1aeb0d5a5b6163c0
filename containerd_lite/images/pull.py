"""From a name to content in a store: the walk from index to layers.

What lives here: one pull, its handler, and who waits for what.  What may not: leases, image
records; how blobs move and how layers become snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from ..errors import InvalidArgument
from ..oci import media_types
from ..oci.config import ImageConfig
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import Index, Manifest, parse
from ..oci.platform import Platform
from ..store.protocol import ContentStore, read_blob
from ..workers import Workers
from .gate import USUAL_LARGE, Gate
from .job import Job
from .labels import child_labels
from .octet import OCTET_STREAM, repair_octet_config
from .platforms import Platforms, best, wanted_children
from .resolver import Resolver
from .schema1 import CONVERTED, convert, is_convertible
from .source import Source, expect_bounded
from .unpack import Unpacked, Unpacker
from .walk import Dispatcher, Handler, WrapHandler, chain


@dataclass(frozen=True)
class PullOptions:
    """What is wanted of a pull, as ``Client.pull`` describes it.

    ``usual`` is the platform that is unpacked where all are fetched; ``workers`` is how many
    blobs come at a time.
    """

    platforms: Platforms
    usual: Platform
    handlers: Sequence[Handler] = ()
    wrap: WrapHandler | None = None
    referrers: bool = False
    convert_schema1: bool = False
    workers: int | None = None


@dataclass(frozen=True)
class Pulled:
    """What a pull brought: the name, what it stands for, labels that tell of a conversion, and
    whether a layer is lazy."""

    name: str
    target: Descriptor
    labels: Mapping[str, str] = field(default_factory=dict)
    is_lazy: bool = False


class Pull:
    """One pull into one store; with an ``unpacker``, into snapshots too."""

    def __init__(
        self,
        resolver: Resolver,
        store: ContentStore,
        options: PullOptions,
        job: Job,
        unpacker: Unpacker | None = None,
    ) -> None:
        self._resolver = resolver
        self._store = store
        self._options = options
        self._job = job
        self._unpacker = unpacker

    def run(self, ref: str) -> Pulled:
        """Fetch ``ref``, and unpack it while it comes.

        Raises ``NoMatchingPlatform``, ``InvalidArgument`` for documents that are not what they
        should be, and what resolver, fetcher, store and handlers raise.  Then nothing goes on.
        """
        self._job.report("resolving", ref)
        name, target = self._resolver.resolve(ref)
        self._job.report("resolved", name, 0, target.size)
        source = Source(self._resolver.fetcher(name), name, self._store, self._job)
        labels = {}
        if is_convertible(target):
            labels = {CONVERTED: target.digest}
            target = self._converted(source, target)
            source = replace(source, is_labelled=False)
        walk = _Walk(self, source, target)
        unpacked = walk.run()
        if walk.has_octet_config:
            target = repair_octet_config(self._store, target, self._job)
        self._job.report("done", name)
        return Pulled(name, target, labels, any(one.is_lazy for one in unpacked))

    def _converted(self, source: Source, target: Descriptor) -> Descriptor:
        if not self._options.convert_schema1:
            raise InvalidArgument(
                f"{source.name} is of Docker's schema 1",
                remedy="Pull it with convert_schema1=True, or push it again with a current tool",
            )
        workers = self._options.workers or USUAL_LARGE
        return convert(source.fetcher, self._store, source.name, target, self._job, workers=workers)


class _Walk:
    """The walk of one pull, from its target down."""

    def __init__(self, pull: Pull, source: Source, target: Descriptor) -> None:
        self._options = pull._options
        self._job = pull._job
        self._store = pull._store
        self._unpacker = pull._unpacker
        self._source = source
        self._target = target
        self._root_config = ""
        #: Whether the target calls its config what old registries called everything.
        self.has_octet_config = False
        #: What refers to others of the walk, and what is below that: for no platform.
        self._aside: set[str] = set()
        #: Of all platforms' manifests, the one that is unpacked.
        self._usual = {target.digest}
        self._unpacking: list[Future[Unpacked]] = []
        self._gate = Gate(self._job, self._options.workers, unpacks=self._unpacker is not None)

    def run(self) -> list[Unpacked]:
        options = self._options
        handler = chain(*options.handlers, self._fetch)
        if options.wrap is not None:
            handler = options.wrap(handler)
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
                self._options.platforms.expect(config.platform, self._source.name)
            return ()
        expect_bounded(descriptor)
        document = parse(self._source.document(descriptor), descriptor.media_type)
        referrers = self._source.referrers(descriptor) if self._options.referrers else ()
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
            usual = best(document, self._options.usual)
            if usual is not None and target.digest in self._usual:
                self._usual.add(usual.digest)
        elif is_root and _has_config(target, document.config):
            self._root_config = document.config.digest
            self.has_octet_config = document.config.media_type == OCTET_STREAM
        platforms = self._options.platforms
        return wanted_children(document, platforms, self._source.name, is_root=is_root)

    def _withholding(self, handler: Handler) -> Handler:
        """Of a manifest that is unpacked the layers are not walked: the unpacker asks for them."""

        def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
            children = list(handler(descriptor))
            if not self._is_unpacked(descriptor):
                return children
            config = next((c for c in children if _has_config(descriptor, c)), None)
            layers = [c for c in children if media_types.is_layer(c.media_type)]
            if config is None or (not layers and len(children) > 1):
                return children  # an artifact: what it holds is not ours to know
            self._unpacking.append(self._unpackers.submit(self._unpack, config, layers))
            return [child for child in children if child not in layers]

        return handle

    def _is_unpacked(self, descriptor: Descriptor) -> bool:
        if self._unpacker is None or not media_types.is_manifest(descriptor.media_type):
            return False
        if descriptor.digest in self._aside:
            return False
        if media_types.is_attestation(descriptor.media_type, descriptor.annotations):
            return False
        return self._options.platforms.wanted is not None or descriptor.digest in self._usual

    def _unpack(self, config: Descriptor, layers: Sequence[Descriptor]) -> Unpacked:
        """In a thread of its own: it waits for the walk."""
        if self._unpacker is None:
            return Unpacked("")
        try:
            self._work.add(config).result()
            body = read_blob(self._store, config, MAX_DOCUMENT)
            with self._gate.unpacking():
                return self._unpacker.unpack(
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
        # What is there is not waited for: for a moment it would make room for another.
        with nullcontext() if coming.done() else self._gate.awaiting(layer):
            coming.result()


def _has_config(manifest: Descriptor, child: Descriptor) -> bool:
    """Whether a child of a manifest is an image's config, by that name or by none."""
    is_unnamed = child.media_type == OCTET_STREAM
    is_docker = manifest.media_type == media_types.DOCKER_MANIFEST
    return media_types.is_config(child.media_type) or (is_docker and is_unnamed)

"""Push, copy and tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import InvalidArgument
from .base import Verbs, falling_back, target_of

if TYPE_CHECKING:
    from ...oci.descriptor import Descriptor
    from ...progress import ProgressCallback
    from ..image import Image
    from ..job import Job
    from ..platforms import Platforms
    from ..resolver import PushResolver
    from .base import Source, Via


class PushVerbs(Verbs):
    """From the store, or from elsewhere, to registries; and names."""

    def push(
        self,
        ref: str,
        target: Source | None = None,
        *,
        platform: str | Sequence[str] | None = None,
        sparse: bool = False,
        resolver: PushResolver | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_uploads: int | None = None,
        chunk_size: int | None = None,
        via: Via = "client",
    ) -> Descriptor:
        """Push an image to where ``ref`` says; returns what ``ref`` stands for there now.

        ``target`` is what to push, the image called ``ref`` unless given.  All of it has to be
        in the store.  Of an index ``platform``, one or several, pushes an index of those alone,
        with such of their attestations as are in the store.  ``sparse`` leaves the index as it
        is, and pushes of its manifests those for ``platform``, or those that the store has whole;
        not every registry takes that.

        What the registry has is not sent again; what another of its repositories has, as far as
        the store knows, is mounted from there.  Foreign layers that are not in the store stay
        where their URLs are.  ``chunk_size`` (bytes) sends blobs in pieces, for proxies that
        allow no more at once.  ``max_concurrent_uploads`` blobs go at a time; unless given eight,
        and of those above 4 MiB four.  ``progress`` is called with
        ``ProgressEvent``s: for each blob and manifest ``exists``, ``mounted`` or ``uploaded`` in
        the end.

        ``resolver`` says where content goes: to registries, with docker's credentials, unless
        given.  ``via`` is as for ``pull``; the daemon pushes images alone, by their names, with
        all that the index names.  A push that fails leaves ``ref`` as it was, and no upload
        half-way.  Raises ``NotFound`` with the digests that are missing, ``RegistryUnauthorized``,
        ``RegistryUnavailable``, ``NoMatchingPlatform``, ``DigestMismatch``, ``InvalidArgument``.
        """
        from ...oci.descriptor import Descriptor
        from ..job import Job
        from ..push import push
        from ..resolver import using

        source = ref if target is None else target
        for_client = {"platform": platform, "sparse": sparse, "resolver": resolver}
        if via == "auto" and isinstance(source, Descriptor):
            via = "client"  # the daemon pushes what has a name
        if self._is_for_daemon(via, **for_client, chunk_size=chunk_size):
            with falling_back(via):
                return self._push_by_daemon(ref, source, Job(progress))
        services, job = self._image_services(), Job(progress)
        with self._keeping(), using(resolver, job.tell) as registries:
            return push(
                services.store,
                registries.pusher(ref),
                ref,
                target_of(services, source),
                _platforms(platform),
                job,
                max_concurrent_uploads=max_concurrent_uploads,
                chunk_size=chunk_size,
                sparse=sparse,
            )

    def _push_by_daemon(self, ref: str, source: Source, job: Job) -> Descriptor:
        from ..image import Image
        from ..names import name_of
        from ..platforms import Platforms

        image = self.get_image(source) if isinstance(source, str) else source
        if not isinstance(image, Image):
            raise InvalidArgument("the daemon pushes what has a name", remedy="Tag it first")
        name_of(image.target, ref)
        with self._keeping():
            self._transfers().push(ref, image.name, platforms=Platforms(None), job=job)
        return image.target

    def copy(
        self,
        source: str,
        target: str,
        *,
        platform: str | Sequence[str] | None = None,
        referrers: bool = False,
        resolver: PushResolver | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent: int | None = None,
        chunk_size: int | None = None,
    ) -> Descriptor:
        """Copy an image from registry to registry; returns what ``target`` stands for now.

        Nothing of it comes into the store.  All platforms are copied, or of an index those of
        ``platform``, with their attestations: then ``target`` is an index of these alone.
        ``referrers`` brings what refers to the image, such as signatures.  Within one registry
        blobs are mounted, and no byte of them moves.  ``max_concurrent`` is as
        ``max_concurrent_uploads`` of ``push``, as are other arguments and errors.
        """
        from ..copy import copy
        from ..job import Job
        from ..resolver import using

        job = Job(progress)
        with using(resolver, job.tell) as registries:
            return copy(
                registries,
                source,
                target,
                _platforms(platform),
                job,
                max_concurrent=max_concurrent,
                chunk_size=chunk_size,
                referrers=referrers,
            )

    def tag(self, source: Source, name: str) -> Image:
        """Let ``name`` stand for an image from now on, in place of what it stood for.

        It has the labels that the image has.  Raises ``NotFound`` for a name, or content, that
        is not here, ``InvalidArgument`` for a name that cannot be, and ``DigestMismatch`` for one
        with another digest.
        """
        from ...oci.descriptor import Descriptor
        from ..image import tag

        services = self._image_services()
        if isinstance(source, str):
            source = self.get_image(source)
        labels = None if isinstance(source, Descriptor) else source.labels
        return tag(services, target_of(services, source), name, labels)


def _platforms(platform: str | Sequence[str] | None) -> Platforms | None:
    from ..platforms import Platforms

    return None if platform is None else Platforms.of(platform, attestations=True)

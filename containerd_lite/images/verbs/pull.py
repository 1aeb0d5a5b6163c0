"""Pull and fetch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from .base import Verbs

if TYPE_CHECKING:
    from ...progress import ProgressCallback
    from ..image import Image, ImageServices
    from ..job import Job
    from ..pull import PullOptions
    from ..resolver import Resolver
    from ..walk import Handler, WrapHandler

#: Who does it: this process, the daemon's transfer service, or whichever can.
Via = Literal["client", "daemon", "auto"]
#: Of a daemon that goes away again and again, as many pulls are begun anew.
_MOST_RESTARTS = 5


class PullVerbs(Verbs):
    """From registries into the store."""

    def _is_back(self, error: BaseException) -> bool:
        """Whether what failed by ``error`` may be done again, as the daemon, or its lease, has
        come back since."""
        return False

    def pull(
        self,
        ref: str,
        *,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        attestations: bool = False,
        referrers: bool = False,
        unpack: bool = True,
        snapshotter: str | None = None,
        resolver: Resolver | None = None,
        handlers: Sequence[Handler] = (),
        wrap_handler: WrapHandler | None = None,
        convert_schema1: bool = False,
        labels: Mapping[str, str] | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_downloads: int = 3,
        resume: bool = False,
        via: Via = "client",
    ) -> Image:
        """Fetch an image, unpack it where there are snapshots, and give it its name.

        ``platform`` is one (``"linux/arm/v7"``) or several, this client's unless given.  An index
        is kept whole, with the content of what was chosen; ``attestations`` brings those of it,
        ``referrers`` what refers to it.  What is fetched is unpacked, of all platforms the
        client's own.  ``resolver`` says where content comes from: registries, with docker's
        credentials, unless given.

        ``handlers`` are asked of each descriptor before it is fetched, for further children; they
        raise ``SkipDescriptor`` to leave it out, ``StopHandlers`` to have its children only.
        ``wrap_handler`` is given the whole handler and returns another.  ``convert_schema1`` makes
        an image of a Docker schema 1 manifest.  ``labels`` are the name's.

        A pull that fails leaves no name, and what it fetched is collected; with ``resume`` it is
        kept for a week, and the next such pull fetches what is missing.  A daemon that restarts is
        waited for.  ``via="daemon"`` has its transfer service do it (since 1.7), ``"auto"`` where
        that can all that is asked.  Raises ``NotFound``, ``RegistryUnauthorized``,
        ``RegistryUnavailable``, ``NoMatchingPlatform``, ``DigestMismatch``, ``DiffIDMismatch``,
        ``InvalidArgument``.
        """
        from ..job import Job
        from ..platforms import Platforms
        from ..pull import PullOptions

        one = platform if isinstance(platform, str) else None
        services = self._image_services(snapshotter, one)
        options = PullOptions(
            Platforms.of(platform, all_platforms, services.platform, attestations=attestations),
            services.platform,
            handlers,
            wrap_handler,
            referrers,
            convert_schema1,
            max_concurrent_downloads,
        )
        with self._keeping(f"{ref} {options.platforms}" if resume else ""):
            return self._persevering(
                lambda job: _pull(services, ref, options, job, resolver, unpack, labels),
                lambda: Job(progress, keeps_partial=resume),
            )

    def _persevering(self, work: Callable[[Job], Image], new_job: Callable[[], Job]) -> Image:
        """Do it, and again if the daemon went away and came back: what is there is not fetched
        again."""
        for restarts_left in reversed(range(_MOST_RESTARTS)):
            try:
                return work(new_job())
            except Exception as error:
                if not restarts_left or not self._is_back(error):
                    raise
        raise AssertionError("unreachable")

    def fetch(
        self,
        ref: str,
        *,
        platform: str | Sequence[str] | None = None,
        attestations: bool = False,
        referrers: bool = False,
        resolver: Resolver | None = None,
        handlers: Sequence[Handler] = (),
        wrap_handler: WrapHandler | None = None,
        labels: Mapping[str, str] | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_downloads: int = 3,
        resume: bool = False,
    ) -> Image:
        """As ``pull`` without unpacking; of all platforms unless some are named."""
        return self.pull(
            ref,
            platform=platform,
            all_platforms=platform is None,
            attestations=attestations,
            referrers=referrers,
            unpack=False,
            resolver=resolver,
            handlers=handlers,
            wrap_handler=wrap_handler,
            labels=labels,
            progress=progress,
            max_concurrent_downloads=max_concurrent_downloads,
            resume=resume,
        )


def _pull(
    services: ImageServices,
    ref: str,
    options: PullOptions,
    job: Job,
    resolver: Resolver | None,
    unpack: bool,
    labels: Mapping[str, str] | None,
) -> Image:
    from ..image import Image
    from ..pull import Pull
    from ..resolver import using

    unpacker = None
    if unpack and services.snapshots is not None:
        unpacker = services.unpacker(None, job)
    with using(resolver, job.tell) as source:
        pulled = Pull(source, services.store, options, job, unpacker).run(ref)
    record = services.names.put(pulled.name, pulled.target, {**(labels or {}), **pulled.labels})
    return Image(services, record, is_lazy=pulled.is_lazy)

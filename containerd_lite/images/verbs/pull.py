"""Pull and fetch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InvalidArgument
from .base import Verbs, falling_back, only

if TYPE_CHECKING:
    from ...progress import ProgressCallback
    from ..image import Image, ImageServices
    from ..job import Job
    from ..platforms import Platforms
    from ..resolver import Resolver
    from ..walk import Handler, WrapHandler
    from .base import Via

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
        max_concurrent_downloads: int | None = None,
        resume: bool = False,
        via: Via = "client",
    ) -> Image:
        """Fetch an image, unpack it where there are snapshots, and give it its name.

        ``platform`` is one (``"linux/arm/v7"``) or several, this client's unless given.  An index
        is kept whole, with the content of these; ``attestations`` brings theirs, ``referrers``
        what refers to it.  What is fetched is unpacked, of all platforms the client's own.
        ``resolver`` says where content comes from: registries, with docker's credentials, unless
        given.  ``handlers`` and ``wrap_handler`` decide what is fetched (``images.walk``, and
        ``images.cri_labels`` for lazy snapshotters); ``convert_schema1`` makes an image of
        Docker's schema 1.  ``labels`` are the name's.  A daemon that restarts is waited for.
        ``max_concurrent_downloads`` blobs come at a time; unless given eight, and of those above
        4 MiB four: as long as lines are quick fewer, if they are unpacked.

        A pull that fails leaves no name and no content; with ``resume`` content is kept for a
        week, by the caller's lease if it is within one, and the next such pull fetches what is
        missing; of two at once one waits for the other.  ``via="daemon"`` has its transfer
        service do it (since 1.7), ``"auto"`` where that knows all that is asked.  Raises
        ``NotFound``, ``RegistryUnauthorized``, ``RegistryUnavailable``, ``NoMatchingPlatform``,
        ``DigestMismatch``, ``DiffIDMismatch``, ``InvalidArgument``.
        """
        request = _Request(
            ref,
            platform,
            all_platforms,
            attestations,
            referrers,
            unpack,
            snapshotter,
            resolver,
            handlers,
            wrap_handler,
            convert_schema1,
            labels,
            progress,
            max_concurrent_downloads,
            resume,
        )
        return self._pull(request, via)

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
        max_concurrent_downloads: int | None = None,
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

    def _pull(self, request: _Request, via: Via) -> Image:
        from ..job import Job
        from ..turns import turn

        services = self._image_services(request.snapshotter, only(request.platform))
        by_daemon = self._is_for_daemon(via, **request.for_client())
        lease = request.lease(services)
        # Two that would go on with one another's content share a lease, which the first to end
        # deletes: so one after the other.
        alone = turn(("resume", services.store.identity, lease), lambda: None)
        with alone if lease else nullcontext(), self._keeping(lease):
            if by_daemon:
                with falling_back(via):  # 1.7 does not say before what it cannot do
                    return self._pull_by_daemon(services, request)
            return self._persevering(
                lambda job: _pull(services, request, job),
                lambda: Job(request.progress, keeps_partial=request.resume),
            )

    def _pull_by_daemon(self, services: ImageServices, request: _Request) -> Image:
        from ..job import Job
        from ..names import full_name
        from ..taken import Taken

        platforms = request.platforms(services)
        wanted = platforms.wanted or ()
        unpacked = wanted[0] if len(wanted) == 1 else services.platform
        taken, name = Taken(services), full_name(request.ref)
        taken.remember(name)
        self._transfers().pull(
            request.ref,
            platforms=platforms,
            unpack=unpacked if request.unpack else None,
            snapshotter=request.snapshotter or "",
            labels=request.labels,
            job=Job(request.progress),
        )
        (image,) = taken.accept([name], platforms)
        return image

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


@dataclass(frozen=True)
class _Request:
    """The arguments of ``pull``."""

    ref: str
    platform: str | Sequence[str] | None
    all_platforms: bool
    attestations: bool
    referrers: bool
    unpack: bool
    snapshotter: str | None
    resolver: Resolver | None
    handlers: Sequence[Handler]
    wrap_handler: WrapHandler | None
    convert_schema1: bool
    labels: Mapping[str, str] | None
    progress: ProgressCallback | None
    max_concurrent_downloads: int | None
    resume: bool

    def lease(self, services: ImageServices) -> str:
        """What a pull that goes on with this one has in common with it; ``""`` if none does."""
        if not self.resume:
            return ""
        from ..names import full_name

        name = self.ref
        with suppress(InvalidArgument):  # a resolver may have names of another kind
            name = full_name(name)
        platforms = sorted(map(str, self.platforms(services).wanted or ("all",)))
        return f"{name} {platforms} {self.snapshotter}"

    def platforms(self, services: ImageServices) -> Platforms:
        from ..platforms import Platforms

        return Platforms.of(
            self.platform, self.all_platforms, services.platform, attestations=self.attestations
        )

    def for_client(self) -> dict[str, object]:
        """What the daemon's transfer service knows nothing of."""
        return {
            "attestations": self.attestations and not self.all_platforms,
            "referrers": self.referrers,
            "resolver": self.resolver,
            "handlers": self.handlers,
            "wrap_handler": self.wrap_handler,
            "convert_schema1": self.convert_schema1,
            "resume": self.resume,
        }


def _pull(services: ImageServices, request: _Request, job: Job) -> Image:
    from ..image import Image
    from ..pull import Pull, PullOptions
    from ..resolver import using

    options = PullOptions(
        request.platforms(services),
        services.platform,
        request.handlers,
        request.wrap_handler,
        request.referrers,
        request.convert_schema1,
        request.max_concurrent_downloads,
    )
    unpacker = None
    if request.unpack and services.snapshots is not None:
        unpacker = services.unpacker(None, job)
    with using(request.resolver, job.tell) as source:
        pulled = Pull(source, services.store, options, job, unpacker).run(request.ref)
    labels = {**(request.labels or {}), **pulled.labels}
    record = services.names.put(pulled.name, pulled.target, labels)
    return Image(services, record, is_lazy=pulled.is_lazy)

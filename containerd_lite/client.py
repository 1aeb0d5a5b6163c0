"""The facade: containerd's Go client, in Python's terms.

What lives here: one object that holds a daemon, a namespace and defaults, and hands out services,
images and containers.  What may not: how any of it is done.

What pulling and running need is imported when they are first used: a program that only asks for
the version loads neither an HTTP client nor the pipeline.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .deadline import Deadline, backoff
from .errors import ContainerdError, InvalidArgument, Unavailable
from .images.verbs import ImageVerbs
from .runtime.verbs import ContainerVerbs
from .services._base import CallContext
from .services.access import Services
from .transport.address import DEFAULT
from .transport.channel import Channel

if TYPE_CHECKING:
    from .images.by_daemon import DaemonTransfers
    from .images.image import ImageServices
    from .runtime.containers import Containers
    from .services.version import Version
    from .store.daemon import DaemonStore
    from .transport.tls import TLS

_RUNTIME = "io.containerd.runc.v2"
#: How long a daemon that went away may take to come back (seconds).
_RESTART_TIMEOUT = 30.0


@dataclass(frozen=True)
class _Options:
    """What a client was made with; it pickles as this."""

    timeout: float | None
    connect_timeout: float | None
    snapshotter: str | None
    platform: str | None
    runtime: str | None
    tls: TLS | Literal[False] | None


class Client(Services, ImageVerbs, ContainerVerbs):
    """One containerd, seen from one namespace; safe to share between threads, and after a fork.

    ``address`` is ``$CONTAINERD_ADDRESS`` or the usual socket unless given, ``namespace``
    ``$CONTAINERD_NAMESPACE`` or ``default``.  ``timeout`` in seconds is the deadline of calls that
    only touch metadata; ``connect_timeout`` bounds dialling.  ``snapshotter`` and ``runtime`` are
    the namespace's defaults unless given, ``platform`` (``"linux/arm64"``) this machine's.
    ``tls`` is for addresses of TCP (containerd serves the CRI alone there).
    Nothing is dialled before the first call.  Pickles as its address and options.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        namespace: str | None = None,
        timeout: float | None = 60.0,
        connect_timeout: float | None = 10.0,
        snapshotter: str | None = None,
        platform: str | None = None,
        runtime: str | None = None,
        tls: TLS | Literal[False] | None = None,
        channel: Channel | None = None,
    ) -> None:
        if channel is not None and (address is not None or tls is not None):
            raise InvalidArgument("a channel has its address", remedy="Give one of the two")
        self._owns_channel = channel is None
        self.namespace = namespace or os.environ.get("CONTAINERD_NAMESPACE") or "default"
        self._options = _Options(timeout, connect_timeout, snapshotter, platform, runtime, tls)
        if channel is None:
            name = address or os.environ.get("CONTAINERD_ADDRESS") or DEFAULT
            channel = Channel(name, connect_timeout=connect_timeout, tls=tls)
        super().__init__(channel, CallContext(self.namespace, timeout=timeout), snapshotter)

    @property
    def address(self) -> str:
        return self._channel.name

    def in_namespace(self, namespace: str) -> Client:
        """This client in another namespace, over the same connections; need not be closed."""
        view = Client(
            channel=self._channel, namespace=namespace, **{**vars(self._options), "tls": None}
        )
        view._options = self._options
        return view

    def close(self) -> None:
        """End every call and connection; may be called twice."""
        if self._owns_channel:
            self._channel.close()

    def reconnect(self) -> None:
        """Give up every connection, with the calls on it; the next call dials."""
        self._channel.reconnect()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.address, self.namespace, self._options)

    def __repr__(self) -> str:
        return f"<Client {self.address} namespace={self.namespace}>"

    @property
    def content_store(self) -> DaemonStore:
        from .services.content import ContentService
        from .store.daemon import DaemonStore

        return DaemonStore(ContentService(self._channel, self._context))

    # ---- the daemon ------------------------------------------------------------------------

    def is_serving(self, *, timeout: float | None = 10.0) -> bool:
        """Whether the daemon serves; waits up to ``timeout`` seconds for it to come up."""
        deadline = Deadline(timeout)
        for wait in backoff(0.02, 1.0):
            service = self.health_service.with_options(
                timeout=deadline.remaining(), wait_for_ready=True
            )
            try:
                return service.check() == "SERVING"
            except TimeoutError:
                return False
            except Unavailable:  # one that ends still answers some, and hangs up on others
                if deadline.expired:
                    return False
            time.sleep(min(wait, deadline.remaining() or wait))
        raise AssertionError("unreachable")

    def version(self, *, wait_for_ready: bool = False) -> Version:
        """The daemon's version and revision."""
        return self.version_service.with_options(wait_for_ready=wait_for_ready).version()

    @contextmanager
    def lease(self, *, expires: float = 86400) -> Iterator[str]:
        """Keep what is written within the block from garbage collection; gives the lease's id.

        A block within another joins its lease.  ``expires`` in seconds is when the daemon may
        delete it once this process is gone; while the block runs it is renewed.  A block that
        fails takes what it wrote with it.  Raises ``InvalidArgument``.
        """
        from .services.keeping import keeping

        with keeping(self.lease_service, expires) as id:
            yield id

    # ---- images ----------------------------------------------------------------------------

    def _image_services(
        self, snapshotter: str | None = None, platform: str | None = None
    ) -> ImageServices:
        from .images.image import ImageServices
        from .images.names import DaemonNames
        from .oci.platform import default, parse

        wanted = platform or self._options.platform
        return ImageServices(
            DaemonNames(self.image_service),
            self.content_store,
            default() if wanted is None else parse(wanted),
            lambda name: self.snapshot_service(name or snapshotter),
            self.diff_service,
            self._keeping,
        )

    def _transfers(self) -> DaemonTransfers:
        from .images.by_daemon import DaemonTransfers

        return DaemonTransfers.of(self)

    def _can_transfer(self) -> bool:
        from .images.by_daemon import can_transfer

        return can_transfer(self)

    def _keeping(self, resume: str = "") -> AbstractContextManager[object]:
        from .services.keeping import RESUME_EXPIRES, keeping

        if not resume:
            return self.lease()
        return keeping(self.lease_service, RESUME_EXPIRES, resume)

    def _is_back(self, error: BaseException) -> bool:
        from .services.keeping import is_away, restore

        if is_away(error):
            return self.is_serving(timeout=_RESTART_TIMEOUT)
        # Without its lease a write fails in many ways, some of them unknown to the daemon, too.
        return isinstance(error, ContainerdError) and restore(self.lease_service)

    # ---- containers ------------------------------------------------------------------------

    def _containers(self) -> Containers:
        from .runtime.containers import Containers
        from .runtime.record import RuntimeServices

        return Containers(
            RuntimeServices(
                self.namespace,
                self.container_service,
                self.snapshot_service,
                self.task_service,
                self.diff_service,
                lambda: self.introspection_service,
                self._image_services(),
            )
        )

    def _runtime(self) -> str:
        return self._options.runtime or self._default("runtime", _RUNTIME)


def _rebuild(address: str, namespace: str, options: _Options) -> Client:
    return Client(address, namespace=namespace, **vars(options))

"""The facade: containerd's Go client, in Python's terms."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from . import debug, images, runtime, store
from .errors import InvalidArgument
from .images.verbs import ImageVerbs
from .records import record
from .runtime.verbs import ContainerVerbs
from .services._base import CallContext
from .services.access import Services
from .transport.address import DEFAULT
from .transport.channel import Channel

if TYPE_CHECKING:
    from .images.daemon.daemon_backend import DaemonBackend
    from .runtime.runtime_backend import RuntimeBackend
    from .store.daemon import DaemonStore
    from .transport.tls import TLS


@record(frozen=True)
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
        debug.read_environment()
        if channel is not None and (address is not None or tls is not None):
            raise InvalidArgument("a channel has its address", remedy="Give one of the two")
        self._owns_channel = channel is None
        namespace = namespace or os.environ.get("CONTAINERD_NAMESPACE") or "default"
        self._options = _Options(
            timeout, connect_timeout, snapshotter, platform=platform, runtime=runtime, tls=tls
        )
        if channel is None:
            name = address or os.environ.get("CONTAINERD_ADDRESS") or DEFAULT
            channel = Channel(name, connect_timeout=connect_timeout, tls=tls)
        super().__init__(channel, CallContext(namespace, timeout=timeout), snapshotter)

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
        return store.DaemonStore(self.content_service)

    @property
    def _images(self) -> DaemonBackend:
        return images.DaemonBackend(self, platform=self._options.platform)

    @property
    def _runtime(self) -> RuntimeBackend:
        return runtime.RuntimeBackend(self, lambda: self._images, self._options.runtime)


def _rebuild(address: str, namespace: str, options: _Options) -> Client:
    return Client(address, namespace=namespace, **vars(options))

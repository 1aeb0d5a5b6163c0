"""``Client``: the counterpart of containerd's Go client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from . import debug, images, limits, runtime, store
from .arguments import check_types, path
from .errors import InvalidArgument
from .images.base import new_host_cache
from .images.verbs import ImageVerbs
from .locks import PerProcess
from .operation import Operations
from .records import record
from .runtime.verbs import ContainerVerbs
from .services._base import CallContext
from .services.access import Services
from .transport.address import DEFAULT
from .transport.channel import Channel

if TYPE_CHECKING:
    from .images.daemon.daemon_backend import DaemonBackend
    from .images.signatures.policies import PolicyLike
    from .registry.registry_access import RegistryOptions
    from .runtime.runtime_backend import RuntimeBackend
    from .store.daemon import DaemonStore
    from .transport.tls import TLS
    from .trust.policy import Policy


@record(frozen=True)
class _Options:
    """The options of a client, which are pickled with the client."""

    timeout: float | None
    connect_timeout: float | None
    snapshotter: str | None
    platform: str | None
    runtime: str | None
    tls: TLS | Literal[False] | None
    policy: Policy | None
    registry: RegistryOptions | None
    logs_dir: str | None


class Client(Services, ImageVerbs, ContainerVerbs):
    """A client of one containerd daemon, in one namespace.

    The client connects at the first call. Several threads can share a client, and a forked child
    can use the client of its parent. A pickled client contains only the address, the namespace and
    the options.

    Args:
        address: The address of the daemon. Default: ``$CONTAINERD_ADDRESS``, or
            ``/run/containerd/containerd.sock`` if this variable is not set.
        namespace: The containerd namespace. Default: ``$CONTAINERD_NAMESPACE``, or ``"default"`` if
            this variable is not set.
        timeout: Maximum number of seconds for a call that reads or changes metadata, and transfers
            no content. ``None`` means no limit.
        connect_timeout: Maximum number of seconds to connect. ``None`` means no limit.
        snapshotter: The snapshotter. Default: the namespace's default, or the daemon's default if
            the namespace has no default.
        platform: The platform of images, such as ``"linux/arm64"``. Default: the platform of this
            machine.
        runtime: The runtime of new containers, such as ``"io.containerd.runc.v2"``. Default: the
            namespace's default, or runc if the namespace has no default.
        tls: The TLS settings for a TCP address, or ``False`` for a TCP address without TLS.
            containerd serves only the CRI over TCP.
        policy: The policy that images must meet before they get a name in the store, or the path of
            its file. A call can pass a further policy; images must then meet both. Default: all
            images are accepted.
        logs_dir: The folder for the logs of detached containers; see ``run``. Default:
            ``$CONTAINERD_LITE_LOGS``, else ``/var/log/containerd-lite`` for root, else
            ``containerd-lite/logs`` in ``$XDG_STATE_HOME`` (``~/.local/state``). If the default
            cannot be made, a folder in ``$TMPDIR``.
        registry: How to reach registries; see ``RegistryOptions``. Verbs can override it.
        channel: An open channel to use instead of ``address`` and ``tls``. The caller must close
            this channel.

    Raises:
        InvalidArgument: The address is invalid, or ``channel`` is given together with ``address``
            or ``tls``, or a timeout is not above 0.
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
        policy: PolicyLike | None = None,
        registry: RegistryOptions | None = None,
        logs_dir: str | os.PathLike[str] | None = None,
        channel: Channel | None = None,
    ) -> None:
        debug.read_environment()
        check_types({"address": address, "namespace": namespace, "snapshotter": snapshotter})
        check_types({"platform": platform, "runtime": runtime})
        check_types({"channel": channel, "registry": registry})
        if channel is not None and (address is not None or tls is not None):
            raise InvalidArgument(
                "the channel already has an address", remedy="Pass either a channel or an address"
            )
        timeout = limits.seconds("timeout", timeout)
        connect_timeout = limits.seconds("connect_timeout", connect_timeout)
        namespace = namespace or os.environ.get("CONTAINERD_NAMESPACE") or "default"
        self._options = _Options(
            timeout,
            connect_timeout,
            snapshotter,
            platform=platform,
            runtime=runtime,
            tls=tls,
            policy=None if policy is None else images.load_policy(policy),
            registry=registry,
            logs_dir=None if logs_dir is None else path("logs_dir", logs_dir),
        )
        self._owns_channel, self._is_view = channel is None, False
        self._host_caches = PerProcess(new_host_cache)
        self._operations = PerProcess(Operations)
        if channel is None:
            name = address or os.environ.get("CONTAINERD_ADDRESS") or DEFAULT
            channel = Channel(name, connect_timeout=connect_timeout, tls=tls)
        super().__init__(channel, CallContext(namespace, timeout=timeout), snapshotter)

    @property
    def address(self) -> str:
        """The daemon's address."""
        return self._channel.name

    @property
    def runtime(self) -> str:
        """The name of the runtime of new containers, such as ``"io.containerd.runc.v2"``.

        If the client has no runtime of its own, this property asks the daemon for the default of
        the namespace.
        """
        return self._runtime.runtime

    def in_namespace(self, namespace: str) -> Client:
        """Return a client for another namespace, which shares the connections of this client.

        The caller does not have to close the returned client.
        """
        view = Client(
            channel=self._channel, namespace=namespace, **{**vars(self._options), "tls": None}
        )
        view._options = self._options
        view._host_caches, view._is_view = self._host_caches, True
        view._operations = self._operations
        return view

    def close(self) -> None:
        """Cancel running calls, wait for their clean-up, and close all connections.

        Pulls, runs and other calls that are in progress raise ``Cancelled`` and clean up. This
        method waits for them, for 11 seconds at most. If one of these calls itself closes the
        client, for instance in its ``progress`` function, then the connections are closed at the
        end of that call. This method can be called several times.
        """
        if not self._is_view:
            self._operations.get().close(self._close_connections, for_ever=self._owns_channel)

    def _close_connections(self) -> None:
        host_cache = self._host_caches.made()
        if host_cache is not None:
            host_cache.close()
        if self._owns_channel:
            self._channel.close()

    def reconnect(self) -> None:
        """End all calls, and close all connections. The next call connects again."""
        self._channel.reconnect()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.address, self.namespace, self._options)

    @property
    def content_store(self) -> DaemonStore:
        """The daemon's content store, with the methods of ``ContentStore``."""
        return store.DaemonStore(self.content_service)

    @property
    def _images(self) -> DaemonBackend:
        return images.DaemonBackend(
            self,
            self._host_caches,
            platform=self._options.platform,
            policies=() if self._options.policy is None else (self._options.policy,),
            registry=self._options.registry,
        )

    @property
    def _runtime(self) -> RuntimeBackend:
        return runtime.RuntimeBackend(
            self,
            lambda: self._images,
            self._operations,
            self._options.runtime,
            logs_dir=self._options.logs_dir,
        )


def _rebuild(address: str, namespace: str, options: _Options) -> Client:
    return Client(address, namespace=namespace, **vars(options))

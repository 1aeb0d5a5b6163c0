"""Keeps the connections and tokens of registries for the next client of the same registry."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .http import Connections
    from .tokens import TokenCache

#: Seconds after which an idle connection is not used again, as in containerd's resolver
#: (core/remotes/docker/registry.go). Most registries and firewalls drop idle connections later.
IDLE_LIMIT = 30.0
#: Largest number of hosts in a cache.
MAX_HOSTS = 32


class CachedHost:
    """The connections and tokens that the clients of one host share.

    Attributes:
        connections: The connections to the host.
        tokens: The host's tokens, or ``None`` before the host's first challenge.
    """

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.tokens: TokenCache | None = None


class HostCache:
    """Connections and tokens of registries, for ``Registry`` objects that follow each other.

    The cache is thread-safe. A forked child must not use its parent's cache. The cache has no
    thread: an idle connection closes when the cache is used again after 30 seconds, and at
    ``close``.

    A client finds an entry only if it would make the same entry itself: with the same settings from
    ``hosts.toml``, and with the same certificate files. It uses the tokens only if its credentials
    are those for which the tokens were issued.
    """

    def __init__(self) -> None:
        self._is_closed = False
        self._lock = threading.Lock()
        #: The entry that was used last is the last one.
        self._hosts: dict[Hashable, CachedHost] = {}
        # If the owner does not call ``close``, the connections close together with the cache.
        weakref.finalize(self, _close_all, self._hosts, os.getpid())

    def host(self, key: Hashable, make: Callable[[], CachedHost]) -> CachedHost:
        """Return the entry for ``key``. If it is missing, add the result of ``make``."""
        with self._lock:
            for host in self._hosts.values():
                host.connections.close_idle(IDLE_LIMIT)
            found = self._hosts.pop(key, None) or make()
            if not self._is_closed:
                self._hosts[key] = found
            if len(self._hosts) > MAX_HOSTS:
                self._hosts.pop(next(iter(self._hosts))).connections.close()
        return found

    def release(self, host: CachedHost, *, keep: bool) -> None:
        """End a client's use of an entry.

        Args:
            host: The entry.
            keep: Whether later clients can use the entry. If this argument is false, or if the
                cache does not have the entry any more, the idle connections close.
        """
        with self._lock:
            keys = [key for key, kept in self._hosts.items() if kept is host]
            if keys and keep:
                return
            for key in keys:
                del self._hosts[key]
        host.connections.close()

    def close(self) -> None:
        """Close the idle connections, and drop the tokens. The cache keeps nothing afterwards."""
        with self._lock:
            self._is_closed = True
            _close_all(self._hosts, os.getpid())

    def __repr__(self) -> str:
        with self._lock:
            return f"<HostCache of {len(self._hosts)} hosts>"


def _close_all(hosts: dict[Hashable, CachedHost], pid: int) -> None:
    """Close the idle connections, unless this process is a forked child of process ``pid``."""
    if pid == os.getpid():
        while hosts:
            hosts.popitem()[1].connections.close()

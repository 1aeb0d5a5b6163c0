"""Where content comes from: the seam at which a caller can put its own source.

What lives here: the protocols, and the resolver over registries.  What may not: stores.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from ..oci.descriptor import Descriptor
from ..oci.reference import Reference
from ..progress import ProgressCallback
from ..registry.client import HOSTS_DIRS, Registry, StrPath
from ..registry.credentials import Credentials, CredentialSource, default_credentials


class Reader(Protocol):
    """The bytes of a blob, from an offset to its end."""

    def readinto(self, buffer: memoryview, /) -> int: ...

    def close(self) -> None: ...


class Fetcher(Protocol):
    """Fetches what belongs to one reference."""

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """The content from ``offset`` in bytes.  It need not be verified: the store does that."""


class Resolver(Protocol):
    """Turns a name into content."""

    def resolve(self, ref: str) -> tuple[str, Descriptor]:
        """The full name and what it stands for now.  Raises ``NotFound``."""

    def fetcher(self, ref: str) -> Fetcher:
        """A fetcher for what ``resolve`` found."""


class RegistryResolver:
    """References to registries; keeps one ``Registry``, with its connections, for each host.

    ``credentials`` is a pair for every host asked, or a function from host to pair; what the
    user has logged in with unless given.  ``plain_http`` True or False overrides the rule that
    only loopback is spoken to in the clear.  ``hosts_dirs`` are searched for ``hosts.toml``;
    ``progress`` is told of requests that are repeated.
    """

    def __init__(
        self,
        *,
        credentials: Credentials | CredentialSource | None = default_credentials,
        plain_http: bool | None = None,
        hosts_dirs: Sequence[StrPath] = HOSTS_DIRS,
        progress: ProgressCallback | None = None,
    ) -> None:
        self._credentials = credentials
        self._plain_http = plain_http
        self._hosts_dirs = hosts_dirs
        self._progress = progress
        self._lock = threading.Lock()
        self._registries: dict[str, Registry] = {}

    def _registry(self, host: str) -> Registry:
        with self._lock:
            if host not in self._registries:
                self._registries[host] = Registry(
                    host,
                    credentials=self._credentials,
                    plain_http=self._plain_http,
                    hosts_dirs=self._hosts_dirs,
                    progress=self._progress,
                )
            return self._registries[host]

    def resolve(self, ref: str) -> tuple[str, Descriptor]:
        reference = Reference.parse(ref)
        return str(reference), self._registry(reference.host).resolve(reference)

    def fetcher(self, ref: str) -> RegistryFetcher:
        reference = Reference.parse(ref)
        return RegistryFetcher(self._registry(reference.host), reference)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            registries, self._registries = list(self._registries.values()), {}
        for registry in registries:
            registry.close()

    def __enter__(self) -> RegistryResolver:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextmanager
def using(
    resolver: Resolver | None, progress: ProgressCallback | None = None
) -> Iterator[Resolver]:
    """The caller's resolver, or one over registries for the length of the block."""
    if resolver is not None:
        yield resolver
        return
    with RegistryResolver(progress=progress) as own:
        yield own


class RegistryFetcher:
    """A ``Fetcher`` of one repository."""

    def __init__(self, registry: Registry, reference: Reference) -> None:
        self._registry = registry
        self._reference = reference

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        return self._registry.open_blob(self._reference, descriptor, offset, verify=False)

"""Where content comes from and goes to: the seam at which a caller can put its own.

What lives here: the protocols, and the resolver over registries.  What may not: stores.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from .. import registry as package
from ..errors import DataLoss, RegistryError, RegistryUnauthorized, RegistryUnavailable
from ..interrupt import check
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import parse
from ..oci.reference import Reference
from ..progress import ProgressCallback, ProgressEvent
from ..records import replace
from ..registry.credentials import Credentials, CredentialSource, default_credentials
from ..registry.hosts import TlsFiles
from ..registry.hosts_file import find_hosts
from ..registry.registry import HOSTS_DIRS, Registry, StrPath
from ..store.write_locks import write_lock

if TYPE_CHECKING:
    from typing_extensions import Self


#: After so many blobs in a row that were not there, those of up to so many bytes are sent without
#: asking: two requests each instead of three.  A push that finds most of it there asks for all.
_MISSES, _SMALL = 4, 1 << 20


class Reader(Protocol):
    """The bytes of a blob, from an offset to its end."""

    def readinto(self, buffer: memoryview, /) -> int: ...

    def close(self) -> None: ...


class Fetcher(Protocol):
    """Fetches what belongs to one reference."""

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """The content from ``offset`` in bytes.  It need not be verified: the store does that."""


class Pusher(Protocol):
    """Brings content to where one reference is; everything that it refers to comes before it."""

    def push(
        self,
        descriptor: Descriptor,
        open_at: Callable[[int], BinaryIO],
        *,
        mount_from: Sequence[str] = (),
        chunk_size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> package.Outcome:
        """A blob, manifest or index under its digest, unless it is there.

        ``open_at`` opens the content at an offset in bytes.  ``mount_from`` are repositories of
        the same registry that may have it; ``chunk_size`` (bytes) is how a blob is cut.
        ``progress`` is told ``uploading``, and in the end the outcome.
        """

    def name(
        self, descriptor: Descriptor, body: bytes, *, progress: ProgressCallback | None = None
    ) -> package.Outcome:
        """A manifest or index for which the reference is to stand from now on."""


class Resolver(Protocol):
    """Turns a name into content; all that pull needs."""

    def resolve(self, ref: str) -> tuple[str, Descriptor]:
        """The full name and what it stands for now.  Raises ``NotFound``."""

    def fetcher(self, ref: str) -> Fetcher:
        """A fetcher for what ``resolve`` found.

        Where it has a method ``referrers`` like ``RegistryFetcher``'s, these can be had too.
        """


class PushResolver(Resolver, Protocol):
    """A resolver that turns content into names, too; what push and copy need."""

    def pusher(self, ref: str) -> Pusher:
        """A pusher of what ``ref`` is to stand for."""


_R = TypeVar("_R", bound=Resolver)


class RegistryResolver:
    """References to registries; keeps one ``Registry``, with its connections, for each host.

    ``credentials`` is a pair for every host asked, or a function from host to pair; what the
    user has logged in with unless given.  ``plain_http`` True or False overrides the rule that
    only loopback is spoken to in the clear.  ``hosts_dirs`` are searched for ``hosts.toml``;
    ``tls``, ``proxy`` and ``max_rate`` (bytes per second, of each registry) are as for
    ``registry.client.Registry``.  With several ``connections`` a big blob comes in parts side by
    side, which helps on long lines.  ``progress`` is told of requests that are repeated.
    """

    def __init__(
        self,
        *,
        credentials: Credentials | CredentialSource | None = default_credentials,
        plain_http: bool | None = None,
        hosts_dirs: Sequence[StrPath] = HOSTS_DIRS,
        tls: TlsFiles | None = None,
        proxy: str | None = None,
        max_rate: float | None = None,
        connections: int = 1,
        progress: ProgressCallback | None = None,
    ) -> None:
        self._plain_http = plain_http
        self._hosts_dirs = hosts_dirs
        self._connections = connections
        self._new = partial(
            Registry,
            credentials=credentials,
            plain_http=plain_http,
            hosts_dirs=hosts_dirs,
            tls=tls,
            proxy=proxy,
            max_rate=max_rate,
            progress=progress,
        )
        self._lock = threading.Lock()
        self._registries: dict[str, Registry] = {}

    def _registry(self, host: str) -> Registry:
        with self._lock:
            if host not in self._registries:
                self._registries[host] = self._new(host)
            return self._registries[host]

    def resolve(self, ref: str) -> tuple[str, Descriptor]:
        reference = Reference.parse(ref)
        return str(reference), self._registry(reference.host).resolve(reference)

    def fetcher(self, ref: str) -> RegistryFetcher:
        reference = Reference.parse(ref)
        return RegistryFetcher(self._registry(reference.host), reference, self._connections)

    def pusher(self, ref: str) -> RegistryPusher:
        reference = Reference.parse(ref)
        hosts = find_hosts(reference.host, self._hosts_dirs, self._plain_http)
        return RegistryPusher(self._registry(reference.host), reference, has_mirrors=len(hosts) > 1)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            registries, self._registries = list(self._registries.values()), {}
        for registry in registries:
            registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextmanager
def using(
    resolver: _R | None, progress: ProgressCallback | None = None
) -> Iterator[_R | RegistryResolver]:
    """The caller's resolver, or one over registries for the length of the block."""
    if resolver is not None:
        yield resolver
        return
    with RegistryResolver(progress=progress) as own:
        yield own


class RegistryFetcher:
    """A ``Fetcher`` of one repository."""

    def __init__(self, registry: Registry, reference: Reference, connections: int = 1) -> None:
        self._registry = registry
        self._reference = reference
        self._connections = connections

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        if media_types.is_schema1(descriptor.media_type):
            # Signed afresh each time, it has no size to read a stream by.
            body = self._registry.fetch_manifest(self._reference, descriptor)
            return io.BytesIO(body[offset:])
        return self._registry.open_blob(
            self._reference, descriptor, offset, verify=False, connections=self._connections
        )

    def size_of(self, descriptor: Descriptor) -> int:
        """The size of a blob in bytes, whatever the descriptor says.  Raises ``NotFound``."""
        return self._registry.blob_size(self._reference, descriptor)

    def referrers(self, descriptor: Descriptor, artifact_type: str = "") -> Sequence[Descriptor]:
        """The manifests whose subject the descriptor is, of one artifact type or of all."""
        place = replace(self._reference, digest=descriptor.digest)
        return self._registry.referrers(place, artifact_type)


class RegistryPusher:
    """A ``Pusher`` to one repository.

    Where there are mirrors, manifests are sent without asking whether they are there: a mirror
    would answer for what it has itself.  So are small blobs, once several in a row were not there.
    """

    def __init__(
        self, registry: Registry, reference: Reference, *, has_mirrors: bool = False
    ) -> None:
        self._registry = registry
        self._reference = reference
        self._has_mirrors = has_mirrors
        self._missed = 0

    def push(
        self,
        descriptor: Descriptor,
        open_at: Callable[[int], BinaryIO],
        *,
        mount_from: Sequence[str] = (),
        chunk_size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> package.Outcome:
        if not media_types.is_document(descriptor.media_type):
            outcome = self._registry.upload_blob(
                self._reference,
                descriptor,
                open_at,
                mount_from=mount_from,
                chunk_size=chunk_size,
                ask=descriptor.size > _SMALL or self._missed < _MISSES,
                progress=progress,
            )
            self._missed = 0 if outcome is package.Outcome.EXISTS else self._missed + 1
            return outcome
        with open_at(0) as file:
            body = file.read(MAX_DOCUMENT + 1)
        place = replace(self._reference, tag="", digest=descriptor.digest)
        return self._put(place, descriptor, body, progress)

    def name(
        self, descriptor: Descriptor, body: bytes, *, progress: ProgressCallback | None = None
    ) -> package.Outcome:
        reference = self._reference
        place = reference if reference.digest else reference.with_digest(descriptor.digest)
        return self._put(place, descriptor, body, progress)

    def _put(
        self,
        place: Reference,
        descriptor: Descriptor,
        body: bytes,
        progress: ProgressCallback | None,
    ) -> package.Outcome:
        subject = parse(body, descriptor.media_type).subject
        # A registry may keep no list of referrers: then each adds itself to one of ours.
        with write_lock((place.name, subject.digest if subject else descriptor.digest), check):
            outcome = package.Outcome.EXISTS
            if not self._stands(place, subject):
                self._registry.push_manifest(place, body, descriptor.media_type)
                outcome = package.Outcome.UPLOADED
        if progress is not None:
            size = descriptor.size
            progress(ProgressEvent(outcome.value, descriptor.digest, size, size))
        return outcome

    def _stands(self, place: Reference, subject: Descriptor | None) -> bool:
        """Whether the registry has the manifest in its place, and in the list of its subject."""
        if self._has_mirrors:
            return False
        asked = replace(place, digest="") if place.tag else place
        try:
            if self._registry.resolve(asked).digest == place.digest:
                return subject is None or any(
                    found.digest == place.digest
                    for found in self._registry.referrers(
                        replace(place, tag="", digest=subject.digest)
                    )
                )
        except (RegistryError, DataLoss) as error:
            if not _may_be_replaced(error):
                raise
        return False


def _may_be_replaced(error: RegistryError | DataLoss) -> bool:
    """Whether to push over what cannot be read: nobody can use it, and a push may be the cure.

    Where the registry refuses us, or says nothing at all, the push would end in the same way.
    """
    if isinstance(error, RegistryUnavailable):
        return error.status >= 500
    return not isinstance(error, RegistryUnauthorized)

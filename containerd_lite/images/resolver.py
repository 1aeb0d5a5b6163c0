"""Resolvers determine where a pull fetches content from, and where a push sends content to.

Callers can pass their own implementations of the protocols in this module to the verbs.
``RegistryResolver`` is the implementation for registries.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from .. import limits
from .. import registry as package
from ..arguments import check_types
from ..errors import DataLoss, RegistryError, RegistryUnauthorized, RegistryUnavailable
from ..interrupt import check
from ..locks import PerProcess
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import parse
from ..oci.reference import Reference
from ..progress import ProgressCallback, ProgressEvent
from ..records import replace
from ..registry.credentials import Credentials, CredentialSource, default_credentials
from ..registry.hosts import TlsFiles
from ..registry.hosts_file import HOSTS_DIRS, StrPath
from ..registry.proxies import Proxies
from ..registry.registry import Registry
from ..registry.registry_access import RegistryOptions
from ..store.write_locks import write_lock

if TYPE_CHECKING:
    from typing_extensions import Self


#: If the registry lacked the last ``_MISSES_BEFORE_SKIP`` blobs, blobs of at most ``_SKIP_UP_TO``
#: bytes are uploaded without a HEAD request. An upload without a HEAD request needs two requests
#: instead of three. The pusher still sends HEAD requests to a registry that has most blobs.
_MISSES_BEFORE_SKIP, _SKIP_UP_TO = 4, 1 << 20


class Reader(Protocol):
    """A reader of the bytes of a blob, from an offset to the end of the blob."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Read bytes into ``buffer``; return their number, 0 at the end of the blob."""
        ...

    def close(self) -> None:
        """Release the reader's connection or file."""
        ...


class Fetcher(Protocol):
    """Fetches the content of one reference."""

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """Return a reader of the content of ``descriptor``.

        The reader need not verify the content, because the store verifies it.

        Args:
            descriptor: A blob, manifest or index.
            offset: The byte to start from.

        Raises:
            NotFound: The content does not exist.
        """


class Pusher(Protocol):
    """Pushes the content of one reference; the caller pushes children before their parents."""

    def push(
        self,
        descriptor: Descriptor,
        open_at: Callable[[int], BinaryIO],
        *,
        mount_from: Sequence[str] = (),
        chunk_size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> package.Outcome:
        """Push a blob, manifest or index by its digest, unless it exists.

        Args:
            descriptor: The content to push.
            open_at: A function that opens the content at an offset in bytes.
            mount_from: Repositories of the same registry that probably have the blob.
            chunk_size: Bytes per chunk. Default: a blob is not divided into chunks.
            progress: A function that is called with ``uploading`` events, and at the end with an
                event for the outcome.

        Returns:
            Whether the content existed, was mounted or was uploaded.
        """

    def name(
        self, descriptor: Descriptor, body: bytes, *, progress: ProgressCallback | None = None
    ) -> package.Outcome:
        """Push a manifest or index, and let the reference refer to it.

        Args:
            descriptor: The descriptor of the manifest or index.
            body: The content of the manifest or index.
            progress: A function that is called with an event for the outcome.

        Returns:
            ``EXISTS`` if the reference referred to the manifest or index already, otherwise
            ``UPLOADED``.
        """


class Resolver(Protocol):
    """Resolves names and fetches their content, for pulls."""

    def resolve(self, ref: str) -> tuple[str, Descriptor]:
        """Return the full name, and the descriptor that this name refers to now.

        Raises:
            NotFound: The name does not exist.
        """

    def fetcher(self, ref: str) -> Fetcher:
        """Return a fetcher for the full name that ``resolve`` returned.

        The verbs can fetch referrers only if the fetcher has a method like
        ``RegistryFetcher.referrers``.
        """


class PushResolver(Resolver, Protocol):
    """A resolver that also pushes content, for pushes and copies."""

    def pusher(self, ref: str) -> Pusher:
        """Return a pusher for the content that ``ref`` will refer to."""


_R = TypeVar("_R", bound=Resolver)


class RegistryResolver:
    """A resolver for references to registries.

    The resolver has one ``Registry`` for each host. It is a context manager that closes the
    connections.

    Args:
        credentials: The credentials for all registries, or a function that returns the credentials
            for a host. ``None`` means anonymous access. Default: the credentials with which the
            user has logged in.
        plain_http: Whether to use HTTP without TLS. Default: for loopback addresses only.
        hosts_dirs: Folders that are searched for ``hosts.toml``. Default: containerd's and
            Docker's folders in ``/etc``.
        tls: TLS files for the registries, as for ``Registry``.
        proxy: The URL of a proxy, as for ``Registry``.
        proxy_ca: Authorities of an https proxy, as for ``Registry``.
        max_rate: The maximum number of bytes per second, for each registry. Default: no limit.
        realm_hosts: Host names of further token servers that get credentials, as for ``Registry``.
        connections: How many connections fetch the parts of a large blob in parallel. Several
            connections help if the latency is high.
        progress: A function that is called with an event for each repeated request.
        cache: As for ``Registry``.
    """

    def __init__(
        self,
        *,
        credentials: Credentials | CredentialSource | None = default_credentials,
        plain_http: bool | None = None,
        hosts_dirs: Sequence[StrPath] = HOSTS_DIRS,
        tls: TlsFiles | None = None,
        proxy: str | None = None,
        proxy_ca: Iterable[StrPath] = (),
        max_rate: float | None = None,
        realm_hosts: Iterable[str] = (),
        connections: int = 1,
        progress: ProgressCallback | None = None,
        cache: package.HostCache | None = None,
    ) -> None:
        check_types(locals())  # the arguments
        self._connections = limits.parallel("connections", connections)
        limits.rate("max_rate", max_rate, least=1)
        Proxies(proxy)  # checks the URL
        self._new = partial(
            Registry,
            credentials=credentials,
            plain_http=plain_http,
            hosts_dirs=hosts_dirs,
            tls=tls,
            proxy=proxy,
            proxy_ca=tuple(proxy_ca),
            max_rate=max_rate,
            realm_hosts=tuple(realm_hosts),
            progress=progress,
        )
        self._cache = cache
        self._lock = threading.Lock()
        self._registries: dict[str, Registry] = {}

    def _registry(self, host: str) -> Registry:
        with self._lock:
            if host not in self._registries:
                self._registries[host] = self._new(host, cache=self._cache)
            return self._registries[host]

    def resolve(self, ref: str) -> tuple[str, Descriptor]:
        """Return the full name, and the descriptor that the registry has for this name now.

        Raises:
            NotFound: The registry has no such image.
            InvalidArgument: ``ref`` is not a valid reference.
        """
        reference = Reference.parse(ref)
        return str(reference), self._registry(reference.host).resolve(reference)

    def fetcher(self, ref: str) -> RegistryFetcher:
        """Return a fetcher for the repository of ``ref``.

        Raises:
            InvalidArgument: ``ref`` is not a valid reference.
        """
        reference = Reference.parse(ref)
        return RegistryFetcher(self._registry(reference.host), reference, self._connections)

    def pusher(self, ref: str) -> RegistryPusher:
        """Return a pusher for the repository of ``ref``.

        Raises:
            InvalidArgument: ``ref`` is not a valid reference.
        """
        reference = Reference.parse(ref)
        return RegistryPusher(self._registry(reference.host), reference)

    def close(self) -> None:
        """Close the idle connections, or leave them to the cache."""
        self.__exit__(None)

    def __enter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        with self._lock:
            return f"<RegistryResolver {' '.join(self._registries) or 'without a connection'}>"

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        with self._lock:
            registries, self._registries = list(self._registries.values()), {}
            self._cache = None
        for registry in registries:
            registry.__exit__(kind)


@contextmanager
def using(
    resolver: _R | RegistryOptions | None,
    host_caches: PerProcess[package.HostCache],
    progress: ProgressCallback | None = None,
) -> Iterator[_R | RegistryResolver]:
    """Yield the caller's resolver, or a ``RegistryResolver`` with the caller's options.

    Each block has its own ``RegistryResolver``. So each verb reads the user's credentials and
    ``hosts.toml`` again, and gets the events of its own requests only. The cache keeps what stays
    right: the connections, and the tokens of the same user.
    """
    options = RegistryOptions() if resolver is None else resolver
    if not isinstance(options, RegistryOptions):
        yield options
        return
    with RegistryResolver(
        credentials=options.source,
        plain_http=options.plain_http,
        hosts_dirs=options.hosts_dirs,
        tls=options.tls,
        proxy=options.proxy,
        max_rate=options.max_rate,
        connections=options.connections,
        cache=host_caches.get(),
        progress=progress,
    ) as own:
        yield own


class RegistryFetcher:
    """A ``Fetcher`` for one repository."""

    def __init__(self, registry: Registry, reference: Reference, connections: int = 1) -> None:
        self._registry = registry
        self._reference = reference
        self._connections = connections

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """Return a reader of the content of ``descriptor``, from ``offset`` in bytes."""
        if media_types.is_schema1(descriptor.media_type):
            # The registry signs the manifest for each request, so the size is not known in
            # advance.
            body = self._registry.fetch_manifest(self._reference, descriptor)
            return io.BytesIO(body[offset:])
        return self._registry.open_blob(
            self._reference, descriptor, offset, verify=False, connections=self._connections
        )

    def size_of(self, descriptor: Descriptor) -> int:
        """Return the size of a blob in bytes, as the registry states it.

        Raises:
            NotFound: The registry has no such blob.
        """
        return self._registry.blob_size(self._reference, descriptor)

    def referrers(self, descriptor: Descriptor, artifact_type: str = "") -> Sequence[Descriptor]:
        """Return the manifests that refer to ``descriptor`` as their subject.

        Args:
            descriptor: The subject.
            artifact_type: The artifact type of the referrers. Default: all types.
        """
        subject = replace(self._reference, digest=descriptor.digest)
        return self._registry.referrers(subject, artifact_type)


class RegistryPusher:
    """A ``Pusher`` for one repository.

    Before a push, the pusher checks whether the registry has the content. There are two exceptions:

    - After the registry lacked several blobs in a row, small blobs are pushed without a check.
    - If the reference does not exist yet, and other repositories probably have a blob, the pusher
      asks for a mount of the blob instead of the check. Once a mount has failed, it checks first.
    """

    def __init__(self, registry: Registry, reference: Reference) -> None:
        self._registry = registry
        self._reference = reference
        #: The number of blobs that the registry has lacked since it last had a blob.
        self._misses = 0
        #: Whether the registry has mounted all blobs that it was asked to mount.
        self._mounts_blobs = True
        self._lock = threading.Lock()
        #: The digest that the reference had at the first question, ``""`` for none.
        self._old_digest: str | None = None

    def push(
        self,
        descriptor: Descriptor,
        open_at: Callable[[int], BinaryIO],
        *,
        mount_from: Sequence[str] = (),
        chunk_size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> package.Outcome:
        """Push a blob, manifest or index by its digest, unless it exists; see ``Pusher.push``."""
        if not media_types.is_document(descriptor.media_type):
            outcome = self._registry.upload_blob(
                self._reference,
                descriptor,
                open_at,
                mount_from=mount_from,
                chunk_size=chunk_size,
                ask=descriptor.size > _SKIP_UP_TO or self._misses < _MISSES_BEFORE_SKIP,
                mount_first=bool(mount_from) and self._mounts_blobs and not self._find_old(),
                progress=progress,
            )
            if mount_from and outcome is package.Outcome.UPLOADED:
                self._mounts_blobs = False
            self._misses = 0 if outcome is package.Outcome.EXISTS else self._misses + 1
            return outcome
        with open_at(0) as file:
            body = file.read(MAX_DOCUMENT + 1)
        destination = replace(self._reference, tag="", digest=descriptor.digest)
        find_old = partial(self._digest_of, destination)
        return self._push_document(destination, descriptor, body, find_old, progress)

    def name(
        self, descriptor: Descriptor, body: bytes, *, progress: ProgressCallback | None = None
    ) -> package.Outcome:
        """Push a manifest or index, and let the reference refer to it; see ``Pusher.name``."""
        reference = self._reference
        destination = reference if reference.digest else reference.with_digest(descriptor.digest)
        outcome = self._push_document(destination, descriptor, body, self._find_old, progress)
        self._old_digest = None
        return outcome

    def _push_document(
        self,
        destination: Reference,
        descriptor: Descriptor,
        body: bytes,
        find_old: Callable[[], str],
        progress: ProgressCallback | None,
    ) -> package.Outcome:
        """Push a manifest or index, unless ``find_old`` returns its digest."""
        subject = parse(body, descriptor.media_type).subject
        # If the registry has no referrers API, a tag names an index of the subject's referrers, and
        # each push adds its manifest to this index. Without the lock, one of two simultaneous
        # pushes could undo the change of the other push.
        with write_lock(
            (destination.name, subject.digest if subject else descriptor.digest), check
        ):
            outcome = package.Outcome.EXISTS
            is_there = find_old() == descriptor.digest
            if not is_there or (subject and not self._is_listed(destination, subject)):
                self._registry.push_manifest(destination, body, descriptor.media_type)
                outcome = package.Outcome.UPLOADED
        if progress is not None:
            size = descriptor.size
            progress(ProgressEvent(outcome.value, descriptor.digest, size, size))
        return outcome

    def _is_listed(self, destination: Reference, subject: Descriptor) -> bool:
        """Return whether the registry lists the manifest as a referrer of ``subject``.

        With mirrors, the result is false, because a mirror could answer.
        """
        if self._registry.has_mirrors:
            return False
        query = replace(destination, tag="", digest=subject.digest)
        try:
            found = self._registry.referrers(query)
        except (RegistryError, DataLoss) as error:
            if not _may_overwrite(error):
                raise
            return False
        return any(referrer.digest == destination.digest for referrer in found)

    def look_up_name(self) -> None:
        """Ask the registry what the reference refers to. Each push needs the answer.

        A push calls this method while it reads what it will push.
        """
        self._find_old()

    def _find_old(self) -> str:
        """Return the digest that the reference had before this push, ``""`` for none."""
        with self._lock:
            if self._old_digest is None:
                self._old_digest = self._digest_of(self._reference)
            return self._old_digest

    def _digest_of(self, reference: Reference) -> str:
        """Return the digest of the manifest of a reference in the registry, ``""`` for none."""
        try:
            found = self._registry.head_manifest(
                replace(reference, digest="") if reference.tag else reference
            )
        except (RegistryError, DataLoss) as error:
            if not _may_overwrite(error):
                raise
            return ""
        return found.digest if found is not None else ""


def _may_overwrite(error: RegistryError | DataLoss) -> bool:
    """Return whether to push a manifest although the check for it failed with ``error``.

    If the registry has the manifest but cannot serve it, the push may repair the manifest. If the
    registry refuses access or does not answer, the push would fail, too.
    """
    if isinstance(error, RegistryUnavailable):
        return error.status >= 500
    return not isinstance(error, RegistryUnauthorized)

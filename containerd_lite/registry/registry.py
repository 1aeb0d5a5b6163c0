"""The client of one registry: resolve, fetch, upload, list and delete content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from .. import registry as package
from ..deadline import Deadline
from ..errors import InvalidArgument
from ..interrupt import pause
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.reference import Reference
from ..progress import ProgressCallback, ProgressEvent
from ..records import record, replace
from ..version import USER_AGENT
from . import download as fetch
from .auth import Authenticator
from .blob import BlobReader
from .credentials import Credentials, CredentialSource
from .destinations import Destinations
from .failover import Failover
from .hosts import PUSH, Host, TlsFiles
from .hosts_file import find_hosts
from .http import Bounds, Transport
from .http_errors import naming
from .openers import Content, opener
from .pace import BandwidthLimit
from .parts import PartsReader
from .proxies import Proxies
from .session import MAX_FAILURES, MAX_TRIES, Report, Session, TransferRetries

#: Folders in which administrators configure registries for containerd and Docker.
HOSTS_DIRS = ("/etc/containerd/certs.d", "/etc/docker/certs.d")

#: Default least rate of a peer in bytes per second. Every usable network is faster.
LEAST_RATE = 100.0

StrPath = str | os.PathLike[str]


class Registry:
    """A client of one registry and its mirrors.

    It is thread-safe. It is usable after ``fork`` only if it was not used before. It sends no
    request before a method is called. It is a context manager that closes the idle connections.

    Methods raise RegistryNotFound, RegistryUnauthorized, RegistryUnavailable, and RegistryError
    for other failures of a registry. They raise InvalidArgument for a reference on another
    registry. Their ``deadline`` limits the whole operation. Without it, ``timeout`` limits each
    request.

    Args:
        host: The registry as references name it (``docker.io``, ``127.0.0.1:5000``).
        credentials: The registry's credentials, or a function that returns those of a host, such
            as ``credentials.default_credentials``. It is called only when a host requires
            credentials. Default: anonymous access.
        plain_http: Whether to use HTTP without TLS, unless ``hosts.toml`` gives the scheme.
            Default: only for loopback addresses without ``tls``.
        hosts_dirs: Folders that are searched for the registry's ``hosts.toml`` or for Docker's
            certificates.
        tls: Further TLS files for the registry itself.
        proxy: The URL of a proxy for all requests, or ``""`` for no proxy. Default: the proxy in
            the environment variables.
        timeout: Seconds that a request and its retries may take, without the body of a blob.
        connect_timeout: Seconds that connecting may take.
        stall_timeout: Seconds that the peer may send no byte.
        least_rate: Least bytes per second of a peer. It is an error if the peer is slower over
            ``stall_timeout`` seconds.
        max_rate: Most bytes per second that this client sends and receives. Default: no limit.
        realm_hosts: Hosts of further token servers that may receive the credentials.
        user_agent: The ``User-Agent`` of all requests.
        progress: Called with an event for each request that is repeated.
        network: Classifies addresses; tests replace it.
        sleep: Waits for some seconds; tests replace it.

    Raises:
        InvalidArgument: ``host`` is not the host of a registry, or a configuration file cannot be
            used.
    """

    def __init__(
        self,
        host: str,
        *,
        credentials: Credentials | CredentialSource | None = None,
        plain_http: bool | None = None,
        hosts_dirs: Sequence[StrPath] = HOSTS_DIRS,
        tls: TlsFiles | None = None,
        proxy: str | None = None,
        timeout: float = 60.0,
        connect_timeout: float = 10.0,
        stall_timeout: float = 30.0,
        least_rate: float = LEAST_RATE,
        max_rate: float | None = None,
        realm_hosts: Iterable[str] = (),
        user_agent: str = USER_AGENT,
        progress: ProgressCallback | None = None,
        network: Destinations | None = None,
        sleep: Callable[[float], object] = pause,
    ) -> None:
        self._namespace = host
        self._timeout = timeout
        self._sleep = sleep
        self._progress = progress
        self._warnings: list[str] = []
        if tls is not None and plain_http is None:
            plain_http = False
        *mirrors, own = find_hosts(host, hosts_dirs, plain_http)
        if tls is not None:
            own = replace(own, tls=own.tls.joined(tls))
        settings = _Settings(
            Bounds(connect_timeout, stall_timeout, least_rate),
            user_agent,
            network or Destinations(),
            bandwidth=BandwidthLimit(max_rate, sleep=sleep),
            proxies=Proxies(proxy),
            source=_credential_source(host, credentials),
            realm_hosts=tuple(realm_hosts),
            sleep=sleep,
            report=self._report,
            warnings=self._warnings,
        )
        # A mirror gets a single try, because another host follows it.
        sessions = [settings.session(mirror, 1) for mirror in mirrors]
        self._hosts = Failover(host, [*sessions, settings.session(own, MAX_TRIES)])

    @property
    def host(self) -> str:
        """The registry as references name it."""
        return self._namespace

    @property
    def warnings(self) -> tuple[str, ...]:
        """The registry's warnings for users, each one once (distribution-spec, Warnings)."""
        return tuple(self._warnings)

    def __repr__(self) -> str:
        return f"<Registry {self._hosts.own.host.base.origin}>"

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections. Open readers remain usable until they are closed."""
        self._hosts.close()

    def resolve(self, reference: Reference, *, deadline: Deadline | None = None) -> Descriptor:
        """Return the descriptor of the manifest or index that ``reference`` names.

        It comes from a HEAD response. If that does not state digest, size and media type, this
        fetches the document, checks it and hashes it.

        Raises:
            RegistryNotFound: The registry has no such manifest or index.
            DigestMismatch: The registry's digest contradicts the reference or the content.
        """
        self._check(reference)
        with naming(f"resolve {reference}"):
            return fetch.resolve(self._hosts, reference, self._deadline_maker(deadline))

    def fetch_manifest(
        self, reference: Reference, descriptor: Descriptor, *, deadline: Deadline | None = None
    ) -> bytes:
        """Return the manifest or index of ``descriptor`` from the reference's repository, verified.

        A manifest of Docker's schema 1 includes its signatures. The digest does not cover them,
        and their length may change with each request.

        Raises:
            RegistryNotFound: The repository has no such manifest or index.
            RegistryError: The document has more than 4 MiB or is invalid.
            DigestMismatch: The content does not match the digest.
            SizeMismatch: The content does not match the size.
        """
        self._check(reference)
        with naming(f"fetch {descriptor.digest} of {reference.name}"):
            return fetch.fetch_manifest(
                self._hosts, reference, descriptor, self._deadline_maker(deadline)
            )

    def blob_size(
        self, reference: Reference, descriptor: Descriptor, *, deadline: Deadline | None = None
    ) -> int:
        """Return the size of a blob in bytes as the registry states it.

        The size in the descriptor is ignored.

        Raises:
            RegistryNotFound: The repository has no such blob.
            RegistryError: The registry does not state the size.
            DigestMismatch: The registry names another blob.
        """
        self._check(reference)
        with naming(f"find the size of {descriptor.digest} of {reference.name}"):
            return fetch.size_of(self._hosts, reference, descriptor, self._deadline_maker(deadline))

    def open_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        offset: int = 0,
        *,
        verify: bool = True,
        connections: int = 1,
        deadline: Deadline | None = None,
    ) -> BlobReader | PartsReader:
        """Return a stream of the content of ``descriptor``, from ``offset`` to its end.

        After a broken connection or a stall, the stream requests the rest. Layers that the
        registry need not have are fetched from their URLs.

        Args:
            reference: The repository.
            descriptor: A blob, manifest or index.
            offset: The first byte to read.
            verify: Whether the stream verifies the digest, if it begins at offset 0. Set it to
                false if the store does that. The size is always checked.
            connections: The largest number of parallel connections. With several, a large blob is
                fetched in parts of 4 MiB.
            deadline: The deadline for requests and reading. Default: ``timeout`` for each request,
                and only ``stall_timeout`` and ``least_rate`` for reading.

        Raises:
            RegistryNotFound: The repository has no such content.
            OutOfRange: ``offset`` is beyond the end.
            SizeMismatch: The registry announces another size.
            InvalidArgument: ``descriptor`` is a manifest of Docker's schema 1; use
                ``fetch_manifest``.
        """
        self._check(reference)
        if media_types.is_schema1(descriptor.media_type):
            raise InvalidArgument(
                f"{descriptor.digest} is a manifest of Docker's schema 1, whose size and digest do "
                "not cover all its bytes",
                remedy="Use fetch_manifest",
            )
        source = fetch.BlobSource(
            self._hosts,
            reference,
            descriptor,
            retries=lambda: self._retries(descriptor, deadline),
            timeout=self._timeout,
            deadline=deadline,
        )
        if offset or connections < 2:
            return source.reader(offset, verify=verify)
        return source.parallel(connections, verify=verify)

    def upload_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        content: Content,
        *,
        mount_from: Sequence[str] = (),
        chunk_size: int | None = None,
        single_post: bool = False,
        ask: bool = True,
        deadline: Deadline | None = None,
        progress: ProgressCallback | None = None,
    ) -> package.Outcome:
        """Upload a blob to the repository of ``reference``, unless it exists there.

        After a broken connection, the client asks how many bytes the registry has, and continues
        from there. An upload that fails is deleted.

        Args:
            reference: The repository.
            descriptor: The blob.
            content: The bytes, a file's path, or a function that opens them as a binary file at an
                offset in bytes.
            mount_from: Repositories of the same registry that may have the blob.
            chunk_size: Bytes of each PATCH request, at least the registry's minimum. Default: one
                PUT request with the whole content.
            single_post: Whether to send the content in the POST request that starts the upload, if
                the registry supports it.
            ask: Whether to check first if the blob exists.
            deadline: The deadline for the whole upload. Default: ``timeout`` for each request
                without content.
            progress: Called with ``uploading`` events, and at the end with the outcome.

        Returns:
            Whether the blob existed, was mounted or was uploaded.

        Raises:
            SizeMismatch: The content does not match the size.
            DigestMismatch: The content does not match the digest.
            InvalidArgument: The content cannot be read.
        """
        self._check(reference)
        upload = package.Upload(
            self._hosts.sessions_with(PUSH)[0],
            reference,
            descriptor,
            opener(content),
            deadline=deadline,
            timeout=self._timeout,
            retries=self._retries(descriptor, deadline, MAX_TRIES),
            report=progress or (lambda event: None),
        )
        with naming(f"upload {descriptor.digest} to {reference.name}"):
            return upload.run(mount_from, chunk_size, single_post, ask)

    def push_manifest(
        self,
        reference: Reference,
        content: bytes,
        media_type: str = "",
        *,
        deadline: Deadline | None = None,
    ) -> Descriptor:
        """Push a manifest or index under the reference's tag, or else under its digest.

        If it has a subject and the registry does not list referrers, this updates the fallback
        tag (distribution-spec, Pushing Manifests with Subject).

        Args:
            reference: The repository, and the tag or digest.
            content: The manifest or index.
            media_type: Its media type. Default: the one in the document.
            deadline: The deadline for all requests. Default: ``timeout`` for all of them.

        Returns:
            The descriptor of the manifest or index.

        Raises:
            InvalidArgument: ``content`` is not a manifest or index.
            DigestMismatch: The reference or the registry names another digest.
        """
        self._check(reference)
        with naming(f"push {reference}"):
            session = self._hosts.sessions_with(PUSH)[0]
            return package.push_manifest(
                session, reference, content, media_type, self._deadline(deadline)
            )

    def tags(self, reference: Reference, *, deadline: Deadline | None = None) -> Iterator[str]:
        """Yield the tags of the reference's repository; request each page when it is needed."""
        self._check(reference)
        return package.list_tags(self._hosts, reference, self._deadline_maker(deadline))

    def catalog(self, *, deadline: Deadline | None = None) -> Iterator[str]:
        """Yield the repositories of a registry that lists them (distribution's ``_catalog``)."""
        return package.list_catalog(self._hosts, self._deadline_maker(deadline))

    def referrers(
        self, reference: Reference, artifact_type: str = "", *, deadline: Deadline | None = None
    ) -> tuple[Descriptor, ...]:
        """Return the manifests that refer to the reference's digest as their subject.

        If the registry has no API for referrers, they come from the fallback tag.

        Args:
            reference: The repository and the digest.
            artifact_type: The artifact type of the referrers. Default: all types.
            deadline: The deadline for all requests. Default: ``timeout`` for each host.

        Raises:
            InvalidArgument: ``reference`` has no digest.
        """
        self._check(reference)
        with naming(f"list referrers of {reference}"):
            return package.find_referrers(
                self._hosts, reference, artifact_type, self._deadline_maker(deadline)
            )

    def delete(
        self,
        reference: Reference,
        descriptor: Descriptor | None = None,
        *,
        deadline: Deadline | None = None,
    ) -> None:
        """Delete a manifest, a tag or a blob.

        If the registry has no API for referrers, a deleted referrer is also removed from its
        subject's fallback tag.

        Args:
            reference: The repository, and the manifest or tag to delete. A reference with tag and
                digest means the digest.
            descriptor: The blob to delete. Default: the manifest or tag of ``reference``.
            deadline: The deadline for all requests. Default: ``timeout`` for all of them.

        Raises:
            RegistryNotFound: The repository has no such content.
            RegistryError: With status 405, the registry does not allow deletion.
        """
        self._check(reference)
        session, common_deadline = self._hosts.sessions_with(PUSH)[0], self._deadline(deadline)
        with naming(f"delete {descriptor.digest if descriptor else reference.target}"):
            if descriptor is None:
                package.delete_manifest(session, reference, common_deadline)
            else:
                package.delete_content(
                    session, reference.repository, "blobs", descriptor.digest, common_deadline
                )

    def _check(self, reference: Reference) -> None:
        """Raise InvalidArgument if ``reference`` is on another registry."""
        if reference.host != self._namespace:
            raise InvalidArgument(f"{reference} is not on the registry {self._namespace}")

    def _retries(
        self, blob: Descriptor, deadline: Deadline | None, refusals: int = MAX_FAILURES
    ) -> TransferRetries:
        """Return the object that decides whether the transfer of a blob continues."""
        return TransferRetries(
            self._sleep,
            self._report,
            blob.digest,
            self._deadline_maker(deadline),
            refusals=refusals,
        )

    def _deadline(self, deadline: Deadline | None) -> Deadline:
        """Return ``deadline``, or else one that begins now."""
        return deadline or Deadline(self._timeout)

    def _deadline_maker(self, deadline: Deadline | None) -> Callable[[], Deadline]:
        """Return a function that returns the deadline of a request that begins now."""
        return lambda: self._deadline(deadline)

    def _report(self, event: ProgressEvent) -> None:
        if self._progress is not None:
            self._progress(event)


def _credential_source(
    host: str, credentials: Credentials | CredentialSource | None
) -> CredentialSource | None:
    """Return a source of credentials. Mirrors do not get the credentials of the registry."""
    if isinstance(credentials, Credentials):
        own_credentials = credentials
        return lambda account: own_credentials if account == host else None
    return credentials


@record(frozen=True)
class _Settings:
    """The settings that the sessions with a registry and its mirrors share."""

    bounds: Bounds
    user_agent: str
    network: Destinations
    bandwidth: BandwidthLimit
    proxies: Proxies
    source: CredentialSource | None
    realm_hosts: tuple[str, ...]
    sleep: Callable[[float], object]
    report: Report
    warnings: list[str]

    def session(self, host: Host, tries: int) -> Session:
        """Return a session with ``host`` that tries each request up to ``tries`` times."""
        transport = Transport(
            tls_host=host.base.host,
            bounds=replace(self.bounds, connect=host.dial_timeout or self.bounds.connect),
            user_agent=self.user_agent,
            network=self.network,
            tls=host.tls,
            bandwidth=self.bandwidth,
            proxies=self.proxies,
        )
        return Session(
            host,
            transport,
            Authenticator(host, transport, self.source, self.realm_hosts),
            sleep=self.sleep,
            report=self.report,
            warnings=self.warnings,
            tries=tries,
        )

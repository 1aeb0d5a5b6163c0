"""A registry client that resolves, fetches, uploads, lists and deletes content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import limits
from .. import registry as package
from ..arguments import check_instance, check_types
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
from .host_cache import CachedHost, HostCache
from .hosts import PUSH, Host, TlsFiles
from .hosts_file import HOSTS_DIRS, StrPath, find_hosts
from .http import Bounds, Connections, Transport, socket_time
from .http_errors import naming
from .openers import Content, opener
from .pace import BandwidthLimit, TransferRate
from .parts import PartsReader
from .proxies import Proxies
from .realms import parse_realm_hosts
from .session import (
    MAX_FAILURES,
    MAX_TRIES,
    ApiRequest,
    Report,
    Session,
    TransferRetries,
    push_scope,
)
from .tls_contexts import ProxyContexts, file_versions

if TYPE_CHECKING:
    from ..trust.policy import Policy
    from ..trust.verdict import Verdict

#: The default of ``least_rate``, in bytes per second. Every usable network is faster.
LEAST_RATE = 100.0


class Registry:
    """A client of one registry and its mirrors.

    It is thread-safe. A forked child can use a ``Registry`` only if the parent did not use it
    before the fork. A new ``Registry`` sends no request before a method is called. As a context
    manager, a ``Registry`` closes its idle connections at the end of the block.

    All methods can raise RegistryNotFound, RegistryUnauthorized and RegistryUnavailable. For any
    other failure of a registry, methods raise RegistryError. For a reference to a different
    registry, methods raise InvalidArgument. A ``deadline`` limits a whole method call.
    Without a ``deadline``, ``timeout`` limits each request, unless the method's documentation
    differs.

    Args:
        host: The registry's name as it appears in references (``docker.io``,
            ``127.0.0.1:5000``).
        credentials: The registry's credentials, or a function that returns the credentials for a
            host, such as ``credentials.default_credentials``. The function is called only when a
            host requires credentials. Default: anonymous access.
        plain_http: Whether to use HTTP without TLS. A scheme in ``hosts.toml`` overrides this
            argument. Default: true for a loopback address, unless the registry has TLS
            files or the port 443.
        hosts_dirs: Folders in which to look for the registry's ``hosts.toml`` or for Docker's
            certificate files.
        tls: TLS files for the registry itself, in addition to the files found in ``hosts_dirs``.
        proxy: The URL of the proxy for all requests except those to loopback addresses. ``""``
            means no proxy. Default: the proxy that the environment variables name.
        proxy_ca: Files with the certificates of authorities (PEM) that an https proxy may use, in
            addition to the system's authorities. The client always verifies the proxy's
            certificate. No setting in ``tls`` or in ``hosts.toml`` applies to the proxy.
        timeout: Seconds that a request may take, including its retries, but without the transfer
            of a blob's body.
        connect_timeout: Seconds that the client waits for a connection.
        stall_timeout: Seconds after which a request fails if no byte is transferred.
        least_rate: Lowest transfer rate in bytes per second. A request fails if its average rate
            over ``stall_timeout`` seconds is below ``least_rate``. A blob's transfer fails, too, if
            its connections break and its average rate over all connections is below ``least_rate``.
        max_rate: Largest number of bytes per second that this client sends and receives in total.
            Default: no limit.
        realm_hosts: Host names of further token servers to which the client is allowed to send
            the credentials. Without this argument, only a token server on the registry's own host
            gets the credentials, and the published token servers of Docker Hub and GitLab.com.
        user_agent: The ``User-Agent`` header of all requests.
        progress: A function that is called with an event before each retry.
        cache: Where the connections and tokens stay for later clients of the same host. Default:
            this client closes its connections itself.
        network: Finds out how private a host's addresses are. Tests replace it.
        sleep: A function that waits for a number of seconds. Tests replace it.

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
        proxy_ca: Iterable[StrPath] = (),
        timeout: float = 60.0,
        connect_timeout: float = 10.0,
        stall_timeout: float = 30.0,
        least_rate: float = LEAST_RATE,
        max_rate: float | None = None,
        realm_hosts: Iterable[str] = (),
        user_agent: str = USER_AGENT,
        progress: ProgressCallback | None = None,
        cache: HostCache | None = None,
        network: Destinations | None = None,
        sleep: Callable[[float], object] = pause,
    ) -> None:
        check_types(locals())  # the arguments
        self._namespace = host
        self._timeout = limits.seconds("timeout", timeout)
        self._sleep, self._progress = sleep, progress
        self._warnings: list[str] = []
        if tls is not None and plain_http is None:
            plain_http = False
        *mirrors, own = find_hosts(host, hosts_dirs, plain_http)
        if tls is not None:
            own = replace(own, tls=own.tls.joined(tls))
        self._bounds = Bounds(
            socket_time("connect_timeout", connect_timeout),
            socket_time("stall_timeout", stall_timeout),
            limits.rate("least_rate", least_rate, least=0) or 0.0,
        )
        settings = _Settings(
            self._bounds,
            user_agent,
            network or Destinations(),
            bandwidth=BandwidthLimit(max_rate, sleep=sleep),
            proxies=Proxies(proxy),
            source=_credential_source(host, credentials),
            sleep=sleep,
            report=self._report,
            warnings=self._warnings,
        )
        self._cache = cache
        self._cached: list[CachedHost] = []
        realm_names, proxy_files = parse_realm_hosts(realm_hosts), tuple(map(Path, proxy_ca))
        sessions = []
        for found in (*mirrors, own):
            trusting = replace(found, realm_hosts=found.realm_hosts | realm_names)
            cached = _cached_host(self._cache, trusting, proxy_files)
            self._cached.append(cached)
            # A request to a mirror is tried only once, because another host follows the mirror.
            tries = MAX_TRIES if found is own else 1
            sessions.append(settings.session(trusting, cached, tries))
        self._hosts = Failover(host, sessions)

    @property
    def host(self) -> str:
        """The registry's name as it appears in references (``docker.io``)."""
        return self._namespace

    @property
    def has_mirrors(self) -> bool:
        """Whether ``hosts.toml`` names further hosts for the registry's content."""
        return self._hosts.has_mirrors

    @property
    def warnings(self) -> tuple[str, ...]:
        """The registry's warnings for users, without duplicates (distribution-spec, Warnings)."""
        return tuple(self._warnings)

    def __repr__(self) -> str:
        return f"<Registry {self._hosts.own.host.base.origin}>"

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        # A failure can have its cause in what is cached, such as a token that the registry issued
        # before it granted the user access.
        self._release(keep=kind is None)

    def close(self) -> None:
        """Close the idle connections, or leave them to the cache.

        Readers that are still open remain usable. If this object is used again, it does not use the
        cache.
        """
        self._release(keep=True)

    def _release(self, *, keep: bool) -> None:
        # Without a reference to the cache, garbage with this object does not keep the cache alive.
        cache, self._cache = self._cache, None
        for cached in self._cached:
            if cache is None:
                cached.connections.close()
            else:
                cache.release(cached, keep=keep)

    def check_credentials(self, *, deadline: Deadline | None = None) -> None:
        """Check that the registry itself, not a mirror, accepts the credentials.

        A registry that serves everyone accepts all credentials.

        Raises:
            RegistryUnauthorized: The registry or its token server refuses the credentials.
            RegistryNotFound: The host has no registry.
            InvalidArgument: ``hosts.toml`` sends all requests to another host, which has
                credentials of its own.
        """
        session = self._hosts.own
        if session.host.is_mirror:
            account = session.host.account
            raise InvalidArgument(
                f"hosts.toml sends the requests for {self._namespace} to {account}",
                remedy=f"Log in to {account}",
            )
        request = ApiRequest("GET", "", "its API")
        with naming(f"log in to {self._namespace}"):
            session.send(request, self._deadline(deadline), lambda response: response.snippet(0))

    def resolve(self, reference: Reference, *, deadline: Deadline | None = None) -> Descriptor:
        """Return the descriptor of the manifest or index that ``reference`` names.

        The descriptor comes from the response to a HEAD request. If this response lacks the
        digest, the size or the media type, the client fetches the document, checks it and computes
        its digest.

        Raises:
            RegistryNotFound: The registry has no such manifest or index.
            DigestMismatch: The registry states a digest that is not the reference's digest, or that
                does not match the content.
        """
        self._check(reference, deadline=deadline)
        with naming(f"resolve {reference}"):
            return fetch.resolve(self._hosts, reference, self._deadline_maker(deadline))

    def fetch_manifest(
        self, reference: Reference, descriptor: Descriptor, *, deadline: Deadline | None = None
    ) -> bytes:
        """Fetch, verify and return a manifest or index from the reference's repository.

        For a manifest of Docker's schema 1, the returned bytes include the signatures. The digest
        does not cover the signatures, and their length can differ from request to request.

        Raises:
            RegistryNotFound: The repository has no such manifest or index.
            RegistryError: The document is larger than 4 MiB or is invalid.
            DigestMismatch: The content does not match the digest.
            SizeMismatch: The content does not match the size.
        """
        self._check(reference, descriptor, deadline=deadline)
        with naming(f"fetch {descriptor.digest} of {reference.name}"):
            return fetch.fetch_manifest(
                self._hosts, reference, descriptor, self._deadline_maker(deadline)
            )

    def blob_size(
        self, reference: Reference, descriptor: Descriptor, *, deadline: Deadline | None = None
    ) -> int:
        """Return the size of a blob in bytes, as the registry states it.

        The size in the descriptor is ignored.

        Raises:
            RegistryNotFound: The repository has no such blob.
            RegistryError: The registry does not state the size.
            DigestMismatch: The registry's response states the digest of another blob.
        """
        self._check(reference, descriptor, deadline=deadline)
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
        """Return a stream of the content of ``descriptor``, from ``offset`` to the end.

        After a broken connection or a stall, the stream sends a new request for the rest of the
        content. The client fetches a foreign layer from the URLs in ``descriptor`` and, if this
        fails, from the registry. The client fetches all other content from the registry. If the
        registry does not have the content, the client uses the URLs in ``descriptor``.

        Args:
            reference: The repository.
            descriptor: A blob, manifest or index.
            offset: The offset in bytes of the first byte to read.
            verify: Whether the stream verifies the digest. Only a stream from offset 0 can verify
                the digest. Pass false if the store verifies the digest. The size is always checked.
            connections: The largest number of parallel connections. If ``offset`` is 0, 2 or more
                connections fetch a large blob in parts of 4 MiB.
            deadline: The deadline for all requests and for the reading. Default: ``timeout``
                limits each request; only ``stall_timeout`` and ``least_rate`` limit the reading.

        Raises:
            RegistryNotFound: The repository has no such content.
            OutOfRange: ``offset`` is negative or beyond the end.
            SizeMismatch: The registry announces a size that is not the descriptor's.
            InvalidArgument: ``descriptor`` is a manifest of Docker's schema 1; use
                ``fetch_manifest``.
        """
        connections = limits.parallel("connections", connections)
        self._check(reference, descriptor, deadline=deadline)
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
            retries=lambda start: self._retries(descriptor, deadline, start=start),
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
        mount_first: bool = False,
        deadline: Deadline | None = None,
        progress: ProgressCallback | None = None,
    ) -> package.Outcome:
        """Upload a blob to the repository of ``reference``, unless the blob exists there.

        After a broken connection, the client asks the registry for the number of received bytes,
        and continues at this offset. If the upload fails, the client cancels the upload.

        Args:
            reference: The repository.
            descriptor: The blob.
            content: The blob's bytes, the path of a file, or a function. The function gets an
                offset in bytes, and returns a binary file whose first byte is at this offset.
            mount_from: Other repositories of the same registry. If one of these repositories has
                the blob, the registry can mount the blob from this repository.
            chunk_size: Bytes of the content in each PATCH request. If the registry requires larger
                chunks, the registry's minimum is used. Default: one PUT request carries the whole
                content.
            single_post: Whether the POST request that starts the upload also carries the content.
                If the registry does not support this, a later request carries the content.
            ask: Whether the client checks, with a HEAD request, if the blob exists.
            mount_first: Whether the client asks for a mount before this check. If the mount
                succeeds, the check is not necessary, and a blob that existed counts as mounted.
            deadline: The deadline for the whole upload. Default: ``timeout`` limits each request
                without content, and requests with content have no deadline.
            progress: A function that is called with ``uploading`` events, and at the end with an
                event for the outcome.

        Returns:
            The outcome: the blob existed, was mounted or was uploaded.

        Raises:
            SizeMismatch: The content does not have the descriptor's size.
            DigestMismatch: The content does not match the descriptor's digest.
            InvalidArgument: The content cannot be read.
        """
        self._check(reference, descriptor, deadline=deadline)
        upload = package.Upload(
            self._hosts.sessions_with(PUSH)[0],
            reference,
            descriptor,
            opener(content),
            deadline=deadline,
            timeout=self._timeout,
            retries=self._retries(descriptor, deadline, max_refusals=MAX_TRIES),
            report=progress or (lambda event: None),
        )
        with naming(f"upload {descriptor.digest} to {reference.name}"):
            return upload.run(mount_from, chunk_size, single_post, ask=ask, mount_first=mount_first)

    def head_manifest(
        self, reference: Reference, *, deadline: Deadline | None = None
    ) -> Descriptor | None:
        """Return the descriptor of a manifest or index, as the registry itself states it.

        This method sends one HEAD request to the host that accepts pushes, and asks no mirror.

        Returns:
            The descriptor, or ``None`` if the response lacks the digest, the size or the type.

        Raises:
            RegistryNotFound: The registry has no such manifest or index.
        """
        self._check(reference, deadline=deadline)
        with naming(f"find {reference}"):
            session = self._hosts.sessions_with(PUSH)[0]
            scope = push_scope(reference.repository)
            return fetch.head_manifest(session, reference, scope, self._deadline(deadline))

    def push_manifest(
        self,
        reference: Reference,
        content: bytes,
        media_type: str = "",
        *,
        deadline: Deadline | None = None,
    ) -> Descriptor:
        """Push a manifest or index.

        If the reference has a tag, the document is pushed under this tag. Otherwise, it is pushed
        under the document's digest.

        If the manifest or index has a subject and the registry has no referrers API, the client
        also updates the subject's fallback tag (distribution-spec, Pushing Manifests with Subject).

        Args:
            reference: The repository, and the tag or digest.
            content: The manifest or index.
            media_type: The media type of ``content``. Default: the media type in the document.
            deadline: The deadline for all requests together. Default: ``timeout`` seconds from now.

        Returns:
            The descriptor of the manifest or index.

        Raises:
            InvalidArgument: ``content`` is not a manifest or index.
            DigestMismatch: The reference or the registry states a digest that is not the content's.
        """
        self._check(reference, deadline=deadline)
        check_instance("content", content, bytes, "the manifest or index as bytes")
        with naming(f"push {reference}"):
            session = self._hosts.sessions_with(PUSH)[0]
            return package.push_manifest(
                session, reference, content, media_type, self._deadline(deadline)
            )

    def tags(self, reference: Reference, *, deadline: Deadline | None = None) -> Iterator[str]:
        """Yield the tags of a repository. Each page of the list is requested when it is needed."""
        self._check(reference, deadline=deadline)
        return package.list_tags(self._hosts, reference, self._deadline_maker(deadline))

    def catalog(self, *, deadline: Deadline | None = None) -> Iterator[str]:
        """Yield the names of all repositories, if the registry has distribution's ``_catalog``."""
        check_types({"deadline": deadline})
        return package.list_catalog(self._hosts, self._deadline_maker(deadline))

    def referrers(
        self, reference: Reference, artifact_type: str = "", *, deadline: Deadline | None = None
    ) -> tuple[Descriptor, ...]:
        """Return the descriptors of all manifests whose subject has the reference's digest.

        If the registry has no referrers API, the descriptors come from the fallback tag.

        Args:
            reference: The repository and the digest.
            artifact_type: The artifact type of the referrers. Default: all types.
            deadline: The deadline for all requests. Default: ``timeout`` seconds for each host.

        Raises:
            InvalidArgument: ``reference`` has no digest.
        """
        self._check(reference, deadline=deadline)
        with naming(f"list referrers of {reference}"):
            return package.find_referrers(
                self._hosts, reference, artifact_type, self._deadline_maker(deadline)
            )

    def verify_signatures(self, reference: Reference, policy: Policy) -> Verdict:
        """Verify the signatures of an image, without fetching the image.

        Args:
            reference: The image.
            policy: The policy that the image must meet.

        Returns:
            What was verified, by whose signatures, and by which rule.

        Raises:
            Unsigned: The image has no signature.
            Untrusted: The signatures do not meet the policy. ``rejected`` says why.
            SignatureError: No rule of the policy applies to the image, or a rule rejects it.
            SignaturesUnavailable: The registry failed, so it is unknown whether there are
                signatures.
        """
        self._check(reference)
        return package.verify_reference(self, reference, policy)

    def delete(
        self,
        reference: Reference,
        descriptor: Descriptor | None = None,
        *,
        deadline: Deadline | None = None,
    ) -> None:
        """Delete a manifest, a tag or a blob.

        If the deleted manifest is a referrer and the registry has no referrers API, the client
        also removes the referrer from its subject's fallback tag.

        Args:
            reference: The repository, and the manifest or tag to delete. If the reference has both
                a tag and a digest, the client deletes the manifest with this digest.
            descriptor: The blob to delete. Default: the manifest or tag of ``reference`` is deleted
                instead.
            deadline: The deadline for all requests together. Default: ``timeout`` seconds from now.

        Raises:
            RegistryNotFound: The repository has no such content.
            RegistryError: The registry does not allow deletion. The error's ``status`` is then 405.
        """
        self._check(reference, *([] if descriptor is None else [descriptor]), deadline=deadline)
        session, common_deadline = self._hosts.sessions_with(PUSH)[0], self._deadline(deadline)
        with naming(f"delete {descriptor.digest if descriptor else reference.target}"):
            if descriptor is None:
                package.delete_manifest(session, reference, common_deadline)
            else:
                package.delete_content(
                    session, reference.repository, "blobs", descriptor.digest, common_deadline
                )

    def _check(
        self, reference: Reference, *descriptors: Descriptor, deadline: Deadline | None = None
    ) -> None:
        """Check arguments. Raise InvalidArgument if ``reference`` names a different registry."""
        check_instance("reference", reference, Reference, "a Reference, as Reference.parse returns")
        for descriptor in descriptors:
            check_instance("descriptor", descriptor, Descriptor, "a Descriptor, as resolve returns")
        check_types({"deadline": deadline})
        if reference.host != self._namespace:
            raise InvalidArgument(f"{reference} is not on the registry {self._namespace}")

    def _retries(
        self,
        blob: Descriptor,
        deadline: Deadline | None,
        *,
        start: int = 0,
        max_refusals: int = MAX_FAILURES,
    ) -> TransferRetries:
        """Return the object that decides whether a blob's transfer continues after a failure.

        ``start`` is the offset at which the transfer begins.
        """
        bounds = self._bounds
        return TransferRetries(
            self._sleep,
            self._report,
            blob.digest,
            self._deadline_maker(deadline),
            max_refusals=max_refusals,
            rate=TransferRate(bounds.least_rate, bounds.stall, start),
        )

    def _deadline(self, deadline: Deadline | None) -> Deadline:
        """Return ``deadline`` or, if it is ``None``, a deadline ``timeout`` seconds from now."""
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
    """Return a credential source. ``Credentials`` are for the registry, not for its mirrors."""
    if isinstance(credentials, Credentials):
        own_credentials = credentials
        return lambda account: own_credentials if account == host else None
    return credentials


def _cached_host(cache: HostCache | None, host: Host, proxy_ca: tuple[Path, ...]) -> CachedHost:
    """Return the cache's entry for a host. ``proxy_ca`` are the authorities of an https proxy."""

    def make() -> CachedHost:
        return CachedHost(Connections(host.base.origin, host.tls, ProxyContexts(proxy_ca)))

    if cache is None:
        return make()
    return cache.host((host, proxy_ca, file_versions(host.tls, proxy_ca)), make)


@record(frozen=True)
class _Settings:
    """The settings that all sessions of one client share."""

    bounds: Bounds
    user_agent: str
    network: Destinations
    bandwidth: BandwidthLimit
    proxies: Proxies
    source: CredentialSource | None
    sleep: Callable[[float], object]
    report: Report
    warnings: list[str]

    def session(self, host: Host, cached: CachedHost, tries: int) -> Session:
        """Return a session with ``host`` that tries each request up to ``tries`` times."""
        transport = Transport(
            cached.connections,
            bounds=replace(self.bounds, connect=host.dial_timeout or self.bounds.connect),
            user_agent=self.user_agent,
            network=self.network,
            bandwidth=self.bandwidth,
            proxies=self.proxies,
        )
        return Session(
            host,
            transport,
            Authenticator(host, transport, cached, self.source),
            sleep=self.sleep,
            report=self.report,
            warnings=self.warnings,
            tries=tries,
        )

"""The client of one registry: resolve, fetch, upload, list, delete.

What lives here: the facade and what its parts share.  What may not: containerd, stores, choosing
what to fetch or push.
"""

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
from .pace import Pace
from .parts import PartsReader
from .proxies import Proxies
from .session import MAX_TRIES, MOST_CUTS, Cuts, Report, Session

#: Where containerd's and Docker's administrators put what they say of registries.
HOSTS_DIRS = ("/etc/containerd/certs.d", "/etc/docker/certs.d")

#: Bytes per second below which a peer is given up: less than any line that is in use gives.
LEAST_RATE = 100.0

StrPath = str | os.PathLike[str]


class Registry:
    """One registry and its mirrors; thread-safe, usable after ``fork`` only if not used before.

    Nothing is sent before a method is called.  ``close()`` (or ``with``) closes the idle
    connections.  Methods raise RegistryNotFound, RegistryUnauthorized, RegistryUnavailable, and
    RegistryError for all else that a registry can do wrong; they take a ``deadline`` for the
    whole of the operation, in whose place ``timeout`` bounds each request up to its body.
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
        """``host`` is as references name it (``docker.io``, ``127.0.0.1:5000``).

        ``credentials`` are the pair for it, or a function that finds one by host, asked only
        when needed (``credentials.default_credentials``); ``None`` is anonymous.
        ``plain_http=None`` uses it for loopback only.  ``hosts_dirs`` are searched for its
        ``hosts.toml`` or Docker's certificates; ``tls`` adds files for the registry itself.
        ``proxy`` is a URL, ``""`` for none, ``None`` for what the environment says.

        In seconds: ``timeout`` bounds a request with its tries up to the body,
        ``stall_timeout`` any wait for a byte.  In bytes per second: ``least_rate`` is what a
        peer must give over the stall time-out, ``max_rate`` what this client takes and gives.
        ``realm_hosts`` are further hosts that may be told the credentials.  ``progress`` is told
        of tries that are repeated.  ``network`` and ``sleep`` are there for tests.  Raises
        InvalidArgument for a host that cannot be and for files that cannot be used.
        """
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
        wiring = _Wiring(
            Bounds(connect_timeout, stall_timeout, least_rate),
            user_agent,
            network or Destinations(),
            pace=Pace(max_rate, sleep=sleep),
            proxies=Proxies(proxy),
            source=_source(host, credentials),
            realm_hosts=tuple(realm_hosts),
            sleep=sleep,
            report=self._report,
            warnings=self._warnings,
        )
        # A mirror that fails has another host behind it.
        sessions = [wiring.session(mirror, 1) for mirror in mirrors]
        self._hosts = Failover(host, [*sessions, wiring.session(own, MAX_TRIES)])

    @property
    def host(self) -> str:
        """The host as references name it."""
        return self._namespace

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the registry wants users to read, each once (distribution-spec, Warnings)."""
        return tuple(self._warnings)

    def __repr__(self) -> str:
        return f"<Registry {self._hosts.own.host.base.origin}>"

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the idle connections; open readers go on until they are closed."""
        self._hosts.close()

    def resolve(self, reference: Reference, *, deadline: Deadline | None = None) -> Descriptor:
        """The descriptor of the manifest or index that ``reference`` names.

        Asks by HEAD; where the answer does not tell digest, size and type, gets the document,
        checks and hashes it.  Raises DigestMismatch where the registry contradicts the
        reference or itself.
        """
        self._check(reference)
        with naming(f"resolve {reference}"):
            return fetch.resolve(self._hosts, reference, self._each(deadline))

    def fetch_manifest(
        self, reference: Reference, descriptor: Descriptor, *, deadline: Deadline | None = None
    ) -> bytes:
        """The manifest or index of ``descriptor`` in ``reference``'s repository, verified.

        At most 4 MiB.  One of Docker's schema 1 comes with its signatures, which the digest is
        not of, and of whatever length these are this time.  Raises DigestMismatch and
        SizeMismatch.
        """
        self._check(reference)
        with naming(f"fetch {descriptor.digest} of {reference.name}"):
            return fetch.fetch_manifest(self._hosts, reference, descriptor, self._each(deadline))

    def blob_size(
        self, reference: Reference, descriptor: Descriptor, *, deadline: Deadline | None = None
    ) -> int:
        """The size of a blob in bytes as the registry tells it, whatever the descriptor says.

        Raises RegistryError where it does not tell, DigestMismatch where it names another blob.
        """
        self._check(reference)
        with naming(f"find the size of {descriptor.digest} of {reference.name}"):
            return fetch.size_of(self._hosts, reference, descriptor, self._each(deadline))

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
        """The content of ``descriptor`` in ``reference``'s repository as a stream from ``offset``.

        Manifests are asked for at their own place.  A cut or a stall is survived by asking for
        the rest; layers that the registry need not hold are sought at their URLs.  From offset
        0 the reader verifies digest and size, unless ``verify`` is false because the store
        does; size is always kept to.  With several ``connections`` a big blob comes in parts of
        4 MiB side by side.  ``deadline`` bounds the reading too; without one it is bounded by
        stalls only.  Raises OutOfRange for an offset beyond the end; SizeMismatch if the
        registry announces another size; InvalidArgument for a manifest of schema 1, which is
        ``fetch_manifest``'s.
        """
        self._check(reference)
        if media_types.is_schema1(descriptor.media_type):
            raise InvalidArgument(
                f"{descriptor.digest} is of Docker's schema 1: its size and digest say nothing of "
                "its bytes",
                remedy="Use fetch_manifest",
            )
        source = fetch.BlobSource(
            self._hosts,
            reference,
            descriptor,
            cuts=lambda: self._cuts(descriptor, deadline),
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
        """Brings a blob into ``reference``'s repository, unless it is there.

        ``content`` is the bytes, a path, or a function that opens them as a binary file at an
        offset in bytes.  ``mount_from`` are repositories of the same registry that may have
        it; without ``ask`` it is not looked for first.  The whole goes in one PUT, or in PATCHes
        of ``chunk_size`` bytes (at least what the registry asks for); with ``single_post`` in the
        POST itself, where the registry knows that.  A cut is survived by asking how much has
        come.  An upload that fails is deleted.  Raises SizeMismatch and DigestMismatch for
        content that is not the descriptor's.
        """
        self._check(reference)
        task = package.Upload(
            self._hosts.able(PUSH)[0],
            reference,
            descriptor,
            opener(content),
            deadline=deadline,
            timeout=self._timeout,
            cuts=self._cuts(descriptor, deadline, MAX_TRIES),
            report=progress or (lambda event: None),
        )
        with naming(f"upload {descriptor.digest} to {reference.name}"):
            return task.run(mount_from, chunk_size, single_post, ask)

    def push_manifest(
        self,
        reference: Reference,
        content: bytes,
        media_type: str = "",
        *,
        deadline: Deadline | None = None,
    ) -> Descriptor:
        """Puts a manifest or index under ``reference``'s tag, or its digest.

        ``media_type`` is what the document says unless given.  Where it has a subject and the
        registry does not answer that it keeps referrers, the fallback tag is brought up to
        date (distribution-spec, Pushing Manifests with Subject).  Raises InvalidArgument for a
        document that is none, DigestMismatch where the reference or the registry names another.
        """
        self._check(reference)
        with naming(f"push {reference}"):
            session = self._hosts.able(PUSH)[0]
            return package.push_manifest(
                session, reference, content, media_type, self._until(deadline)
            )

    def tags(self, reference: Reference, *, deadline: Deadline | None = None) -> Iterator[str]:
        """The tags of ``reference``'s repository, page by page as they are asked for."""
        self._check(reference)
        return package.list_tags(self._hosts, reference, self._each(deadline))

    def catalog(self, *, deadline: Deadline | None = None) -> Iterator[str]:
        """The repositories of the registry, where it tells (distribution's ``_catalog``)."""
        return package.list_catalog(self._hosts, self._each(deadline))

    def referrers(
        self, reference: Reference, artifact_type: str = "", *, deadline: Deadline | None = None
    ) -> tuple[Descriptor, ...]:
        """The manifests whose subject is ``reference``'s digest, of one artifact type or of all.

        Falls back to the tag that stands for them where the registry has no such API.  Raises
        InvalidArgument for a reference without a digest.
        """
        self._check(reference)
        with naming(f"list referrers of {reference}"):
            return package.find_referrers(
                self._hosts, reference, artifact_type, self._each(deadline)
            )

    def delete(
        self,
        reference: Reference,
        descriptor: Descriptor | None = None,
        *,
        deadline: Deadline | None = None,
    ) -> None:
        """Deletes the manifest or the tag that ``reference`` names, or the ``descriptor``'s blob.

        A tag with a digest means the digest.  A referrer is taken out of the fallback tag of its
        subject where the registry keeps no list of them.  Raises RegistryError with status 405
        where the registry does not allow it.
        """
        self._check(reference)
        session, until = self._hosts.able(PUSH)[0], self._until(deadline)
        with naming(f"delete {descriptor.digest if descriptor else reference.target}"):
            if descriptor is None:
                package.delete_manifest(session, reference, until)
            else:
                package.delete_content(
                    session, reference.repository, "blobs", descriptor.digest, until
                )

    def _check(self, reference: Reference) -> None:
        if reference.host != self._namespace:
            raise InvalidArgument(f"{reference} is not on the registry {self._namespace}")

    def _cuts(self, blob: Descriptor, deadline: Deadline | None, refusals: int = MOST_CUTS) -> Cuts:
        return Cuts(self._sleep, self._report, blob.digest, self._each(deadline), refusals=refusals)

    def _until(self, deadline: Deadline | None) -> Deadline:
        return deadline or Deadline(self._timeout)

    def _each(self, deadline: Deadline | None) -> Callable[[], Deadline]:
        """The deadline of each page of a list, or of each try."""
        return lambda: self._until(deadline)

    def _report(self, event: ProgressEvent) -> None:
        if self._progress is not None:
            self._progress(event)


def _source(host: str, given: Credentials | CredentialSource | None) -> CredentialSource | None:
    """Credentials that were given are the registry's own: no mirror is told them."""
    if isinstance(given, Credentials):
        pair = given
        return lambda account: pair if account == host else None
    return given


@record(frozen=True)
class _Wiring:
    """What the sessions with a registry and its mirrors have in common."""

    bounds: Bounds
    user_agent: str
    network: Destinations
    pace: Pace
    proxies: Proxies
    source: CredentialSource | None
    realm_hosts: tuple[str, ...]
    sleep: Callable[[float], object]
    report: Report
    warnings: list[str]

    def session(self, host: Host, tries: int) -> Session:
        transport = Transport(
            home=host.base.host,
            bounds=replace(self.bounds, connect=host.dial_timeout or self.bounds.connect),
            user_agent=self.user_agent,
            network=self.network,
            tls=host.tls,
            pace=self.pace,
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

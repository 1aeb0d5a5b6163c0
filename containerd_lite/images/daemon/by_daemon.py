"""Images moved by the daemon itself, through its Transfer service (containerd 1.7 and later).

What lives here: pull, push, import and export as transfers, our credentials for them, and what
their failures are called.  What may not: content; how a transfer is watched, which is
``transfer_run``'s; the choice between this and our own pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import BinaryIO

from ...errors import ContainerdError, InvalidArgument
from ...oci.platform import Platform
from ...oci.reference import Reference
from ...progress import Stage
from ...registry.credentials import CredentialSource, default_credentials
from ...services.access import Services
from ...services.streaming import StreamingService
from ...services.transfer import Transferable, TransferService
from ...services.transfer_types import (
    ImageExportStream,
    ImageImportStream,
    ImageReference,
    ImageStore,
    OCIRegistry,
    TransferResolver,
    UnpackConfiguration,
)
from ...services.version import VersionService
from ..job import Job
from ..platforms import Platforms
from .transfer_registry import Answers, explained, unpack_failure
from .transfer_run import LEAST_RATE, Account, Patience, Run

STALL_TIMEOUT = 60.0
#: How long the daemon may take to tell its version (seconds).
_QUICK = 5.0


def can_transfer(services: Services) -> bool:
    """Whether the daemon moves images itself, by its own account; asked each time, for it may
    have been replaced by another."""
    return services.capabilities().transfer


class DaemonTransfers:
    """Pull, push, import and export by the daemon.

    Belongs within a lease (``Client.lease``): a failed transfer leaves what it wrote to the
    lease, and streams of which the daemon was told end with it.  The daemon gives the names: a
    transfer that is stopped behind that, as by a callback that raises, leaves its image, whole.

    There is no deadline.  A transfer that has not resolved its image, or has bytes to fetch or to
    send, must move ``LEAST_RATE`` bytes per second over each ``stall_timeout`` (seconds), or end
    with one of its objects; else it fails with ``RegistryUnavailable``.  Of unpacking and the like
    daemons tell nothing: it may take ten times as long.  Each time that ``stall_timeout`` passes
    without a sign the daemon is asked for its version, and one that does not answer fails the
    transfer with ``DeadlineExceeded``.
    """

    def __init__(
        self,
        transfer: TransferService,
        streaming: StreamingService,
        version: VersionService,
        *,
        stall_timeout: float = STALL_TIMEOUT,
    ) -> None:
        self._transfer = transfer
        self._streaming = streaming
        self._version = version
        self._stall = stall_timeout

    @classmethod
    def of(cls, services: Services, *, stall_timeout: float = STALL_TIMEOUT) -> DaemonTransfers:
        """Those of a client's daemon and namespace."""
        return cls(
            services.transfer_service,
            services.streaming_service,
            services.version_service,
            stall_timeout=stall_timeout,
        )

    def pull(
        self,
        ref: str,
        *,
        platforms: Platforms,
        unpack: Platform | None = None,
        snapshotter: str = "",
        all_metadata: bool = False,
        labels: Mapping[str, str] | None = None,
        credentials: CredentialSource | None = None,
        plain_http: bool | None = None,
        hosts_dir: str = "",
        job: Job | None = None,
    ) -> None:
        """From a registry into the image store, under the full form of ``ref``.

        ``all_metadata`` keeps manifests and configs of other platforms, too.  ``unpack`` is the
        platform whose layers are to be unpacked, by the daemon's usual ``snapshotter`` unless
        one is named.  ``credentials`` are the user's own unless given, and looked up for each
        host that the daemon asks for.  ``plain_http`` ``None`` leaves it to the daemon (http for
        loopback hosts); ``hosts_dir`` is a folder on the daemon's machine, at which daemons
        before 2.0 do not look.

        Raises ``Unimplemented`` where the daemon cannot: before 1.7, without TLS before 2.0, and
        where its transfer service has no unpack configuration for a platform and snapshotter;
        ``RegistryNotFound``, ``RegistryUnauthorized``, ``RegistryUnavailable``,
        ``NoMatchingPlatform`` for an index, ``InvalidArgument``, and what else the daemon says.
        """
        reference = Reference.parse(ref)
        name = str(reference)
        store = ImageStore(
            name,
            dict(labels or {}),
            _wanted(platforms),
            all_metadata,
            # Else an image of no platform that is wanted would be pulled as an empty one.
            0 if all_metadata else len(platforms.wanted or ()),
            unpacks=_unpacks(unpack, snapshotter),
        )
        self._with_registry(
            reference,
            lambda registry: (registry, store),
            self._account(job, name, "downloaded"),
            credentials=credentials,
            plain_http=plain_http,
            hosts_dir=hosts_dir,
        )

    def push(
        self,
        ref: str,
        image: str,
        *,
        platforms: Platforms,
        credentials: CredentialSource | None = None,
        plain_http: bool | None = None,
        hosts_dir: str = "",
        job: Job | None = None,
    ) -> None:
        """The image called ``image``, by its full name, to a registry as ``ref``.

        Arguments and errors as ``pull``; ``NotFound`` for an image that is not there.
        """
        reference = Reference.parse(ref)
        store = ImageStore(image, platforms=_wanted(platforms))
        self._with_registry(
            reference,
            lambda registry: (store, registry),
            self._account(job, str(reference), "uploaded"),
            credentials=credentials,
            plain_http=plain_http,
            hosts_dir=hosts_dir,
        )

    def _with_registry(
        self,
        reference: Reference,
        ends: Callable[[OCIRegistry], tuple[Transferable, Transferable]],
        account: Account,
        credentials: CredentialSource | None,
        plain_http: bool | None,
        hosts_dir: str,
    ) -> None:
        answers = Answers(credentials or default_credentials)
        scheme = {None: "", True: "http", False: "https"}[plain_http]
        failure = None
        try:
            with self._run(account) as run:
                auth = run.open_beside(answers.give)  # while the other is opened, too
                progress = run.open()
                resolver = TransferResolver(auth.result().id, {}, hosts_dir, scheme)
                run.begin(*ends(OCIRegistry(str(reference), resolver)), progress)
                run.follow(progress)
                run.answer()
        except ContainerdError as error:
            failure = explained(error, reference, plain_http, answers)
            if failure is error:
                raise
        if failure is not None:  # here, or the daemon's own words would be its context
            raise failure
        account.job.report("done", account.name)

    def import_stream(
        self,
        source: BinaryIO,
        *,
        platforms: Platforms,
        references: Sequence[ImageReference] = (),
        unpack: Platform | None = None,
        snapshotter: str = "",
        labels: Mapping[str, str] | None = None,
        job: Job | None = None,
    ) -> list[str]:
        """The images of an archive, compressed or not, into the image store; returns their names.

        ``references`` say how to name them: by what the archive calls them, with a prefix of the
        date for those that lack a host, unless given.  Waits for ``source`` without a bound; a
        transfer that fails meanwhile is noticed behind the read.
        """
        today = datetime.now(timezone.utc).date()
        usual = ImageReference(f"import-{today}", is_prefix=True, allow_overwrite=True)
        account = self._account(job, "", "exists")
        with self._run(account) as run:
            progress = run.open_beside(run.follow)
            data = run.open()
            store = ImageStore(
                labels=dict(labels or {}),
                platforms=_wanted(platforms),
                extra_references=tuple(references) or (usual,),
                unpacks=_unpacks(unpack, snapshotter),
            )
            run.begin(ImageImportStream(data.id), store, progress.result())
            run.send(source, data)
            run.join()
            try:
                run.answer()
            except ContainerdError as error:
                if (refusal := unpack_failure(error)) is not None:
                    raise refusal from error
                raise
        for name in account.saved:
            account.job.report("done", name)
        return account.saved

    def export_stream(
        self,
        target: BinaryIO,
        images: Sequence[str],
        *,
        platforms: Platforms,
        skip_manifest_json: bool = False,
        skip_non_distributable: bool = False,
        job: Job | None = None,
    ) -> None:
        """An archive of the ``images``, by their full names, into ``target``, which stays open.

        Raises ``NotFound`` for an image, or content of it, that is not there; ``target`` then
        has the beginning.
        """
        if not images:
            raise InvalidArgument("there is no image to export")
        account = self._account(job, images[0], "exists")
        with self._run(account) as run:
            stream = run.open()  # for both, so that the daemon ends it
            destination = ImageExportStream(
                stream.id,
                platforms=_wanted(platforms),
                all_platforms=platforms.wanted is None,
                skip_compatibility_manifest=skip_manifest_json,
                skip_non_distributable=skip_non_distributable,
            )
            others = tuple(ImageReference(name) for name in images[1:])
            run.begin(ImageStore(images[0], extra_references=others), destination, stream)
            run.receive(stream, target)
            run.answer()
        for name in images:
            account.job.report("done", name)

    def _run(self, account: Account) -> Run:
        patience = Patience(self._ask, self._stall)
        return Run(self._transfer, self._streaming, account, patience)

    def _account(self, job: Job | None, name: str, complete: Stage) -> Account:
        return Account(job or Job(), name, complete, LEAST_RATE * self._stall)

    def _ask(self) -> None:
        """Raises what it is that the daemon does not answer."""
        self._version.with_options(timeout=_QUICK).version()


def _wanted(platforms: Platforms) -> tuple[Platform, ...]:
    if platforms.attestations and platforms.wanted is not None:
        raise InvalidArgument(
            "the daemon takes no attestations along",
            remedy='Ask for all platforms, or via="client"',
        )
    return platforms.wanted or ()


def _unpacks(platform: Platform | None, snapshotter: str) -> tuple[UnpackConfiguration, ...]:
    return () if platform is None else (UnpackConfiguration(platform, snapshotter),)

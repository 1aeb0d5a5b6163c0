"""Pull, push, import and export by the daemon's Transfer service (containerd 1.7 and later).

The module ``transfer_run`` runs a transfer and watches its progress.
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
from ...services.content import ContentService
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
from ...store.daemon import DaemonStore
from ...workers import result_when_done
from ..job import Job
from ..platforms import Platforms
from .pulled_content import PulledContent
from .transfer_registry import CredentialAnswers, explain_failure, registry_accounts, unpack_failure
from .transfer_run import LEAST_RATE, ProgressTracker, Run, StallLimits

#: The default of ``stall_timeout``, in seconds.
STALL_TIMEOUT = 60.0
#: Seconds that the daemon may take to answer a request for its version or for a manifest.
_ANSWER_TIMEOUT = 5.0


def can_transfer(services: Services) -> bool:
    """Return whether the daemon has the services for transfers.

    Each call asks the daemon, because the daemon may have restarted with another version.
    """
    return services.capabilities().transfer


class DaemonTransfers:
    """Lets the daemon pull, push, import and export images.

    Call the methods within a lease (``Client.lease``). A transfer adds its content and its streams
    to this lease. After a failed transfer, the daemon removes the content and the streams when the
    lease ends. At the end of a transfer, the daemon creates the name of the image. A transfer can
    be stopped after the daemon has created the name, for example because a callback raises an
    error. The argument ``saved`` says which names the caller must then restore.

    A transfer has no deadline, but it must advance. A transfer advances if an object reaches its
    next stage, or if ``LEAST_RATE`` bytes per second have moved. If a transfer does not advance for
    ``stall_timeout`` seconds, the daemon is asked for its version:

    - If the daemon does not answer, the transfer fails with ``DeadlineExceeded``.
    - If the daemon answers, but has not resolved the image or has not moved all bytes, the transfer
      fails with ``RegistryUnavailable``.
    - Otherwise the daemon does work whose progress it does not report, such as unpacking. If this
      work takes more than ten times ``stall_timeout``, the transfer fails with
      ``DeadlineExceeded``.

    Args:
        transfer: The daemon's Transfer service.
        streaming: The daemon's Streaming service.
        version: The daemon's Version service.
        content: The daemon's Content service, which progress events of pulls need: without it, the
            total of a pull is known only at its end.
        stall_timeout: Seconds without progress after which the daemon is asked for its version.
    """

    def __init__(
        self,
        transfer: TransferService,
        streaming: StreamingService,
        version: VersionService,
        *,
        content: ContentService | None = None,
        stall_timeout: float = STALL_TIMEOUT,
    ) -> None:
        self._transfer = transfer
        self._streaming = streaming
        self._version = version
        self._content = content
        self._stall_timeout = stall_timeout

    @classmethod
    def of(cls, services: Services, *, stall_timeout: float = STALL_TIMEOUT) -> DaemonTransfers:
        """Return an object for the daemon and the namespace of ``services``."""
        return cls(
            services.transfer_service,
            services.streaming_service,
            services.version_service,
            content=services.content_service,
            stall_timeout=stall_timeout,
        )

    def pull(
        self,
        ref: str,
        *,
        digest: str = "",
        platforms: Platforms,
        unpack: Platform | None = None,
        snapshotter: str | Callable[[], str] = "",
        all_metadata: bool = False,
        labels: Mapping[str, str] | None = None,
        credentials: CredentialSource | None = None,
        plain_http: bool | None = None,
        hosts_dir: str = "",
        saved: list[str] | None = None,
        job: Job | None = None,
    ) -> None:
        """Pull an image from a registry, and give it the full form of ``ref`` as its name.

        Args:
            ref: The reference to pull.
            digest: The digest that the daemon must pull. Default: the digest that the registry has
                for ``ref``.
            platforms: The platforms whose content is pulled.
            unpack: The platform whose layers are unpacked. Default: no layers are unpacked.
            snapshotter: The snapshotter to unpack into, or a function that returns it. The function
                is called when the streams are open, before the daemon begins. Default: the daemon's
                default snapshotter.
            all_metadata: Whether to fetch the manifests and configs of other platforms, too.
            labels: Labels of the image's name.
            credentials: A function that returns the credentials for a host. Default: the
                credentials with which the user has logged in.
            plain_http: Whether to use HTTP without TLS. Default: the daemon decides, and uses
                HTTP for loopback hosts.
            hosts_dir: A folder with ``hosts.toml`` files on the daemon's machine. Daemons before
                2.0 ignore this folder.
            saved: A list to which the names are added that the daemon has created or changed, also
                if the transfer fails later.
            job: The job that receives the progress events. If the job fails, the transfer stops.

        Raises:
            Unimplemented: The daemon is older than 1.7, or older than 2.0 for a registry without
                TLS, or not configured to unpack for this platform and snapshotter.
            RegistryNotFound: The registry has no such image.
            RegistryUnauthorized: The registry refuses access.
            RegistryUnavailable: The registry does not answer, or is too slow.
            DeadlineExceeded: The daemon does not answer, or the transfer does not advance.
            NoMatchingPlatform: The image's index lacks the wanted platforms.
            InvalidArgument: An argument is not valid.
            ContainerdError: The daemon reports another error.
        """
        reference = Reference.parse(ref)
        name = str(reference)
        wanted = _wanted(platforms)

        def ends(registry: OCIRegistry) -> tuple[OCIRegistry, ImageStore]:
            chosen = snapshotter if isinstance(snapshotter, str) else snapshotter()
            return registry, ImageStore(
                name,
                dict(labels or {}),
                wanted,
                all_metadata,
                # Without this limit, the pull of an image that lacks the platforms would succeed,
                # but fetch no content.
                0 if all_metadata else len(platforms.wanted or ()),
                unpacks=_unpack_configurations(unpack, chosen),
            )

        self._with_registry(
            reference.with_digest(digest) if digest else reference,
            ends,
            self._tracker(job, name, "downloaded", saved, self._content_of(platforms)),
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
        """Push an image to a registry.

        Args:
            ref: The reference that the image gets in the registry.
            image: The full name of the image in the daemon.
            platforms: The platforms whose content is pushed.
            credentials: As for ``pull``.
            plain_http: As for ``pull``.
            hosts_dir: As for ``pull``.
            job: As for ``pull``.

        Raises:
            NotFound: The daemon has no image of this name.
            ContainerdError: The push failed. The error classes are the same as for ``pull``.
        """
        reference = Reference.parse(ref)
        store = ImageStore(image, platforms=_wanted(platforms))
        self._with_registry(
            reference,
            lambda registry: (store, registry),
            self._tracker(job, str(reference), "uploaded"),
            credentials=credentials,
            plain_http=plain_http,
            hosts_dir=hosts_dir,
        )

    def _with_registry(
        self,
        reference: Reference,
        source_and_destination: Callable[[OCIRegistry], tuple[Transferable, Transferable]],
        tracker: ProgressTracker,
        credentials: CredentialSource | None,
        plain_http: bool | None,
        hosts_dir: str,
    ) -> None:
        accounts = registry_accounts(reference.host, hosts_dir)
        answers = CredentialAnswers(credentials or default_credentials, accounts)
        scheme = {None: "", True: "http", False: "https"}[plain_http]
        failure = None
        try:
            with self._run(tracker) as run:
                # The stream for credentials and the progress stream are opened at the same time.
                auth = run.open_in_thread(answers.serve)
                progress = run.open()
                resolver = TransferResolver(result_when_done(auth).id, {}, hosts_dir, scheme)
                run.begin(*source_and_destination(OCIRegistry(str(reference), resolver)), progress)
                run.follow_progress(progress)
                run.wait_for_response()
        except ContainerdError as error:
            failure = explain_failure(error, reference, plain_http, answers)
            if failure is error:
                raise
        # The failure is raised after the ``except`` block. Otherwise the context of the failure
        # would be the daemon's error, which can contain secrets.
        if failure is not None:
            raise failure
        tracker.job.report("done", tracker.name)

    def import_stream(
        self,
        source: BinaryIO,
        *,
        platforms: Platforms,
        references: Sequence[ImageReference] = (),
        unpack: Platform | None = None,
        snapshotter: str = "",
        labels: Mapping[str, str] | None = None,
        saved: list[str] | None = None,
        job: Job | None = None,
    ) -> list[str]:
        """Import the images of an archive; return the names of the images.

        Reading from ``source`` has no timeout, but an interrupt ends the wait for a pipe or a
        socket. If the transfer fails during a read, this method raises the error only after the
        read.

        Args:
            source: The archive, which can be compressed.
            platforms: The platforms whose content is imported.
            references: The rules for the names of the images. Default: the names in the archive are
                used, and a name without a host gets a prefix with the date.
            unpack: As for ``pull``.
            snapshotter: As for ``pull``.
            labels: Labels of the images' names.
            saved: As for ``pull``.
            job: As for ``pull``.
        """
        today = datetime.now(timezone.utc).date()
        by_date = ImageReference(f"import-{today}", is_prefix=True, allow_overwrite=True)
        tracker = self._tracker(job, "", "exists", saved)
        with self._run(tracker) as run:
            progress = run.open_in_thread(run.follow_progress)
            data = run.open()
            store = ImageStore(
                labels=dict(labels or {}),
                platforms=_wanted(platforms),
                extra_references=tuple(references) or (by_date,),
                unpacks=_unpack_configurations(unpack, snapshotter),
            )
            run.begin(ImageImportStream(data.id), store, result_when_done(progress))
            run.send(source, data)
            run.join()
            try:
                run.wait_for_response()
            except ContainerdError as error:
                if (failure := unpack_failure(error)) is not None:
                    raise failure from error
                raise
        for name in tracker.saved:
            tracker.job.report("done", name)
        return tracker.saved

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
        """Write an archive of images.

        Args:
            target: The file to write to. This method does not close the file.
            images: The full names of the images.
            platforms: The platforms whose content is exported.
            skip_manifest_json: Whether to leave out Docker's ``manifest.json``.
            skip_non_distributable: Whether to leave out layers that must not be distributed.
            job: As for ``pull``.

        Raises:
            NotFound: An image or its content is missing. ``target`` then contains an incomplete
                archive.
            InvalidArgument: ``images`` is empty.
        """
        if not images:
            raise InvalidArgument("no image to export")
        tracker = self._tracker(job, images[0], "exists")
        with self._run(tracker) as run:
            # The stream carries both the data and the progress, and the daemon ends it.
            stream = run.open()
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
            run.wait_for_response()
        for name in images:
            tracker.job.report("done", name)

    def _run(self, tracker: ProgressTracker) -> Run:
        limits = StallLimits(self._expect_answer, self._stall_timeout)
        return Run(self._transfer, self._streaming, tracker, limits)

    def _tracker(
        self,
        job: Job | None,
        name: str,
        complete: Stage,
        saved: list[str] | None = None,
        content: PulledContent | None = None,
    ) -> ProgressTracker:
        least = LEAST_RATE * self._stall_timeout
        return ProgressTracker(job or Job(), name, complete, least, saved=saved, content=content)

    def _content_of(self, platforms: Platforms) -> PulledContent | None:
        if self._content is None:
            return None
        store = DaemonStore(self._content.with_options(timeout=_ANSWER_TIMEOUT))
        return PulledContent(store, platforms)

    def _expect_answer(self) -> None:
        """Raise ``DeadlineExceeded`` if the daemon does not answer a request for its version."""
        self._version.with_options(timeout=_ANSWER_TIMEOUT).version()


def _wanted(platforms: Platforms) -> tuple[Platform, ...]:
    if platforms.attestations and platforms.wanted is not None:
        raise InvalidArgument(
            "the daemon cannot transfer the attestations of some platforms only",
            remedy='Pass all_platforms=True or via="client"',
        )
    return platforms.wanted or ()


def _unpack_configurations(
    platform: Platform | None, snapshotter: str
) -> tuple[UnpackConfiguration, ...]:
    return () if platform is None else (UnpackConfiguration(platform, snapshotter),)

"""The methods ``pull`` and ``fetch`` of ``Client`` and ``Layout``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ... import limits
from ...printable import quoted
from .. import pull
from ..base import Verbs

if TYPE_CHECKING:
    from ...operation import CancelToken
    from ...progress import ProgressCallback
    from ...registry.registry_access import RegistryCredentials, RegistryOptions
    from ..image import Image
    from ..resolver import Resolver
    from ..signatures.policies import PolicyLike
    from ..via import Via
    from ..walk import Handler, WrapHandler


class PullVerbs(Verbs):
    """The verbs that fetch images from registries into the store."""

    def pull(
        self,
        ref: str,
        *,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        all_metadata: bool = False,
        attestations: bool = False,
        referrers: bool = False,
        unpack: bool = True,
        discard_layers: bool = False,
        snapshotter: str | None = None,
        resolver: Resolver | None = None,
        registry: RegistryOptions | None = None,
        credentials: RegistryCredentials | None = None,
        plain_http: bool | None = None,
        handlers: Sequence[Handler] = (),
        wrap_handler: WrapHandler | None = None,
        convert_schema1: bool = False,
        labels: Mapping[str, str] | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_downloads: int | None = None,
        max_concurrent_unpacks: int | None = None,
        resume: bool = False,
        policy: PolicyLike | None = None,
        via: Via = "client",
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Image:
        """Fetch an image, unpack it, and give it its name.

        An index is stored unchanged, even if only the content of some platforms is fetched. If the
        daemon restarts, the pull waits for the daemon and continues. A pull that fails does not
        create or change the name. After a failed pull, the daemon deletes the fetched content,
        unless ``resume`` is set.

        Args:
            ref: The image's name (``"busybox"``, ``"ghcr.io/user/app:1"``).
            platform: One platform (``"linux/arm/v7"``) or several. Default: the client's platform.
            all_platforms: Whether to fetch all platforms.
            all_metadata: Whether to fetch the manifests and configs of the other platforms, too,
                but not their layers.
            attestations: Whether to fetch the attestations of the wanted platforms, too.
            referrers: Whether to fetch the manifests that refer to the image, such as signatures.
            unpack: Whether to make snapshots. With ``all_platforms``, only the client's platform
                is unpacked. A ``Layout`` never unpacks.
            discard_layers: Whether the daemon may delete each layer once it is unpacked, to save
                disk space. A later pull with this option fetches only layers that have no snapshot.
                To push or export the image, first call ``fetch_missing``. Layers stay that another
                image or an earlier pull keeps, and the layers of a converted image.
            snapshotter: The snapshotter to unpack into. Default: the client's snapshotter.
            resolver: Finds and fetches the content. Default: a resolver for registries, with the
                credentials of ``docker login``.
            registry: How to reach the registry; see ``RegistryOptions``. Default: the options of
                the client or layout.
            credentials: ``("user", "password")``, ``Credentials``, or a function that returns the
                credentials for a host. Default: those of ``registry``.
            plain_http: Whether to use HTTP without TLS. Default: that of ``registry``.
            handlers: Functions that are called with each descriptor before it is fetched. A handler
                can skip the descriptor, or add children to it (see the module ``images.walk``).
            wrap_handler: A function that wraps the handler of this pull. The handler fetches a
                descriptor's content and returns the descriptor's children. For lazy snapshotters,
                ``images.pull.cri_labels.append_info`` returns such a function.
            convert_schema1: Whether to convert a Docker schema 1 image. By default, the pull of
                such an image fails.
            labels: The labels of the name. Default: no labels.
            progress: A function that is called with each ``ProgressEvent``. Its ``overall`` is the
                progress of the whole pull. Ready functions are ``rich_progress``,
                ``tqdm_progress`` and ``log_progress``. To cancel the pull, the function raises an
                exception: the pull stops, removes the content that it has fetched as after any
                other error, and raises this exception.
            max_concurrent_downloads: How many blobs to fetch at a time. Default: 8 blobs, of which
                at most 4 are larger than 4 MiB. If layers are unpacked and the connection is fast,
                the limit for the larger blobs is lower.
            max_concurrent_unpacks: How many layers to unpack at a time. Default: 3, if the
                snapshotter can set the parent of a snapshot later (containerd 2.2 or later). Other
                snapshotters get one layer at a time.
            resume: Whether the content of a failed pull stays for a week, so that the next pull
                with ``resume`` fetches only the missing content. If the caller runs the pull within
                a lease, the content stays only as long as this lease. Pulls of the same image with
                ``resume`` run one after the other.
            policy: The policy that the image must meet, or the path of its file. It applies
                together with the policy of the client. The signatures are verified before a layer
                is fetched, and before the image gets its name.
            via: ``"client"``: this process pulls. ``"daemon"``: the daemon's Transfer service
                pulls (containerd 1.7 or later). ``"auto"``: the Transfer service pulls if it
                supports all arguments; otherwise this process pulls. ``docs/transfer.md`` lists
                these arguments, and what else differs.
            timeout: Seconds that the whole call may take, above 0. The clean-up of a call that is
                cancelled or too late may take up to 10 seconds more. Default: no limit.
            cancel: A token whose ``cancel`` ends the call. Default: none.

        Returns:
            The image. Its ``is_lazy`` says whether the pull has skipped layers that the snapshotter
            fetches itself, or has in its cache. ``is_by_daemon`` says whether the Transfer service
            has pulled the image.

        Raises:
            Cancelled: The token was cancelled, or the client was closed.
            DeadlineExceeded: The call took longer than ``timeout``.
            NotFound: The registry has no such image, or lacks some of its content.
            RegistryUnauthorized: The registry refuses access.
            RegistryUnavailable: The registry does not respond, or fails again and again.
            NoMatchingPlatform: The image lacks a wanted platform.
            DigestMismatch: Content does not match its digest.
            DiffIDMismatch: A layer does not have the diff ID that the config lists.
            InvalidArgument: ``ref``, another argument or a document of the image is invalid.
            SignatureError: A policy does not accept the image. The subclasses say why:
                ``Unsigned``, ``Untrusted``, ``SignaturesUnavailable``.
        """
        request = pull.PullRequest(
            ref=ref,
            platform=platform,
            all_platforms=all_platforms,
            all_metadata=all_metadata,
            attestations=attestations,
            referrers=referrers,
            unpack=unpack,
            discard_layers=discard_layers,
            snapshotter=snapshotter,
            resolver=self._registry(resolver, registry, credentials, plain_http),
            handlers=handlers,
            wrap_handler=wrap_handler,
            convert_schema1=convert_schema1,
            labels=labels,
            progress=progress,
            max_concurrent_downloads=limits.parallel(
                "max_concurrent_downloads", max_concurrent_downloads
            ),
            max_concurrent_unpacks=limits.parallel(
                "max_concurrent_unpacks", max_concurrent_unpacks
            ),
            resume=resume,
            policy=policy,
        )
        with self._operation(f"pull of {quoted(ref)}", timeout, cancel):
            return pull.pull_image(self._images, request, via)

    def fetch(
        self,
        ref: str,
        *,
        platform: str | Sequence[str] | None = None,
        all_metadata: bool = False,
        attestations: bool = False,
        referrers: bool = False,
        resolver: Resolver | None = None,
        registry: RegistryOptions | None = None,
        credentials: RegistryCredentials | None = None,
        plain_http: bool | None = None,
        handlers: Sequence[Handler] = (),
        wrap_handler: WrapHandler | None = None,
        labels: Mapping[str, str] | None = None,
        progress: ProgressCallback | None = None,
        max_concurrent_downloads: int | None = None,
        resume: bool = False,
        policy: PolicyLike | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Image:
        """Fetch an image without unpacking it.

        If ``platform`` is not given, all platforms are fetched. The other arguments and the errors
        are the same as for ``pull``.
        """
        return self.pull(
            ref,
            platform=platform,
            all_platforms=platform is None,
            all_metadata=all_metadata,
            attestations=attestations,
            referrers=referrers,
            unpack=False,
            resolver=resolver,
            registry=registry,
            credentials=credentials,
            plain_http=plain_http,
            handlers=handlers,
            wrap_handler=wrap_handler,
            labels=labels,
            progress=progress,
            max_concurrent_downloads=limits.parallel(
                "max_concurrent_downloads", max_concurrent_downloads
            ),
            resume=resume,
            policy=policy,
            timeout=timeout,
            cancel=cancel,
        )

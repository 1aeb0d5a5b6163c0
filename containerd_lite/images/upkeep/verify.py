"""Finds content in a store that does not match its digest.

The module ``repair`` replaces this content.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from ...debug import LoggedStep
from ...errors import ContainerdError, DataLoss, Internal, InvalidArgument, NotFound, Unknown
from ...oci import digest as digests
from ...oci.descriptor import Descriptor
from ...progress import ProgressCallback
from ...records import record
from ...store.protocol import ContentStore
from ..image import ImageLike, name_and_target
from ..image_backend import ImageBackend
from ..job import Job, side_by_side
from ..tally import Tally
from ..walk import children_in, walk

_LOGGER = logging.getLogger(__package__)

_BUFFER = 1 << 20
#: How many threads hash. Hashing releases the GIL, so two threads use two cores. More threads would
#: only make a hard disk seek more often.
HASHERS = 2


@record(frozen=True)
class VerifyReport:
    """The result of hashing content.

    Attributes:
        checked: How many blobs were hashed.
        size: The total size of the hashed blobs in bytes.
        broken: The digests of blobs whose content does not match the digest, or cannot be read.
    """

    checked: int
    size: int
    broken: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether all hashed blobs are sound."""
        return not self.broken

    def __repr__(self) -> str:
        return (
            f"<VerifyReport {self.checked} checked ({self.size} bytes), {len(self.broken)} broken>"
        )


def verify_images(
    backend: ImageBackend, sources: Sequence[ImageLike], progress: ProgressCallback | None = None
) -> VerifyReport:
    """Hash content and compare the hashes with the digests; see ``Client.verify``."""
    store, job = backend.store, Job(progress, Tally(verifies=True))
    sizes = present_sizes(store, [name_and_target(backend, source)[1] for source in sources])
    for digest, size in sizes.items():
        job.report("waiting", digest, 0, size)
    job.seal()
    broken = []

    def check(digest: str) -> None:
        if find_fault(store, digest, sizes[digest], job) is not None:
            broken.append(digest)

    with LoggedStep(_LOGGER, "verify %d blobs", len(sizes)):
        side_by_side(check, sizes, job, HASHERS)
    return VerifyReport(len(sizes), sum(sizes.values()), tuple(sorted(broken)))


def present_sizes(store: ContentStore, targets: Sequence[Descriptor]) -> dict[str, int]:
    """Return the size of each blob that the store has of some images, by digest.

    Args:
        store: The store.
        targets: The manifests or indexes of the images. Without them, the function returns all
            blobs of the store.
    """
    sizes = {info.digest: info.size for info in store.walk()}
    if targets:
        below = {found.digest for found in walk(_present_children(store), *targets)}
        sizes = {digest: size for digest, size in sizes.items() if digest in below}
    return sizes


def _present_children(store: ContentStore) -> Callable[[Descriptor], Iterable[Descriptor]]:
    """Return a handler that finds the children of manifests and indexes.

    The handler returns no children for a missing or broken manifest or index.
    """
    children = children_in(store)

    def find(descriptor: Descriptor) -> Iterable[Descriptor]:
        try:
            return children(descriptor)
        except (NotFound, DataLoss, InvalidArgument):
            return ()

    return find


def find_fault(store: ContentStore, digest: str, size: int, job: Job) -> ContainerdError | None:
    """Return the error of a broken blob, or ``None`` if the blob is sound or has been deleted.

    Args:
        store: The store.
        digest: The blob's digest.
        size: The blob's size in bytes.
        job: The job that the check is part of.
    """
    try:
        _hash(store, digest, size, job)
    except NotFound as error:  # another client has deleted the blob, or the blob's file is gone
        with suppress(NotFound):
            store.info(digest)
            return error
    except (DataLoss, Internal, Unknown) as error:  # the daemon reports disk errors as Unknown
        return error
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return DataLoss(f"{digest} cannot be read: {error.strerror}")
    return None


def _hash(store: ContentStore, digest: str, size: int, job: Job) -> None:
    """Hash a blob; raise ``DigestMismatch`` or ``SizeMismatch`` if the blob is broken."""
    verifier = digests.Verifier(digest, size)
    with store.reader(digest) as file:
        while data := file.read(_BUFFER):
            job.check()
            verifier.update(data)
            job.report("verifying", digest, verifier.seen, size)
    verifier.check()
    job.report("verified", digest, size, size)

"""Whether content is what its digest says.

What lives here: hashing what a store has, and the report.  What may not: changing what is here
(``repair``).
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
from ..walk import children_in, walk

_LOGGER = logging.getLogger(__package__)

_BUFFER = 1 << 20
#: Threads that hash.  Hashing lets go of the interpreter: two use two cores, more would only seek
#: on disks.
HASHERS = 2


@record(frozen=True)
class VerifyReport:
    """What hashing found: ``checked`` blobs of ``size`` bytes, and the digests of the broken."""

    checked: int
    size: int
    broken: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        return not self.broken

    def __repr__(self) -> str:
        return (
            f"<VerifyReport {self.checked} checked ({self.size} bytes), {len(self.broken)} broken>"
        )


def verify_images(
    backend: ImageBackend, sources: Sequence[ImageLike], progress: ProgressCallback | None = None
) -> VerifyReport:
    """As ``Client.verify``."""
    store, job = backend.store, Job(progress)
    targets = [name_and_target(backend, source)[1] for source in sources]
    sizes = {info.digest: info.size for info in store.walk()}
    if targets:
        below = {one.digest for one in walk(_present_children(store), *targets)}
        sizes = {digest: size for digest, size in sizes.items() if digest in below}
    broken = []

    def look(digest: str) -> None:
        if find_fault(store, digest, sizes[digest], job) is not None:
            broken.append(digest)

    with LoggedStep(_LOGGER, "verify %d blobs", len(sizes)):
        side_by_side(look, sizes, job, HASHERS)
    return VerifyReport(len(sizes), sum(sizes.values()), tuple(sorted(broken)))


def _present_children(store: ContentStore) -> Callable[[Descriptor], Iterable[Descriptor]]:
    """What documents refer to; those that are missing or broken do not tell."""
    children = children_in(store)

    def find(descriptor: Descriptor) -> Iterable[Descriptor]:
        try:
            return children(descriptor)
        except (NotFound, DataLoss, InvalidArgument):
            return ()

    return find


def find_fault(store: ContentStore, digest: str, size: int, job: Job) -> ContainerdError | None:
    """What is wrong with a blob that the store says it has, ``None`` if all is well."""
    try:
        _hash(store, digest, size, job)
    except NotFound as error:  # somebody has deleted it meanwhile, or its file is gone
        with suppress(NotFound):
            store.info(digest)
            return error
    except (DataLoss, Internal, Unknown) as error:  # a disk's error is an unknown one of the daemon
        return error
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return DataLoss(f"{digest} cannot be read: {error.strerror}")
    return None


def _hash(store: ContentStore, digest: str, size: int, job: Job) -> None:
    verifier = digests.Verifier(digest, size)
    with store.reader(digest) as file:
        while data := file.read(_BUFFER):
            job.check()
            verifier.update(data)
            job.report("verifying", digest, verifier.seen, size)
    verifier.check()
    job.report("verified", digest, size, size)

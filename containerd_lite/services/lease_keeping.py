"""A lease that lasts as long as a ``with`` block and protects what the block writes.

The lease is created at the beginning of the block, renewed while the block runs, and deleted at
the end of the block.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone

from .. import limits
from ..deadline import Deadline, backoff
from ..errors import (
    AlreadyExists,
    Cancelled,
    ContainerdError,
    InvalidArgument,
    NotFound,
    is_away,
)
from ..interrupt import shielded
from ..oci import digest as digests
from ..operation import note_left
from ..printable import quoted
from . import lifetimes
from .filters import Filter
from .leases import LeaseService, Resource

#: Seconds that clean-up after a failure may take, including garbage collection.
_CLEANUP_TIMEOUT = 30.0
#: Seconds that clean-up may take if an interrupt came before the block began or after it ended.
_INTERRUPTED_TIMEOUT = 2.0
#: Seconds to wait after each attempt to delete a lease whose creation was interrupted.
_DELETE_WAITS = (0.01, 0.03, 0.1, 0.1, 0.0)
#: Seconds after which the lease of resumable work expires. The lease survives a weekend.
RESUME_EXPIRES = 7 * 86400.0
#: The minimum of ``expires`` in seconds. A shorter lease could expire before its renewal.
_MIN_EXPIRES = 1.0
#: The fraction of ``expires`` after which a lease is renewed, and the fraction of ``expires`` after
#: which a failed renewal is repeated.
_RENEW_AFTER, _RETRY_AFTER = 0.5, 0.05


@contextmanager
def keeping(
    leases: LeaseService,
    expires: float,
    resume: str = "",
    *,
    id: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run the block under a lease, and yield the id of the lease.

    If blocks are nested, the inner block uses the lease of the outer block, unless the inner block
    has an id or labels. The lease is renewed while the block runs, and deleted when the block ends.
    If the block raises an error, garbage collection then removes what the block wrote.

    Args:
        leases: The leases service of the namespace.
        expires: Seconds after which the lease expires if this process dies.
        resume: A name for the work of the block. If a block with a name fails, its lease is kept,
            and a later block with the same name uses this lease. Default: no name, so that the
            lease is always deleted.
        id: The id of the lease. Default: a random id.
        labels: The labels of the lease. This function adds the label ``EXPIRE``.

    Raises:
        AlreadyExists: A lease with this id exists.
        InvalidArgument: ``expires`` is too short or too long.
    """
    joined = leases.joined
    if joined and id is None and labels is None:
        yield joined
        return
    seconds = None
    with suppress(InvalidArgument):  # no limit is invalid, too, so the error has another remedy
        seconds = limits.seconds("expires", expires)
    if seconds is None or seconds < _MIN_EXPIRES:
        raise InvalidArgument(
            f"expires cannot be {quoted(expires)}",
            remedy=f"Pass at least {_MIN_EXPIRES:g} and at most {limits.LONGEST:g} seconds",
        )
    id = id or f"lite-{os.urandom(8).hex()}"
    if resume:
        id = f"lite-resume-{digests.encoded(digests.of(resume.encode()))[:32]}"
    labels = {**(labels or {}), **_until(expires)}
    is_active = False
    try:
        if not _create(leases, id, labels, may_exist=bool(resume)):
            _renew(leases, id, expires, labels)
        is_active = True
        with leases.joining(id), _renewing(leases, id, expires, labels):
            yield id
        is_active = False
        with shielded():  # the block has succeeded
            _delete(leases, id)
    except BaseException as error:
        if not resume:
            with shielded():
                _clean_up(leases, id, expires, error, created_with=None if is_active else labels)
        raise


def _clean_up(
    leases: LeaseService,
    id: str,
    expires: float,
    error: BaseException,
    *,
    created_with: Mapping[str, str] | None,
) -> None:
    """Delete the lease of a block that failed with ``error``, and what only the lease keeps.

    If the block has not begun, ``created_with`` are the labels with which the lease was created.
    """
    try:
        if created_with is None:
            _delete(leases.with_options(timeout=_CLEANUP_TIMEOUT), id, sync=True)
        elif isinstance(error, Cancelled) or not isinstance(error, ContainerdError):
            quick = leases.with_options(timeout=_INTERRUPTED_TIMEOUT)
            _delete_if_created(quick, id, created_with)
    except ContainerdError:
        until = datetime.now(timezone.utc) + timedelta(seconds=expires)
        note_left(
            f"the daemon did not answer the clean-up, so the lease {id} may keep what was written "
            f"until {until:%Y-%m-%d %H:%M} UTC"
        )


@contextmanager
def _renewing(
    leases: LeaseService, id: str, expires: float, labels: Mapping[str, str]
) -> Iterator[None]:
    """Renew the lease from a thread while the block runs.

    If another client deletes the lease, the thread ends.
    """
    has_ended = threading.Event()

    def renew_repeatedly() -> None:
        part = _RENEW_AFTER
        while not has_ended.wait(expires * part):
            part = _RENEW_AFTER
            try:
                _renew(leases, id, expires, labels)
            except NotFound:
                return
            except ContainerdError:  # the daemon may come back before the lease expires
                part = _RETRY_AFTER

    thread = threading.Thread(target=renew_repeatedly, name="containerd-lite-lease", daemon=True)
    try:
        thread.start()
        yield
    finally:
        has_ended.set()
        with suppress(RuntimeError):  # an interrupt came before the thread started
            # A renewal that is still in progress would leave a lease behind.
            thread.join(_CLEANUP_TIMEOUT)


def _delete_if_created(leases: LeaseService, id: str, labels: Mapping[str, str]) -> None:
    """Delete a lease whose creation was interrupted. The lease may or may not exist.

    A busy daemon may create the lease later, so this function tries several times. A lease with the
    same id but other labels belongs to another client.
    """
    for wait in _DELETE_WAITS:
        if any(lease.labels == labels for lease in leases.list(Filter("id") == id)):
            with suppress(NotFound):
                leases.delete(id)
            return
        time.sleep(wait)


def _delete(leases: LeaseService, id: str, *, sync: bool = False) -> None:
    """Delete a lease if it exists. If the daemon is restarting, wait for the daemon."""
    deadline = Deadline(_CLEANUP_TIMEOUT)
    for wait in backoff(0.02, 1.0):
        try:
            with suppress(NotFound):
                leases.delete(id, sync=sync)
            return
        except ContainerdError as error:
            if deadline.expired or not is_away(error):
                raise
        time.sleep(wait)


def collect_garbage(leases: LeaseService, timeout: float) -> None:
    """Make the daemon collect garbage, and wait for the end of the collection.

    The function creates a lease and deletes it with ``sync``.

    Args:
        leases: The leases service of the namespace.
        timeout: Seconds to wait.

    Raises:
        DeadlineExceeded: The collection took longer than ``timeout``.
    """
    id = f"lite-collect-{os.urandom(8).hex()}"
    _create(leases, id, _until(timeout))
    _delete(leases.with_options(timeout=timeout), id, sync=True)


def _until(expires: float) -> dict[str, str]:
    """Return the label by which a lease expires ``expires`` seconds from now."""
    return lifetimes.expires(datetime.now(timezone.utc) + timedelta(seconds=expires))


def _create(
    leases: LeaseService, id: str, labels: Mapping[str, str], *, may_exist: bool = False
) -> bool:
    """Create a lease and return true.

    If the lease exists already, return false if ``may_exist`` is true, else raise
    ``AlreadyExists``.
    """
    try:
        leases.create(id, labels)
    except AlreadyExists:
        if not may_exist:
            raise
        return False
    return True


def _renew(leases: LeaseService, id: str, expires: float, labels: Mapping[str, str]) -> None:
    """Make a lease expire ``expires`` seconds from now. It keeps its other labels.

    No RPC renews a lease, so this function deletes the lease and creates it again. Meanwhile, a
    temporary lease protects the resources, even if this process is interrupted. For about two
    milliseconds the lease does not exist. Calls under the lease fail during this time.
    """
    # If the lease has been deleted, this call raises NotFound. So the loop does not create the
    # lease again.
    leases.list_resources(id)
    temporary = f"lite-{os.urandom(8).hex()}"
    until = _until(expires)
    for old, new, wanted in ((id, temporary, until), (temporary, id, {**labels, **until})):
        _create(leases, new, wanted, may_exist=True)  # restore_lease() may have created the lease
        _copy_resources(leases, old, new)
        leases.delete(old)


def _copy_resources(leases: LeaseService, old: str, new: str) -> None:
    """Add all resources of ``old`` to ``new``, including resources that are written meanwhile."""
    copied = set[Resource]()
    while missing := set(leases.list_resources(old)) - copied:
        for resource in missing:
            with suppress(NotFound):  # the resource is an ingest that was aborted meanwhile
                leases.add_resource(new, resource)
        copied |= missing


def restore_lease(leases: LeaseService) -> bool:
    """Create the lease of the surrounding block again if it has been deleted.

    Args:
        leases: The leases service of the namespace.

    Returns:
        Whether the lease had been deleted.
    """
    id = leases.joined
    if not id or any(lease.id == id for lease in leases.list()):
        return False
    _create(leases, id, _until(RESUME_EXPIRES), may_exist=True)
    return True

"""Decodes the details of a gRPC status, and finds the error class that containerd meant.

The rules are those of containerd's errdefs/pkg/errgrpc.
"""

from __future__ import annotations

from ..errors import (
    BY_CODE,
    Conflict,
    ContainerdError,
    FailedPrecondition,
    NotModified,
    ResourceExhausted,
    Unknown,
)
from ..schema.pool import CONTAINERD, DynamicMessage, decode
from ..transport.stream import UNDECODED
from .start_failures import start_failure

_STATUS = "google.rpc.Status"
#: A prefix of type names. Go's anypb writes this prefix, and containerd's typeurl omits it.
_GOOGLE_PREFIX = "type.googleapis.com/"
#: The maximum depth to which nested joined errors are decoded, and the maximum number of details
#: that are read. The number of details includes the details of joined errors.
_MAX_DEPTH, _MAX_DETAILS = 8, 100
#: The ends of messages about a full disk: Go's texts of ENOSPC and EDQUOT.
_FULL = (": no space left on device", ": disk quota exceeded")
#: The services whose calls write files of the daemon. The services of tasks and sandboxes are not
#: listed: a runtime reports the same errors for full cgroups and for too many inotify watches.
_WRITING_SERVICES = (
    "Containers.", "Content.", "Diff.", "Images.", "Leases.", "Namespaces.", "Snapshots.", "Store.",
    "Transfer.",
)  # fmt: skip
_FULL_REMEDY = (
    "Free disk space on the daemon's machine, for instance: delete unused images and containers"
)


def translated(error: ContainerdError) -> ContainerdError:
    """Decode the details of an error, and return the error with the class that containerd meant.

    gRPC has no codes for ``Conflict`` and ``NotModified``. containerd sends these errors with the
    code FAILED_PRECONDITION. containerd sends the errors of a full disk, and of a command that
    cannot be executed, with the code UNKNOWN.
    """
    found = _classified(error)
    if found.details and found.details[0][0] == UNDECODED:
        try:
            status = decode(CONTAINERD.message(_STATUS), found.details[0][1])
        except ContainerdError:
            found.details = ()  # an invalid detail must not hide the error itself
        else:
            _add_details(found, status, _MAX_DEPTH, [_MAX_DETAILS])
    return found


def _classified(error: ContainerdError) -> ContainerdError:
    """Return the error with the class that its message shows, or the error itself."""
    if type(error) is FailedPrecondition:
        for kind, suffix in ((Conflict, "conflict"), (NotModified, "not modified")):
            if error.raw_message == suffix or error.raw_message.endswith(f": {suffix}"):
                return _of_class(kind, error)
    if (
        type(error) is Unknown
        and error.raw_message.removesuffix(": unknown").endswith(_FULL)
        and error.operation.startswith(_WRITING_SERVICES)
    ):
        exhausted = _of_class(ResourceExhausted, error)
        exhausted.remedy = exhausted.remedy or _FULL_REMEDY
        return exhausted
    if type(error) is Unknown and (failure := start_failure(error)):
        found = _of_class(failure[0], error)
        found.remedy = found.remedy or failure[1]
        return found
    return error


def _of_class(kind: type[ContainerdError], error: ContainerdError) -> ContainerdError:
    found = kind(error.message)
    found.__dict__.update(error.__dict__)
    return found


def _add_details(
    error: ContainerdError, status: DynamicMessage, depth: int, remaining: list[int]
) -> None:
    """Set the details and the joined errors of ``error`` from its status.

    Each joined error is a detail of type ``google.rpc.Status``. Other details stay undecoded.
    ``depth`` is the number of levels of joined errors that may still be decoded.
    ``remaining[0]`` is the number of details that may still be read. This function reduces
    ``remaining[0]``.
    """
    details: list[tuple[str, bytes]] = []
    joined: list[ContainerdError] = []
    for detail in status.details[: remaining[0]]:
        remaining[0] -= 1
        name, value = detail.type_url.removeprefix(_GOOGLE_PREFIX), bytes(detail.value)
        if name == _STATUS and depth:
            try:
                joined.append(_joined_error(error, value, depth, remaining))
                continue
            except ContainerdError:
                pass  # the detail is not a valid status, so its bytes are added below
        details.append((name, value))
    error.details, error.joined = tuple(details), tuple(joined)


def _joined_error(
    error: ContainerdError, value: bytes, depth: int, remaining: list[int]
) -> ContainerdError:
    """Decode one joined error of ``error``. ``value`` is the encoded status of the joined error."""
    status = decode(CONTAINERD.message(_STATUS), value)
    kind = BY_CODE.get(status.code, Unknown)
    joined = kind(status.message or kind.__name__, operation=error.operation, address=error.address)
    joined = _classified(joined)
    _add_details(joined, status, depth - 1, remaining)
    return joined

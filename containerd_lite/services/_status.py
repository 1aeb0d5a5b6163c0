"""Decodes the details of a gRPC status, and finds the error class that containerd meant.

The rules are those of containerd's errdefs/pkg/errgrpc.
"""

from __future__ import annotations

from ..errors import BY_CODE, Conflict, ContainerdError, FailedPrecondition, NotModified, Unknown
from ..schema.pool import CONTAINERD, DynamicMessage, decode
from ..transport.stream import UNDECODED

_STATUS = "google.rpc.Status"
#: A prefix of type names. Go's anypb writes this prefix, and containerd's typeurl omits it.
_GOOGLE_PREFIX = "type.googleapis.com/"
#: The maximum depth to which nested joined errors are decoded, and the maximum number of details
#: that are read. The number of details includes the details of joined errors.
_MAX_DEPTH, _MAX_DETAILS = 8, 100


def translated(error: ContainerdError) -> ContainerdError:
    """Decode the details of an error, and return the error with the class that containerd meant.

    gRPC has no codes for ``Conflict`` and ``NotModified``. containerd sends these errors with the
    code FAILED_PRECONDITION.
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
    """Return ``Conflict`` or ``NotModified`` if the message ends with the name of this error.

    Otherwise, return the error itself.
    """
    if type(error) is FailedPrecondition:
        for kind, suffix in ((Conflict, "conflict"), (NotModified, "not modified")):
            if error.raw_message == suffix or error.raw_message.endswith(f": {suffix}"):
                found = kind(error.message)
                found.__dict__.update(error.__dict__)
                return found
    return error


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

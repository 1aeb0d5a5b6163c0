"""Decodes the details of a gRPC status: containerd's own error classes, and joined errors.

``translated`` follows containerd's errdefs/pkg/errgrpc.
"""

from __future__ import annotations

from ..errors import BY_CODE, Conflict, ContainerdError, FailedPrecondition, NotModified, Unknown
from ..schema.pool import CONTAINERD, DynamicMessage, decode
from ..transport.stream import UNDECODED

_STATUS = "google.rpc.Status"
#: The prefix of type names that Go's anypb writes and containerd's typeurl omits.
_GOOGLE_PREFIX = "type.googleapis.com/"
#: How deep joined errors may be nested, and how many details are read in all.
_MAX_DEPTH, _MAX_DETAILS = 8, 100


def translated(error: ContainerdError) -> ContainerdError:
    """Return the error with its details decoded, and with the class that containerd meant.

    The class differs from the gRPC code's class where errgrpc has no code for it.
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
    """Return ``Conflict`` or ``NotModified`` where the message's suffix names it.

    containerd sends both as FAILED_PRECONDITION.
    """
    if type(error) is FailedPrecondition:
        for kind, suffix in ((Conflict, "conflict"), (NotModified, "not modified")):
            if error.message == suffix or error.message.endswith(f": {suffix}"):
                found = kind(error.message)
                found.__dict__.update(error.__dict__)
                return found
    return error


def _add_details(
    error: ContainerdError, status: DynamicMessage, depth: int, remaining: list[int]
) -> None:
    """Set the details and the joined errors of ``error`` from its status.

    Each joined error is a detail of type ``google.rpc.Status``. Other details stay undecoded.
    ``remaining`` counts down the details that may still be read.
    """
    details: list[tuple[str, bytes]] = []
    joined: list[ContainerdError] = []
    for detail in status.details[: remaining[0]]:
        remaining[0] -= 1
        name, value = detail.type_url.removeprefix(_GOOGLE_PREFIX), bytes(detail.value)
        if name == _STATUS and depth:
            try:
                joined.append(_joined(error, value, depth, remaining))
                continue
            except ContainerdError:
                pass  # not a valid status: keep its bytes
        details.append((name, value))
    error.details, error.joined = tuple(details), tuple(joined)


def _joined(
    error: ContainerdError, value: bytes, depth: int, remaining: list[int]
) -> ContainerdError:
    """Decode an error that the daemon joined to ``error``."""
    status = decode(CONTAINERD.message(_STATUS), value)
    kind = BY_CODE.get(status.code, Unknown)
    joined = kind(status.message or kind.__name__, operation=error.operation, address=error.address)
    joined = _classified(joined)
    _add_details(joined, status, depth - 1, remaining)
    return joined

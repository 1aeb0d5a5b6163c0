"""What a status says beyond its code: containerd's own classes, and errors that were joined to it.

What lives here: ``translated``, after containerd's errdefs/pkg/errgrpc.  What may not: RPCs.
"""

from __future__ import annotations

from ..errors import BY_CODE, Conflict, ContainerdError, FailedPrecondition, NotModified, Unknown
from ..schema.pool import CONTAINERD, DynamicMessage, decode
from ..transport.stream import UNDECODED

_STATUS = "google.rpc.Status"
#: What Go's anypb puts before a name, and containerd's typeurl does not.
_GOOGLE = "type.googleapis.com/"
#: How deep errors may be joined in one another, and how many there may be in all.
_DEEPEST, _MOST = 8, 100


def translated(error: ContainerdError) -> ContainerdError:
    """The error with its details decoded and, where errgrpc hides it there, its class told."""
    better = _classified(error)
    if better.details and better.details[0][0] == UNDECODED:
        try:
            status = decode(CONTAINERD.message(_STATUS), better.details[0][1])
        except ContainerdError:
            better.details = ()  # a broken detail must not hide the error that it belongs to
        else:
            _add_details(better, status, _DEEPEST, [_MOST])
    return better


def _classified(error: ContainerdError) -> ContainerdError:
    """containerd sends conflict and not-modified as FAILED_PRECONDITION: the suffix tells."""
    if type(error) is FailedPrecondition:
        for kind, suffix in ((Conflict, "conflict"), (NotModified, "not modified")):
            if error.message == suffix or error.message.endswith(f": {suffix}"):
                better = kind(error.message)
                better.__dict__.update(error.__dict__)
                return better
    return error


def _add_details(
    error: ContainerdError, status: DynamicMessage, depth: int, room: list[int]
) -> None:
    """Errors that were joined to this one come as a status each; the rest stays as it is."""
    details: list[tuple[str, bytes]] = []
    joined: list[ContainerdError] = []
    for detail in status.details[: room[0]]:
        room[0] -= 1
        name, value = detail.type_url.removeprefix(_GOOGLE), bytes(detail.value)
        if name == _STATUS and depth:
            try:
                joined.append(_joined(error, value, depth, room))
                continue
            except ContainerdError:
                pass  # no status after all: its bytes are kept
        details.append((name, value))
    error.details, error.joined = tuple(details), tuple(joined)


def _joined(error: ContainerdError, value: bytes, depth: int, room: list[int]) -> ContainerdError:
    status = decode(CONTAINERD.message(_STATUS), value)
    kind = BY_CODE.get(status.code, Unknown)
    other = kind(status.message or kind.__name__, operation=error.operation, address=error.address)
    other = _classified(other)
    _add_details(other, status, depth - 1, room)
    return other

"""The error tree: one class per class of containerd's errdefs, and what a client adds.

What lives here: exception classes and the gRPC code table.  What may not: any IO, any
knowledge of who raises them.

    ContainerdError
    ├── Unknown InvalidArgument NotFound AlreadyExists PermissionDenied ResourceExhausted
    │   FailedPrecondition (Conflict, NotModified) Aborted OutOfRange Unimplemented Internal
    │   Unavailable DataLoss Unauthenticated Cancelled
    ├── DeadlineExceeded            also a TimeoutError
    ├── ProtocolError               the peer, or this end, broke gRPC or HTTP/2
    ├── SocketNotFound, ConnectionRefused, ConnectionLost      each an Unavailable
    ├── SocketPermissionDenied      a PermissionDenied
    ├── NoMatchingPlatform          a NotFound
    ├── DigestMismatch, SizeMismatch, DiffIDMismatch            each a DataLoss
    ├── ProcessFailed               a container's process, with another exit code than 0
    └── RegistryError               whatever a registry answered
        ├── RegistryNotFound        also a NotFound
        ├── RegistryUnauthorized    also an Unauthenticated
        └── RegistryUnavailable     also an Unavailable
"""

from __future__ import annotations


class ContainerdError(Exception):
    """The root of everything that this package raises on purpose.

    ``str(error)`` names the operation, the object and the remedy.  The parts are attributes:
    ``message``, ``operation`` (``"Images.Get"``), ``address`` (redacted), ``remedy``,
    ``details``, the ``google.rpc.Status`` details as ``(type_url, bytes)`` pairs, and ``joined``,
    other errors that the daemon sent along with this one.  Pickles.
    """

    def __init__(
        self,
        message: str = "",
        *,
        operation: str = "",
        address: str = "",
        remedy: str = "",
        details: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.address = address
        self.remedy = remedy
        self.details = details
        self.joined: tuple[ContainerdError, ...] = ()

    def __str__(self) -> str:
        text = f"{self.operation}: {self.message}" if self.operation else self.message
        if self.address:
            text += f" [{self.address}]"
        return f"{text}. {self.remedy}" if self.remedy else text


class Unknown(ContainerdError):
    """The peer failed and did not say in which way."""


class InvalidArgument(ContainerdError, ValueError):
    """The request can never succeed as it is written."""


class NotFound(ContainerdError):
    """The object named does not exist."""


class AlreadyExists(ContainerdError):
    """The object named exists."""


class PermissionDenied(ContainerdError):
    """The caller may not do this."""


class ResourceExhausted(ContainerdError):
    """A quota, a disk or a size limit is used up."""


class FailedPrecondition(ContainerdError):
    """The object's state does not permit the operation."""


class Conflict(FailedPrecondition):
    """Somebody else changed the object in between."""


class NotModified(FailedPrecondition):
    """There was nothing to change."""


class Aborted(ContainerdError):
    """The operation was given up half-way; it may be tried again."""


class OutOfRange(ContainerdError):
    """An offset or size lies outside the object."""


class Unimplemented(ContainerdError):
    """The daemon does not know this method."""


class Internal(ContainerdError):
    """The peer found a fault in itself."""


class Unavailable(ContainerdError):
    """The daemon cannot be reached, or cannot serve now."""


class DataLoss(ContainerdError):
    """Content is broken and cannot be recovered from here."""


class Unauthenticated(ContainerdError):
    """The peer wants credentials, or better ones."""


class Cancelled(ContainerdError):
    """The call was cancelled, from this end or the other."""


class DeadlineExceeded(ContainerdError, TimeoutError):
    """The time allowed for the operation passed."""


class ProtocolError(ContainerdError):
    """HTTP/2 or gRPC was broken; ``remote`` tells whether by the peer."""

    def __init__(self, message: str = "", *, remote: bool = True, **parts: str) -> None:
        super().__init__(message, **parts)  # type: ignore[arg-type]
        self.remote = remote


class SocketNotFound(Unavailable):
    """There is no socket at the address."""


class ConnectionRefused(Unavailable):
    """Nothing listens at the address."""


class ConnectionLost(Unavailable):
    """The connection ended during the call; whether the daemon carried it out is not known."""


class SocketPermissionDenied(PermissionDenied):
    """The socket is there, and this user may not open it."""


class NoMatchingPlatform(NotFound):
    """An index lists no manifest for the platform asked for."""


class DigestMismatch(DataLoss):
    """Content does not have the digest that names it."""


class SizeMismatch(DataLoss):
    """Content is shorter or longer than its descriptor says."""


class DiffIDMismatch(DigestMismatch):
    """A layer, unpacked, does not have the diff ID that the image config lists."""


class ProcessFailed(ContainerdError):
    """A container's process ended with another exit code than 0, where that was to be checked.

    ``exit_code`` is ``None`` where nobody knows it; ``stdout`` and ``stderr`` are what was
    captured.
    """

    def __init__(
        self,
        message: str = "",
        *,
        exit_code: int | None = None,
        stdout: bytes = b"",
        stderr: bytes = b"",
        **parts: str,
    ) -> None:
        super().__init__(message, **parts)  # type: ignore[arg-type]
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr


class RegistryError(ContainerdError):
    """A registry answered with an error, or with something that is not a registry's answer.

    ``status`` is the HTTP status, 0 where there was none; ``codes`` the distribution-spec's
    error codes (``"MANIFEST_UNKNOWN"``).
    """

    def __init__(
        self, message: str = "", *, status: int = 0, codes: tuple[str, ...] = (), **parts: str
    ) -> None:
        super().__init__(message, **parts)  # type: ignore[arg-type]
        self.status = status
        self.codes = codes


class RegistryNotFound(RegistryError, NotFound):
    """The registry has no such repository, manifest or blob."""


class RegistryUnauthorized(RegistryError, Unauthenticated):
    """The registry refused the credentials, or wants some."""


class RegistryUnavailable(RegistryError, Unavailable):
    """The registry cannot be reached, or says that it cannot serve now.

    ``retry_after`` is the wait in seconds that it asks for, ``None`` where it does not.
    """

    retry_after: float | None = None


#: gRPC status codes, in the order of their numbers (grpc's statuscodes.md); 0 is OK.
BY_CODE: dict[int, type[ContainerdError]] = {
    1: Cancelled,
    2: Unknown,
    3: InvalidArgument,
    4: DeadlineExceeded,
    5: NotFound,
    6: AlreadyExists,
    7: PermissionDenied,
    8: ResourceExhausted,
    9: FailedPrecondition,
    10: Aborted,
    11: OutOfRange,
    12: Unimplemented,
    13: Internal,
    14: Unavailable,
    15: DataLoss,
    16: Unauthenticated,
}


def is_away(error: BaseException) -> bool:
    """Whether ``error`` says that the daemon is gone, and may come back."""
    return isinstance(error, ConnectionLost | ConnectionRefused | SocketNotFound)

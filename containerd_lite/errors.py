"""The error classes: a class for each error of containerd's errdefs, and additional classes.

The tree of the classes::

    ContainerdError
    ├── Unknown InvalidArgument NotFound AlreadyExists PermissionDenied ResourceExhausted
    │   FailedPrecondition (Conflict, NotModified) Aborted OutOfRange Unimplemented Internal
    │   Unavailable DataLoss Unauthenticated Cancelled
    ├── DeadlineExceeded            also a TimeoutError
    ├── ProtocolError               the peer or this client violated gRPC or HTTP/2
    ├── SocketNotFound, ConnectionRefused, ConnectionLost      each an Unavailable
    ├── SocketPermissionDenied      a PermissionDenied
    ├── SignatureError (Unsigned, Untrusted, SignaturesUnavailable)     a PermissionDenied
    ├── NoMatchingPlatform          a NotFound
    ├── DigestMismatch, SizeMismatch, DiffIDMismatch            each a DataLoss
    ├── ProcessFailed               a container's process with an exit code other than 0
    └── RegistryError               an error response of a registry
        ├── RegistryNotFound        also a NotFound
        ├── RegistryUnauthorized    also an Unauthenticated
        └── RegistryUnavailable     also an Unavailable
"""

from __future__ import annotations

from .printable import MAX_MESSAGE, printable


class ContainerdError(Exception):
    """The base class of all errors that this package raises on purpose.

    ``str(error)`` contains the operation, the message, the address and the remedy. It is one line
    of printable characters, even if a part of it comes from a daemon or a registry. Errors can be
    pickled.

    Attributes:
        raw_message: The message as it was given. It can contain control characters.
        operation: The call that failed, such as ``"Images.Get"``, or ``""``.
        address: The address of the daemon or the registry without credentials, or ``""``.
        remedy: A sentence that says what the caller can do to solve the problem, or ``""``.
        details: The details of the ``google.rpc.Status``, as pairs of a type URL and bytes.
        joined: Other errors that the daemon sent in the same status.
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
        self.message = message
        super().__init__(self.message)
        self.operation = operation
        self.address = address
        self.remedy = remedy
        self.details = details
        self.joined: tuple[ContainerdError, ...] = ()

    @property
    def message(self) -> str:
        """A text that says what failed, on which object, and why.

        The text is printable, and has at most 4096 characters.
        """
        return self._message

    @message.setter
    def message(self, text: str) -> None:
        self.raw_message = text
        self._message = printable(text, MAX_MESSAGE)

    def __str__(self) -> str:
        text = f"{self.operation}: {self.message}" if self.operation else self.message
        if self.address:
            text += f" [{self.address}]"
        return printable(f"{text}. {self.remedy}" if self.remedy else text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r})"


class Unknown(ContainerdError):
    """The peer reported an error without a more specific error code."""


class InvalidArgument(ContainerdError, ValueError):
    """The request is invalid, whatever the state of the system is."""


class NotFound(ContainerdError):
    """The object does not exist."""


class AlreadyExists(ContainerdError):
    """An object with this name already exists."""


class PermissionDenied(ContainerdError):
    """The caller has no permission for the operation."""


class ResourceExhausted(ContainerdError):
    """A quota, a disk or a size limit is exhausted."""


class FailedPrecondition(ContainerdError):
    """The state of the object does not permit the operation."""


class Conflict(FailedPrecondition):
    """Another client changed the object at the same time."""


class NotModified(FailedPrecondition):
    """The object already has the requested state."""


class Aborted(ContainerdError):
    """The operation was aborted. The caller can retry the operation."""


class OutOfRange(ContainerdError):
    """An offset or a size is outside the object."""


class Unimplemented(ContainerdError):
    """The daemon does not implement this method."""


class Internal(ContainerdError):
    """The peer reports an internal error."""


class Unavailable(ContainerdError):
    """The daemon is unreachable, or cannot serve the request now."""


class DataLoss(ContainerdError):
    """Content is corrupt or lost."""


class Unauthenticated(ContainerdError):
    """The peer requires valid credentials."""


class Cancelled(ContainerdError):
    """The caller or the peer cancelled the call.

    Attributes:
        stdout: What the cancelled process of ``run`` or ``exec`` wrote to its stdout, if the output
            was captured.
        stderr: The same for stderr.
    """

    stdout = b""
    stderr = b""


class DeadlineExceeded(ContainerdError, TimeoutError):
    """The operation did not finish before its deadline.

    Attributes:
        stdout: What the process of ``run`` or ``exec`` wrote to its stdout until the deadline, if
            the output was captured.
        stderr: The same for stderr.
    """

    stdout = b""
    stderr = b""


class ProtocolError(ContainerdError):
    """The peer or this client violated HTTP/2 or gRPC.

    ``remote`` is true if the peer caused the violation.
    """

    def __init__(self, message: str = "", *, remote: bool = True, **parts: str) -> None:
        super().__init__(message, **parts)  # type: ignore[arg-type]
        self.remote = remote


class SocketNotFound(Unavailable):
    """The socket file does not exist."""


class ConnectionRefused(Unavailable):
    """The address refuses connections, because no process listens on it."""


class ConnectionLost(Unavailable):
    """The connection ended during the call. It is unknown whether the daemon executed the call."""


class SocketPermissionDenied(PermissionDenied):
    """The socket exists, but this user has no permission to open it."""


class SignatureError(PermissionDenied):
    """A policy does not accept an image.

    Attributes:
        rejected: For each signature and attestation that was looked at: where it was found, and
            why it does not count.
    """

    def __init__(
        self, message: str = "", *, rejected: tuple[tuple[str, str], ...] = (), **parts: str
    ) -> None:
        super().__init__(message, **parts)  # type: ignore[arg-type]
        self.rejected = rejected


class Unsigned(SignatureError):
    """The image has no signature, but the policy requires signatures."""


class Untrusted(SignatureError):
    """The image has signatures, but not the signatures that the policy requires."""


class SignaturesUnavailable(SignatureError):
    """The registry failed, so it is unknown whether the image has signatures."""


class NoMatchingPlatform(NotFound):
    """An index lists no manifest for the requested platform."""


class DigestMismatch(DataLoss):
    """Content does not match its digest."""


class SizeMismatch(DataLoss):
    """Content is shorter or longer than its descriptor says."""


class DiffIDMismatch(DigestMismatch):
    """An unpacked layer does not match its diff ID in the image config."""


class ProcessFailed(ContainerdError):
    """A container's process ended with an exit code other than 0, and the caller set ``check``.

    Attributes:
        exit_code: The exit code, or ``None`` if the daemon does not know it.
        stdout: The captured standard output.
        stderr: The captured standard error.
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
    """A registry sent an error or an invalid response.

    Attributes:
        status: The HTTP status, or 0 if the registry sent no status.
        codes: Error codes of the distribution-spec, such as ``"MANIFEST_UNKNOWN"``.
    """

    def __init__(
        self, message: str = "", *, status: int = 0, codes: tuple[str, ...] = (), **parts: str
    ) -> None:
        super().__init__(message, **parts)  # type: ignore[arg-type]
        self.status = status
        self.codes = codes


class RegistryNotFound(RegistryError, NotFound):
    """The registry does not have this repository, manifest or blob."""


class RegistryUnauthorized(RegistryError, Unauthenticated):
    """The registry rejected the credentials, or requires credentials."""


class RegistryUnavailable(RegistryError, Unavailable):
    """The registry is unreachable, or cannot serve the request now.

    ``retry_after`` is the number of seconds in the response's ``Retry-After`` header, or ``None``.
    """

    retry_after: float | None = None


#: The error class for each gRPC status code (grpc's statuscodes.md). Code 0 means OK.
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
    """Return whether ``error`` says that the daemon is down or restarting."""
    return isinstance(error, ConnectionLost | ConnectionRefused | SocketNotFound)

"""Status to exception, by containerd's errgrpc: classes, details, errors that were joined."""

from __future__ import annotations

import pickle

import pytest

from containerd_lite import errors
from containerd_lite.cli import exit_code
from containerd_lite.deadline import Deadline
from containerd_lite.errors import (
    ContainerdError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unknown,
)
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._status import translated
from containerd_lite.transport.stream import UNDECODED, error_of
from containerd_lite.wire.metadata import Status

pytestmark = pytest.mark.backend

STATUS = CONTAINERD.message("google.rpc.Status")


def status(code: int, message: str = "", *details: dict[str, object]) -> bytes:
    data: bytes = STATUS(code=code, message=message, details=details).SerializeToString()
    return data


def also(code: int, message: str = "", *details: dict[str, object]) -> dict[str, object]:
    value = status(code, message, *details)
    return {"type_url": "type.googleapis.com/google.rpc.Status", "value": value}


def came(code: int, message: str, details: bytes = b"") -> ContainerdError:
    """The error of a call that ended so."""
    return translated(error_of("/a.B/C", Status(code, message, details), Deadline(None), "unix:x"))


#: Every code of gRPC (statuscodes.md), and what becomes of it.
@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (1, "context canceled", errors.Cancelled),
        (2, "what", errors.Unknown),
        (2, "unexpected status 404", errors.Unknown),
        (3, "name: invalid argument", errors.InvalidArgument),
        (4, "context deadline exceeded", errors.DeadlineExceeded),
        (5, "x: not found", errors.NotFound),
        (6, "x: already exists", errors.AlreadyExists),
        (7, "x: permission denied", errors.PermissionDenied),
        (8, "x: resource exhausted", errors.ResourceExhausted),
        (9, "x: failed precondition", errors.FailedPrecondition),
        (9, "conflict", errors.Conflict),
        (9, "update x: conflict", errors.Conflict),
        (9, "not modified", errors.NotModified),
        (9, "labels: not modified", errors.NotModified),
        (9, "a conflict of interest", errors.FailedPrecondition),
        (9, "the conflict", errors.FailedPrecondition),
        (9, "", errors.FailedPrecondition),
        (10, "x: aborted", errors.Aborted),
        (10, "x: conflict", errors.Aborted),
        (11, "x: out of range", errors.OutOfRange),
        (12, "unknown method", errors.Unimplemented),
        (13, "x: internal", errors.Internal),
        (14, "x: unavailable", errors.Unavailable),
        (15, "x: data loss", errors.DataLoss),
        (16, "x: unauthenticated", errors.Unauthenticated),
        (17, "of the future", errors.Unknown),
        (999_999, "", errors.Unknown),
    ],
)
def test_every_code(code: int, message: str, kind: type[ContainerdError]) -> None:
    error = came(code, message, status(code, message, also(code, message)))
    assert type(error) is kind
    assert (error.operation, error.address) == ("B.C", "unix:x")
    assert error.message == (message or "FailedPrecondition" if code == 9 else message or "Unknown")
    assert [type(one) for one in error.joined] == [kind]
    assert isinstance(error, TimeoutError) == (code == 4)


def test_details_stay_as_they_are() -> None:
    details: tuple[dict[str, object], ...] = (
        {"type_url": "a.B", "value": b"x"},
        {"type_url": "type.googleapis.com/google.rpc.RetryInfo", "value": b""},
        {"type_url": "google.rpc.Status", "value": b"\xff\xff"},  # is none
    )
    error = came(9, "no", status(9, "no", *details))
    assert error.details == (
        ("a.B", b"x"),
        ("google.rpc.RetryInfo", b""),
        ("google.rpc.Status", b"\xff\xff"),
    )
    assert error.joined == ()


def test_errors_that_were_joined() -> None:
    """errors.Join of three on the daemon's side, the last of them with one of its own."""
    inner = also(9, "b: conflict", also(5, "c: not found"), {"type_url": "d.E", "value": b"f"})
    error = came(3, "a", status(3, "a", also(8, "x"), inner))
    first, second = error.joined
    assert (type(first), first.message) == (errors.ResourceExhausted, "x")
    assert (type(second), second.message) == (errors.Conflict, "b: conflict")
    assert second.details == (("d.E", b"f"),)
    (third,) = second.joined
    assert (type(third), third.message, third.operation) == (errors.NotFound, "c: not found", "B.C")
    again = pickle.loads(pickle.dumps(error))
    assert [one.message for one in again.joined[1].joined] == ["c: not found"]


def test_broken_details_hide_nothing() -> None:
    error = came(9, "no", b"\xff\xff\xff")
    assert (error.message, error.details, error.joined) == ("no", (), ())


def test_joining_has_bounds() -> None:
    deep = status(5, "bottom")
    for _ in range(50):
        deep = status(5, "x", {"type_url": "google.rpc.Status", "value": deep})
    error, depth = came(5, "x", deep), 0
    while error.joined:
        (error,), depth = error.joined, depth + 1
    assert depth == 8
    assert error.details[0][0] == "google.rpc.Status"
    wide = came(5, "x", status(5, "x", *(also(5) for _ in range(500))))
    assert len(wide.joined) == 100


def test_what_was_decoded_stays() -> None:
    error = FailedPrecondition("no", details=(("a.B", b"x"),))
    assert translated(error) is error
    assert error.details == (("a.B", b"x"),)
    assert UNDECODED not in dict(error.details)


# ---- a process that cannot start ---------------------------------------------------------------

_NO_RUNTIME = "failed to start shim: failed to resolve runtime path: "
_RUNC = "failed to create shim task: OCI runtime create failed: runc create failed: "
_START = f"{_RUNC}unable to start container process: "


@pytest.mark.parametrize(
    ("operation", "message", "kind", "code"),
    [
        ("Create", f'{_START}exec: "x": executable file not found in $PATH', NotFound, 127),
        ("Create", f'{_START}exec: "/x": stat /x: no such file or directory', NotFound, 127),
        (
            "Start",
            "OCI runtime exec failed: exec failed: unable to start container process: exec: "
            '"x": executable file not found in $PATH: unknown',
            NotFound,
            127,
        ),
        (
            "Create",
            'container_linux.go:380: starting container process caused: exec: "x": executable '
            "file not found in $PATH: unknown",
            NotFound,
            127,
        ),
        ("Create", "crun: executable file `x` not found in $PATH", NotFound, 127),
        ("Create", f'{_START}exec: "/x": permission denied', FailedPrecondition, 126),
        ("Create", f"{_START}exec /x: exec format error", FailedPrecondition, 126),
        ("Exec", "cannot exec in a stopped state: unknown", FailedPrecondition, 125),
        ("Exec", "cannot exec in a paused state", FailedPrecondition, 125),
        ("Pause", "cannot pause a stopped container: unknown", FailedPrecondition, 125),
        ("Resume", "cannot resume a running process", FailedPrecondition, 125),
        ("Create", f"{_NO_RUNTIME}invalid runtime name x, correct ...", InvalidArgument, 125),
        ("Create", f'{_NO_RUNTIME}runtime "a.b" binary not installed', NotFound, 125),
        (
            "Create",
            f'{_START}error during container init: error mounting "/x" to rootfs at "/y": '
            "stat /x: no such file or directory",
            Unknown,
            125,
        ),
        (
            "Create",
            'fork/exec: exec: "/x/runc": stat /x/runc: no such file or directory',
            Unknown,
            125,
        ),
        ("Create", f'{_START}chdir to cwd ("/x") failed: permission denied', Unknown, 125),
        ("Kill", f'{_START}exec: "x": executable file not found in $PATH', Unknown, 125),
    ],
)
def test_a_process_that_cannot_start(
    operation: str, message: str, kind: type[ContainerdError], code: int
) -> None:
    error = of(f"Tasks.{operation}", 2, message)
    assert type(error) is kind
    assert error.message == message
    assert bool(error.remedy) == (kind is not Unknown)
    assert exit_code(error, "run") == exit_code(error, "exec") == code


# ---- a full disk -------------------------------------------------------------------------------


def of(operation: str, code: int, message: str) -> ContainerdError:
    path = f"/containerd.services.x.v1.{operation.replace('.', '/')}"
    return translated(error_of(path, Status(code, message), Deadline(None), "unix:x"))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ("Content.Write", "write /r/ingest/4d/data: no space left on device"),
        ("Content.Write", "write /r/ingest/4d/data: disk quota exceeded"),
        ("Diff.Apply", "mount callback failed on /t/m1: write /t/m1/big: no space left on device"),
        ("Snapshots.Prepare", "commit failed: write /r/metadata.db: no space left on device"),
        (
            "Transfer.Transfer",
            "failed to extract: write /x: no space left on device: unknown",
        ),
        ("Images.Create", "write /r/meta.db: no space left on device"),
    ],
)
def test_a_full_disk_of_the_daemon(operation: str, message: str) -> None:
    error = of(operation, 2, message)
    assert type(error) is errors.ResourceExhausted
    assert (error.message, error.operation, error.address) == (message, operation, "unix:x")
    assert "Free disk space on the daemon's machine" in str(error)


@pytest.mark.parametrize(
    ("operation", "code", "message"),
    [
        # runc says so of cgroups and of inotify, not of a disk.
        ("Tasks.Create", 2, "runc: write cpuset.tasks: no space left on device: unknown"),
        ("Controller.Start", 2, "inotify_add_watch: no space left on device"),
        # A name that an image has chosen is not at the end.
        ("Diff.Apply", 2, "mkdir /m/a: no space left on device/b: permission denied"),
        ("Diff.Apply", 2, "mkdir /m/no space left on device"),
        ("Content.Write", 5, "x: no space left on device"),
        ("Content.Write", 2, "there is no space left on device"),
    ],
)
def test_what_is_no_full_disk_of_the_daemon(operation: str, code: int, message: str) -> None:
    assert type(of(operation, code, message)) is not errors.ResourceExhausted

"""Child processes whose run time and output are limited."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import NamedTuple

from .deadline import Deadline
from .errors import DeadlineExceeded, ResourceExhausted, Unknown
from .interrupt import check

#: Maximum number of bytes to read from a pipe at once.
_CHUNK = 64 << 10
#: Seconds between two checks whether the caller's operation was interrupted.
_CHECK_INTERVAL = 0.1


class Ended(NamedTuple):
    """The result of a program. If a signal killed the program, ``code`` is negative."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def how(self) -> str:
        """The end of the program as text, such as ``exit code 1`` or ``signal 9``."""
        return f"exit code {self.code}" if self.code >= 0 else f"signal {-self.code}"


def run_child(
    argv: Sequence[str],
    what: str,
    *,
    input: bytes,
    environment: Mapping[str, str],
    deadline: Deadline,
    max_output: int,
    kept_stderr: int = 0,
    folder: str | None = None,
) -> Ended:
    """Run a program, and wait until it ends.

    Args:
        argv: The absolute path of the program, and its arguments. The program is started without a
            shell.
        what: The name of the program in error messages.
        input: The bytes for the program's standard input.
        environment: All environment variables of the program.
        deadline: The time at which the program and its process group are killed.
        max_output: Maximum number of bytes of standard output. A program that writes more is
            killed.
        kept_stderr: Maximum number of bytes of standard error to return. Further bytes are
            discarded.
        folder: The working directory of the program. Default: the working directory of this
            process.

    Raises:
        Cancelled: The caller's operation was interrupted. The program was killed.
        Unknown: The program cannot be started.
        DeadlineExceeded: The program did not end before the deadline.
        ResourceExhausted: The program wrote more than ``max_output`` bytes to standard output.
    """
    try:
        child = Popen(
            argv,
            bufsize=0,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE if kept_stderr else DEVNULL,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    except OSError as error:
        raise Unknown(f"{what} cannot be started ({error.strerror})") from None
    try:
        with child, _group_killed_at_end(child):
            stdout, stderr = _communicate(
                child, what, input, deadline, max_output=max_output, kept_stderr=kept_stderr
            )
            code = _wait(child, deadline)
    except TimeoutExpired:
        raise DeadlineExceeded(f"{what} did not end in time") from None
    return Ended(code, stdout, stderr)


def _wait(child: Popen[bytes], deadline: Deadline) -> int:
    """Wait for the end of a program that has closed its outputs, and return its exit code."""
    while True:
        try:
            return child.wait(deadline.sooner(_CHECK_INTERVAL).remaining())
        except TimeoutExpired:
            check()
            if deadline.expired:
                raise


@contextmanager
def _group_killed_at_end(child: Popen[bytes]) -> Iterator[None]:
    """If the program still runs when the block ends, kill its process group."""
    try:
        yield
    finally:
        # No other process group can have this number, because the child was not waited for yet.
        if child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


def _communicate(
    child: Popen[bytes],
    what: str,
    input: bytes,
    deadline: Deadline,
    *,
    max_output: int,
    kept_stderr: int,
) -> tuple[bytes, bytes]:
    """Write the input of a program, and read its outputs until the program has closed them."""
    assert child.stdin is not None  # because of stdin=PIPE
    os.set_blocking(child.stdin.fileno(), False)
    left, stdout, stderr = memoryview(input), bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdin, selectors.EVENT_WRITE)
        for pipe in filter(None, (child.stdout, child.stderr)):
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(deadline.sooner(_CHECK_INTERVAL).remaining())
            check()
            if deadline.expired:
                raise TimeoutExpired(child.args, 0)
            for key, _ in ready:
                if key.fileobj is child.stdin:
                    left = _write_input(key.fd, left)
                    if not left:
                        selector.unregister(child.stdin)
                        child.stdin.close()
                    continue
                part = os.read(key.fd, _CHUNK)
                if not part:
                    selector.unregister(key.fileobj)
                elif key.fileobj is child.stdout:
                    stdout += part
                else:
                    stderr += part[: kept_stderr - len(stderr)]
            if len(stdout) > max_output:
                raise ResourceExhausted(f"{what} wrote more than {max_output} bytes")
    return bytes(stdout), bytes(stderr)


def _write_input(descriptor: int, input: memoryview) -> memoryview:
    """Write a part of ``input``, and return the unwritten rest.

    If the program has closed its standard input, return an empty view.
    """
    try:
        return input[os.write(descriptor, input) :]
    except BrokenPipeError:
        return input[:0]

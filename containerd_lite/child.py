"""Child processes with bounds on their time and output."""

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

#: Bytes to read from a pipe at a time.
_CHUNK = 64 << 10


class Ended(NamedTuple):
    """The result of a program; ``code`` is negative if a signal killed it."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def how(self) -> str:
        """``exit code 1``, or ``signal 9``."""
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
    """Run a program to its end.

    Args:
        argv: The absolute path of the program, and its arguments. No shell is involved.
        what: The name of the program in errors.
        input: Its standard input.
        environment: All of its environment variables.
        deadline: When to kill it, with all processes of its group.
        max_output: Bytes of standard output after which it is killed.
        kept_stderr: Bytes of standard error to keep; the rest is discarded.
        folder: Its working directory. Default: this process's.

    Raises:
        Unknown: The program cannot be started.
        DeadlineExceeded: The program did not end in time.
        ResourceExhausted: The program wrote more than ``max_output``.
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
        with child, _killed_with_its_group(child):
            stdout, stderr = _exchange(
                child, what, input, deadline, max_output=max_output, kept_stderr=kept_stderr
            )
            code = child.wait(deadline.remaining())
    except TimeoutExpired:
        raise DeadlineExceeded(f"{what} did not end in time") from None
    return Ended(code, stdout, stderr)


@contextmanager
def _killed_with_its_group(child: Popen[bytes]) -> Iterator[None]:
    """Kill the program and its process group if it still runs when the block ends."""
    try:
        yield
    finally:
        # No other group can have this number yet: the child has not been waited for.
        if child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


def _exchange(
    child: Popen[bytes],
    what: str,
    input: bytes,
    deadline: Deadline,
    *,
    max_output: int,
    kept_stderr: int,
) -> tuple[bytes, bytes]:
    """Write a program's input and read its outputs, until it has closed them."""
    assert child.stdin is not None  # it was asked for
    os.set_blocking(child.stdin.fileno(), False)
    left, stdout, stderr = memoryview(input), bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdin, selectors.EVENT_WRITE)
        for pipe in filter(None, (child.stdout, child.stderr)):
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(deadline.remaining())
            if deadline.expired:
                raise TimeoutExpired(child.args, 0)
            for key, _ in ready:
                if key.fileobj is child.stdin:
                    left = _feed(key.fd, left)
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


def _feed(descriptor: int, input: memoryview) -> memoryview:
    """Write a part of ``input`` and return the rest: nothing if the program closed its stdin."""
    try:
        return input[os.write(descriptor, input) :]
    except BrokenPipeError:
        return input[:0]

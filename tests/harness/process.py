"""Child processes of the harness: bounded commands, and services with a log and a deadline.

Nothing here knows what it runs. Every wait has a bound, every child is waited for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import Unavailable

POLL = 0.02
"""Seconds between two looks at a condition."""


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, whatever its exit code, for at most `timeout` seconds.

    A terminal's Ctrl-C does not reach it: the owner, who gets it, may just be cleaning up.

    Raises `Unavailable` when the program is not there or does not end in time.
    """
    try:
        return subprocess.run(
            argv,
            capture_output=True,
            timeout=timeout,
            env=env,
            cwd=cwd,
            input=input or b"",
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise Unavailable(f"{argv[0]} is not on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{argv[0]} did not end within {timeout:g} s") from error


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Look at a condition until it holds; false when `timeout` seconds pass first."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL)
    return True


class Service:
    """A child that serves until it is stopped, in a session of its own, writing to a log file.

    The session keeps a terminal's Ctrl-C away from it, so that the owner can still clean up.
    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path
    ) -> None:
        """Start the child, its output added to `log`."""
        self.log = log
        self._begin = log.stat().st_size if log.exists() else 0
        with log.open("ab") as sink:
            self._child = subprocess.Popen(
                argv,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The child's process id, which is its session's and process group's too."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child has not ended."""
        return self._child.poll() is None

    def wait_ready(self, ready: Callable[[], bool], timeout: float) -> bool:
        """Wait until `ready()`; false when the child ends or `timeout` seconds pass first."""
        wait_until(lambda: not self.running or ready(), timeout)
        return self.running and ready()

    def tail(self, lines: int = 20) -> str:
        """Return the last lines that this child wrote."""
        with self.log.open("rb") as source:
            source.seek(max(self._begin, self.log.stat().st_size - (64 << 10)))
            text = source.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop(self, timeout: float = 15.0) -> None:
        """Ask the child to end, insist after `timeout` seconds, and wait for it."""
        if self.running:
            self._child.terminate()
            try:
                self._child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End the child with SIGKILL, which it cannot answer, and wait for it."""
        if self.running:
            self._child.kill()
        self._child.wait()

    def kill_group(self) -> None:
        """End the child and every helper that is still in its process group."""
        self.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

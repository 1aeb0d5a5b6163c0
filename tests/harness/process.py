"""Child processes of the harness: commands with a timeout, and services with a log.

Every wait has a timeout, and every child is reaped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import Unavailable

POLL = 0.02
"""Seconds between two checks of a condition."""


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command for at most `timeout` seconds, and accept every exit code.

    Ctrl-C in a terminal does not reach the command, which may be part of the caller's clean-up.

    Raises `Unavailable` if the program is missing or does not end in time.
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
    """Wait until a condition holds; return false if `timeout` seconds pass first."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL)
    return True


def free_port() -> int:
    """Return a port of the loopback that is free now; another process may take it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """A child that serves until `stop`, in a session of its own, with its output in a log file.

    Ctrl-C in a terminal does not reach that session, so that the owner can clean up first.
    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path
    ) -> None:
        """Start the child, and append its output to `log`."""
        self.log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                argv,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The child's process ID, which is also the ID of its session and process group."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child still runs."""
        return self._child.poll() is None

    def wait_ready(self, ready: Callable[[], bool], timeout: float) -> bool:
        """Wait until `ready()`; return false if the child ends or `timeout` seconds pass first."""
        wait_until(lambda: not self.running or ready(), timeout)
        return self.running and ready()

    def tail(self, lines: int = 20) -> str:
        """Return the last lines that this child wrote."""
        with self.log.open("rb") as file:
            file.seek(max(self._log_start, self.log.stat().st_size - (64 << 10)))
            text = file.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop(self, timeout: float = 15.0) -> None:
        """Send SIGTERM to the child, kill it after `timeout` seconds, and wait for it."""
        if self.running:
            self._child.terminate()
            try:
                self._child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End the child with SIGKILL, and wait for it."""
        if self.running:
            self._child.kill()
        self._child.wait()

    def kill_group(self) -> None:
        """Kill the child and every process that is still in its process group."""
        self.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

"""A proxy in front of a registry that limits the speed of each connection.

    python -m benchmarks.slow_line HOST:PORT BYTES_A_SECOND

listens on a port of the loopback, and prints the port. ``slow_line`` starts this process.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 64 << 10
#: The most seconds for which a connection that was idle may catch up.
_CATCH_UP = 0.2


@contextmanager
def slow_line(host: str, rate: float) -> Iterator[str]:
    """Yield the address of a proxy to ``host`` with ``rate`` bytes per second per connection."""
    command = [sys.executable, "-m", "benchmarks.slow_line", host, str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def _copy(source: socket.socket, target: socket.socket, rate: float) -> None:
    """Copy bytes until the source ends. A rate of 0 means no limit."""
    start, sent = time.monotonic(), 0
    with suppress(OSError):
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
            sent += len(chunk)
            ahead = sent / rate - (time.monotonic() - start) if rate else 0
            if ahead > 0:
                time.sleep(ahead)
            elif ahead < -_CATCH_UP:
                start, sent = time.monotonic(), 0
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def main() -> None:
    name, port = sys.argv[1].split(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            near, _ = listener.accept()
            far = socket.create_connection((name, int(port)), 10)
            far.settimeout(None)
            for ends in ((near, far, 0.0), (far, near, float(sys.argv[2]))):
                threading.Thread(target=_copy, args=ends, daemon=True).start()


if __name__ == "__main__":
    main()

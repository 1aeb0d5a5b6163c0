"""A proxy before a registry that gives each connection only so much: a line to far away.

    python -m benchmarks.slow_line HOST:PORT BYTES_A_SECOND

prints the port that it listens on, on the loopback.  What lives here: that, and starting it.  What
may not: what is measured.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE = 64 << 10
#: Seconds that a line may be behind, for want of anything to carry, before it is not caught up on.
_LATE = 0.2


@contextmanager
def slow_line(host: str, rate: float) -> Iterator[str]:
    """A host and port that lead to ``host``, with ``rate`` bytes a second a connection."""
    command = [sys.executable, "-m", "benchmarks.slow_line", host, str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def _carry(source: socket.socket, target: socket.socket, rate: float) -> None:
    """Until the end; a rate of 0 is none."""
    begun, carried = time.monotonic(), 0
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
            carried += len(piece)
            ahead = carried / rate - (time.monotonic() - begun) if rate else 0
            if ahead > 0:
                time.sleep(ahead)
            elif ahead < -_LATE:
                begun, carried = time.monotonic(), 0
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
                threading.Thread(target=_carry, args=ends, daemon=True).start()


if __name__ == "__main__":
    main()

"""End calls that take too long: by a time limit, by a token, and by a signal."""

import signal
import sys
import threading

from containerd_lite import Cancelled, CancelToken, Client, DeadlineExceeded

image = sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest"
token = CancelToken()
signal.signal(signal.SIGTERM, lambda number, frame: token.cancel())

with Client() as client:
    client.pull(image, timeout=300, cancel=token)
    try:
        client.run(image, ["sh", "-c", "echo working; sleep 1000"], timeout=1)
    except DeadlineExceeded as error:
        print("too slow, but it said:", error.stdout.decode().strip())

    threading.Timer(0.5, signal.raise_signal, [signal.SIGTERM]).start()
    try:
        client.run(image, ["sleep", "1000"], cancel=token)
    except Cancelled:
        print("stopped by SIGTERM; containers left:", len(client.containers()))

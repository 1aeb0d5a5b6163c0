"""Follow the log of a service with times, then read the end of it."""

import sys

from containerd_lite import Client

image = sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest"
command = ["sh", "-c", "echo ready; sleep 0.2; echo failed >&2; echo done"]

with Client() as client, client.run(image, command, detach=True, pull="missing") as service:
    for line in service.logs(lines=True, timestamps=True, follow=True, timeout=60):
        print(f"{line.time:%H:%M:%S} {line.stream}: {line.data.decode()}")
    print(b"".join(service.logs(tail=1, since=60)).decode(), end="")

"""Serve on a port of this machine from a container on the default bridge, and see its traffic."""

import sys
from urllib.request import urlopen

from containerd_lite import Client

image = sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest"
until_ready = ["sh", "-c", "until nc 127.0.0.1 80 </dev/null; do sleep 0.1; done"]

with (
    Client() as client,
    client.run(
        image,
        ["httpd", "-f", "-h", "/etc"],
        detach=True,
        pull="missing",
        network="bridge",  # made at its first use; Network.remove_bridge() removes it
        ports=["8080:80"],
        hostname="web",
        dns=["192.0.2.53"],
        extra_hosts={"db": "192.0.2.7", "machine": "host-gateway"},
    ) as web,
):
    web.exec(until_ready, timeout=20)
    for name in ("hosts", "resolv.conf"):
        with urlopen(f"http://127.0.0.1:8080/{name}", timeout=20) as answer:
            print(answer.read().decode())
    if traffic := web.task().stats().network:  # None if the daemon is on another machine
        print("received", traffic.rx_bytes, "bytes, sent", traffic.tx_bytes)
    web.stop(timeout=1)  # httpd ignores SIGTERM

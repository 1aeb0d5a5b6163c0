"""Say once how to reach registries: credentials, TLS and a limit on the bandwidth."""

import os
import sys

from containerd_lite import Client, Credentials, RegistryOptions

image = sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest"


def credentials(host: str) -> Credentials | None:
    """Return the credentials for a registry; None means anonymous access."""
    password = os.environ.get("REGISTRY_PASSWORD")
    return Credentials("robot", password) if password else None


options = RegistryOptions(credentials=credentials, max_rate=100 << 20)
with Client(registry=options) as client:
    pulled = client.pull(image)
    print(f"pulled {pulled.name}")
    copy = f"{pulled.name}-copy"
    client.push(copy, pulled, credentials=("robot", "another password"))
    print(f"pushed {copy}")

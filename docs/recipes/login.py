"""Log in to a registry, pull an image with the stored credentials, and log out."""

import os
import sys

from containerd_lite import Client, Reference, RegistryUnauthorized, login, logout

image = sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest"
registry = Reference.parse(image).host

try:
    login(registry, os.environ["REGISTRY_USER"], os.environ["REGISTRY_TOKEN"], timeout=30)
except RegistryUnauthorized as error:
    sys.exit(str(error))
with Client() as client:
    print("pulled", client.pull(image).name)
print("removed the credentials:", logout(registry))

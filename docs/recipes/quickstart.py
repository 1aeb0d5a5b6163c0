"""The first steps with docker-py, done with this package in the same order.

The comments are the program of docker-py.
"""

import sys

from containerd_lite import Client

image = sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest"
command = ["sh", "-c", "trap 'exit 0' TERM; echo started; while :; do sleep 0.1; done"]

# client = docker.from_env()
client = Client()

# print(client.containers.run(image, ["echo", "hello world"], remove=True))
print(client.run(image, ["echo", "hello world"], pull="missing", check=True).stdout)

# started = client.containers.run(image, command, detach=True)
started = client.run(image, command, detach=True)

# print(client.containers.list())
print(client.ps())

# container = client.containers.get(started.id)
container = client.load_container(started.id)

# print(container.attrs["Config"]["Image"])
print(container.info.image)

# print(container.logs())
print(b"".join(container.logs()))

# container.stop(timeout=5)
container.stop(timeout=5)

# for line in container.logs(stream=True):
#     print(line.strip())
for line in container.logs(lines=True):
    print(line.data)

# container.remove()
container.delete()

# client.images.pull(image)
client.pull(image)

# print(client.images.list())
print(client.list_images())

# client.close()
client.close()

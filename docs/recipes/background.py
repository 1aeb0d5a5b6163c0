"""Run a service in the background, look at it, restart it and stop it."""

import sys

from containerd_lite import Client

image = sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest"

with Client() as client:
    command = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    service = client.run(image, command, detach=True, pull="missing", labels={"app": "demo"})
    with service:  # stops and deletes the container at the end
        for each in client.ps('labels."app"==demo'):
            print(f"{each.id} runs {' '.join(each.command)!r} as {each.pid}: {each.status}")
        service.pause()
        print("paused:", service.status)
        service.resume()
        service.restart(timeout=5)
        service.stop(timeout=5)
        print("stopped with", service.exit_code)

"""Run a service in the background, look at it, restart it and stop it."""

import sys

from containerd_lite import Client

image = sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest"
command = ["sh", "-c", "trap 'rm /ready; exit 0' TERM; touch /ready; while :; do sleep 0.1; done"]
until_ready = ["sh", "-c", "until [ -e /ready ]; do sleep 0.1; done"]

with Client() as client:
    service = client.run(image, command, detach=True, pull="missing", labels={"app": "demo"})
    with service:  # stops and deletes the container at the end
        service.exec(until_ready, timeout=20)
        for each in client.ps('labels."app"==demo'):
            print(f"{each.id} runs {' '.join(each.command)!r} as {each.pid}: {each.status}")
        service.pause()
        print("paused:", service.status)
        service.resume()
        service.restart(timeout=20)
        service.exec(until_ready, timeout=20)
        service.stop(timeout=20)
        print("stopped with", service.exit_code)

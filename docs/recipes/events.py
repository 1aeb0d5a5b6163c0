"""Watch how containers end, also across a restart of the daemon."""

import sys

from containerd_lite import Client, Gap, TaskExit

image = sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest"

with (
    Client() as client,
    client.subscribe(
        type=TaskExit, namespace=client.namespace, timeout=60, reconnect=True
    ) as events,
):
    events.wait_until_subscribed()  # containerd sends no events of the past
    client.run(image, ["sh", "-c", "exit 3"], pull="missing")
    for event in events:
        if isinstance(event.event, TaskExit):
            print("a process ended with", event.event.exit_status)
            break
        if isinstance(event.event, Gap):
            print("events were lost from", event.event.since, "to", event.event.until)

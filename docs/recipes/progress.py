"""Show the progress of a pull: as bars or as lines in a log, or by a function of your own."""

import logging
import sys

from containerd_lite import Client, ProgressEvent, log_progress, rich_progress

image = sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest"
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")


def show(event: ProgressEvent) -> None:
    if event.stage == "waiting":  # the manifest that names this blob has been read
        print(f"{event.name[:19]} has {event.total} bytes")
    if event.overall.total is not None and event.overall.total > 10 << 30:
        raise OverflowError("more than 10 GiB")  # ends the pull, which raises the same error
    if event.stage == "done":
        print(f"all done: {event.overall}")


# rich_progress() needs the package rich, and tqdm_progress() needs tqdm.
display = rich_progress() if sys.stderr.isatty() else log_progress()
with Client() as client:
    with display as progress:
        client.pull(image, progress=progress)
    client.pull(image, progress=show)

"""Run a command with limits and with a folder of the host, and read its output."""

import sys
import tempfile
from pathlib import Path

from containerd_lite import Client, ProcessFailed

image = sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest"

with Client() as client, tempfile.TemporaryDirectory() as folder:
    Path(folder, "input").write_text("one\ntwo\n")
    try:
        done = client.run(
            image,
            ["wc", "-l", "/data/input"],
            pull="missing",
            check=True,
            timeout=60,
            memory="64m",
            cpus=0.5,
            mounts=[f"{folder}:/data:ro"],
        )
    except ProcessFailed as error:
        sys.exit(f"{error}: {error.stderr!r}")
    print(done.stdout.decode())

"""Run several jobs side by side, and handle each as soon as it ends."""

import sys

from containerd_lite import Client

image = sys.argv[1] if len(sys.argv) > 1 else "docker.io/library/busybox:latest"

with Client() as client:
    jobs = {
        client.run(image, ["sh", "-c", f"sleep 0.{n}; exit {n}"], detach=True, pull="missing"): n
        for n in (3, 1, 2)
    }
    while jobs:
        job, ended = client.wait_any(jobs, timeout=60)
        print(f"job {jobs.pop(job)} ended with {ended.exit_status}")
        job.delete()

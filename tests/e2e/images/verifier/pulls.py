"""Pulls that the daemon does: for ctr, for this client, and for the CRI."""

from __future__ import annotations

import subprocess

import pytest

from containerd_lite import Client
from containerd_lite.errors import ContainerdError
from tests.harness import Unavailable, golang
from tests.harness.daemon import Daemon

_SECONDS = 30


def pull_by_ctr(daemon: Daemon, ref: str) -> str:
    """Pull an image; return what the program says about a failure, or an empty string."""
    done = daemon.ctr("images", "pull", "--plain-http", ref, check=False)
    return done.stderr.decode() if done.returncode else ""


def pull_by_client(daemon: Daemon, ref: str) -> str:
    with Client(daemon.address, namespace=daemon.namespace) as client:
        try:
            client.pull(ref, unpack=False, via="daemon")
        except ContainerdError as error:
            return str(error)
        return ""


def pull_by_cri(daemon: Daemon, ref: str) -> str:
    try:
        program = golang.program(golang.CRICTL, "crictl")
    except Unavailable as reason:
        pytest.skip(str(reason))
    endpoints = [f"--{kind}-endpoint={daemon.address}" for kind in ("runtime", "image")]
    argv = [str(program), "--config=/dev/null", *endpoints, "--timeout=25s", "pull", ref]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS)
    return done.stderr if done.returncode else ""

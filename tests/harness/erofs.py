"""Daemons with the EROFS snapshotter, and layers in EROFS' own format.

`mkfs.erofs` is Debian's (sid). It is a script on the daemon's PATH, because it needs sid's loader.
"""

from __future__ import annotations

import contextlib
import shlex
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from . import Unavailable, debian, images
from .daemon import Daemon
from .process import run

SNAPSHOTTER = "erofs"
LAYER = "application/vnd.erofs.layer.v1"
PLATFORM = f"linux(+erofs)/{images.machine_platform().partition('/')[2]}"
_CONFIG = """
[plugins."io.containerd.snapshotter.v1.erofs"]
{options}
[plugins."io.containerd.service.v1.diff-service"]
default = ["erofs", "walking"]
"""


@contextlib.contextmanager
def daemon(generation: str, options: str = "") -> Iterator[Daemon]:
    """Run a daemon whose EROFS snapshotter has these options (TOML), with its differ.

    Raises `Unavailable` if the machine lacks `mkfs.erofs`, or its kernel EROFS.
    """
    mkfs = debian.program("mkfs.erofs", "erofs-utils", "sid")
    if "\terofs\n" not in Path("/proc/filesystems").read_text():
        raise Unavailable("the kernel has no EROFS")
    with Daemon(generation, extra=_CONFIG.format(options=options)) as daemon:
        script = daemon.folder / "bin" / "mkfs.erofs"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(mkfs.argv)} "$@"\n')
        script.chmod(0o755)
        daemon.restart()  # the differ looks for the program when it starts
        yield daemon


def layer(plain: images.Layer) -> images.Layer:
    """Convert an uncompressed layer into EROFS' format. The digest of the result is its diff ID.

    Raises `Unavailable` if the machine lacks `mkfs.erofs`.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "tar"), Path(folder, "erofs")
        source.write_bytes(plain.blob)
        options = ["--tar=f", "--aufs", "-Enoinline_data", "-T0", "-b4096", f"-U{uuid.UUID(int=0)}"]
        make([*options, str(made), str(source)])
        blob = made.read_bytes()
    return images.Layer(blob, images.digest_of(blob), "", LAYER)


def make(arguments: list[str]) -> None:
    """Run `mkfs.erofs`. Raise `Unavailable` if it is missing, and `RuntimeError` if it fails."""
    mkfs = debian.program("mkfs.erofs", "erofs-utils", "sid")
    done = run([*mkfs.argv, "--quiet", *arguments], timeout=60)
    if done.returncode:
        raise RuntimeError(f"mkfs.erofs failed: {done.stderr.decode(errors='replace')}")

"""Container networks apart from the machine's: Debian's CNI plugins, and a network namespace.

    with machine():
        ...  # bridges are made in a namespace that ends here

Processes outside see nothing of that network, and no packet leaves it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import Unavailable, debian
from .kernel import own_network
from .process import run


def plugins() -> Path:
    """Return the folder of Debian's CNI plugins. Fetch it if it is missing."""
    return debian.folder("containernetworking-plugins", "bookworm") / "usr/lib/cni"


def iptables(folder: Path) -> None:
    """Write an `iptables` script into a folder for a PATH. The script sets the extensions' folder.

    Raises `Unavailable` if the kernel does not support iptables.
    """
    program = debian.program("xtables-nft-multi", "iptables")
    extensions = next(debian.folder("iptables", "bookworm").glob("usr/lib/*/xtables"))
    folder.mkdir(exist_ok=True)
    for name in ("iptables", "ip6tables"):
        script = folder / name
        script.write_text(
            f"#!/bin/sh\nexport XTABLES_LIBDIR={shlex.quote(str(extensions))}\n"
            f'exec {shlex.join(program.argv)} {name} "$@"\n'
        )
        script.chmod(0o755)
    done = run([str(folder / "iptables"), "-t", "nat", "-S"], timeout=60)
    if done.returncode:
        raise Unavailable(f"iptables: {done.stderr.decode('utf-8', 'replace').strip()}")


@contextlib.contextmanager
def machine() -> Iterator[None]:
    """Give this thread, and the processes it starts, a network that has only a loopback."""
    with own_network():
        said("ip", "link", "set", "lo", "up")
        yield


@contextlib.contextmanager
def machine_with_iptables(folder: Path) -> Iterator[dict[str, str]]:
    """Do as `machine`, and yield the environment in which programs find plugins and iptables."""
    environment = {"CNI_PATH": str(plugins()), "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    with machine():
        iptables(folder / "bin")
        yield environment


def said(*argv: str) -> str:
    """Run a program in this thread's namespace; return its output, or raise `RuntimeError`."""
    done = run(argv, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{argv}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout.decode()


def bridge(name: str, leases: Path, subnet: str = "10.99.0.0/24") -> dict[str, Any]:
    """Return the configuration of a bridge `br-<name>` that keeps its addresses in `leases`."""
    return {
        "cniVersion": "1.0.0",
        "name": name,
        "plugins": [
            {
                "type": "bridge",
                "bridge": f"br-{name}",
                "isGateway": True,
                "capabilities": {"ips": True, "mac": True},
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(leases),
                    "ranges": [[{"subnet": subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def leased(name: str, leases: Path) -> set[str]:
    """Return the addresses that host-local has leased. It has a file for each, among others."""
    folder = leases / name
    files = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return {file for file in files if file[0].isdigit()}

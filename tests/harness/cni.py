"""Container networks without the machine's: Debian's CNI plugins, and a network namespace.

    with machine():
        ...  # bridges are made in a namespace that ends here

Nothing in there is seen outside, and no packet leaves.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import Unavailable, debian
from .kernel import own_network
from .process import run


def plugins() -> Path:
    """Return the folder of Debian's CNI plugins, fetched if need be."""
    return debian.folder("containernetworking-plugins", "bookworm") / "usr/lib/cni"


def iptables(folder: Path) -> None:
    """Put `iptables` into a folder, for a PATH; Debian's wants its extensions from its own place.

    Raises `Unavailable` where the kernel has none.
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
    """Let this thread, and what it starts, have a network of its own with a loopback alone."""
    with own_network():
        said("ip", "link", "set", "lo", "up")
        yield


def said(*argv: str) -> str:
    """Return what a program says in this thread's namespace; `RuntimeError` where it fails."""
    done = run(argv, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{argv}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout.decode()


def bridge(name: str, leases: Path, subnet: str = "10.99.0.0/24") -> dict[str, Any]:
    """Return the configuration of a bridge `br-<name>` whose addresses are kept in `leases`."""
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
    """Return the addresses that host-local keeps for somebody; its other files are its own."""
    folder = leases / name
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return {one for one in found if one[0].isdigit()}

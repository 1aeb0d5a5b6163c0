"""Connects containers to networks by means of CNI plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .attachment import connect as connect
    from .attachment import disconnect as disconnect
    from .attachment import files_of as files_of
    from .attachment import networks_of as networks_of
    from .network import Network as Network
    from .network import PortMapping as PortMapping
    from .network_files import NetworkFiles as NetworkFiles
    from .network_files import is_network_file as is_network_file
    from .network_plan import NetworkPlan as NetworkPlan

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "attachment": ["connect", "disconnect", "files_of", "networks_of"],
        "network": ["Network", "PortMapping"],
        "network_files": ["NetworkFiles", "is_network_file"],
        "network_plan": ["NetworkPlan"],
    },
)

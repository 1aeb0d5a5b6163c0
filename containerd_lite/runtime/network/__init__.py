"""Connects containers to networks by means of CNI plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .attachment import connect as connect
    from .attachment import disconnect as disconnect
    from .attachment import network_extensions as network_extensions
    from .attachment import networks_of as networks_of
    from .network import Network as Network
    from .network import PortMapping as PortMapping

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "attachment": ["connect", "disconnect", "network_extensions", "networks_of"],
        "network": ["Network", "PortMapping"],
    },
)

"""Networks of containers, by way of CNI plugins."""

from .network import Network, PortMapping

__all__ = ["Network", "PortMapping"]

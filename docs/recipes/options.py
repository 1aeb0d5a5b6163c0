"""Show what a method takes: its options, with the help that editors show, too."""

import inspect

from containerd_lite import Client

signature = inspect.signature(Client.run)
print("cpus" in signature.parameters, len(signature.parameters) > 80)
(line,) = [line for line in (Client.run.__doc__ or "").splitlines() if "  cpus: " in line]
print(line.strip())

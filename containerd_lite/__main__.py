"""``python -m containerd_lite``: the command line."""

from .cli import console

raise SystemExit(console())

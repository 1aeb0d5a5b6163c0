"""The lane of pure Python has no package ``cryptography``, and runs no test of signatures."""

from __future__ import annotations

import os

if os.environ.get("CONTAINERD_LITE_PURE") == "1":
    collect_ignore_glob = ["test_*.py"]

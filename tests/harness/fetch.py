"""Fetch and build all programs that the tests use: ``tox -e fetch``, or `python3 -m
tests.harness.fetch [NAME…]`.

One program at a time gets into the cache folder, and is not fetched again. A name is a generation
of containerd, such as 2.3, `crictl`, `registry`, 2.4+runc1.5 (its runc), a server of a sigstore,
such as `fulcio`, `sigstore-python`, or a program of Debian's. Exit with 1 if one of them cannot
be had.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from . import Unavailable, debian, generations, golang, sigstore_python


def _work() -> dict[str, Callable[[], object]]:
    """Return what to call for each name."""
    builds = {**golang.CONTAINERD, "crictl": golang.CRICTL, "registry": golang.REGISTRY}
    builds |= {**golang.SIGSTORE, **dict.fromkeys(generations.VARIANTS, golang.RUNC)}
    return {
        **{name: partial(debian.program, name) for name in debian.HOMES},
        **{name: partial(generations.find, name) for name in generations.DEBIAN},
        **{name: partial(golang.make, build) for name, build in builds.items()},
        "sigstore-python": sigstore_python.make,
    }


def main(names: Sequence[str]) -> int:
    """Fetch the programs, all without names, with a line for each."""
    work = _work()
    if unknown := [name for name in names if name not in work]:
        print(f"unknown: {', '.join(unknown)}; choose from {', '.join(work)}", file=sys.stderr)
        return 2
    code = 0
    for name in names or work:
        start = time.monotonic()
        try:
            work[name]()
            result = "is here"
        except Unavailable as reason:
            code, result = 1, f"is NOT here: {reason}"
        print(f"{name} {result} ({time.monotonic() - start:.0f} s)", flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

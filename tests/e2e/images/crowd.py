"""One process of a crowd: pulls one image with many threads, and counts what it fetched.

    python -m tests.e2e.images.crowd ADDRESS NAMESPACE REF THREADS

It says "ready", begins when a line comes, and prints the number of requests for each digest.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from containerd_lite import Client
from containerd_lite.images.resolver import Fetcher, Reader, RegistryResolver
from containerd_lite.oci.descriptor import Descriptor


class Counting(RegistryResolver):
    """Counts how often each digest is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: Counter[str] = Counter()

    def fetcher(self, ref: str) -> Fetcher:  # type: ignore[override]
        return _CountingFetcher(super().fetcher(ref), self.fetched)


class _CountingFetcher:
    def __init__(self, inner: Fetcher, fetched: Counter[str]) -> None:
        self._inner, self._fetched = inner, fetched

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        self._fetched[descriptor.digest] += 1
        return self._inner.fetch(descriptor, offset)


def main(address: str, namespace: str, ref: str, threads: str) -> None:
    """Pull, each thread once."""
    count = int(threads)
    with Client(address, namespace=namespace) as client, Counting() as resolver:
        print("ready", flush=True)
        sys.stdin.readline()
        with ThreadPoolExecutor(count) as pool:
            images = list(pool.map(lambda _: client.pull(ref, resolver=resolver), range(count)))
        assert all(image.is_unpacked() for image in images)
    print(json.dumps(resolver.fetched))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The test harness: real daemons, real registries, and images made on the spot.

It uses the standard library only, and not the package under test, which must not judge itself.
The tests' fixtures use it, and so do scripts that run where only the package is installed.

- `cache`: the folder that keeps programs between runs.
- `debian`: programs from Debian's packages, in the cache, without installation.
- `golang`: programs that the Go toolchain builds, in the cache.
- `generations`: the generations of containerd, and which of them a run uses.
- `fetch`: fills the cache (`tox -e fetch`).
- `daemon`: a private containerd of one generation.
- `registry`: a private docker-registry; `realm`: a token server that decides on access to it.
- `judges`: skopeo, crane and oras with one interface.
- `cosign`, `skopeo`: programs that sign images and verify signatures; `signing`: their keys, and
  how they are called.
- `sigstore`: Fulcio, Rekor, a CT log and a timestamp authority, and an issuer of identity tokens.
- `tls`: certificates made on the spot, and a listener that uses them.
- `images`: images as plain bytes, and ways to push them and to write them as layouts.
- `artifacts`: attestations and artifacts that refer to an image.
- `criu`: CRIU for a daemon, where the machine supports it.
- `shim`, `screen`: the other end of a process's FIFOs, and of a terminal.
- `cni`: network plugins, and a network that ends with the test.
- `snapshotter`: a remote snapshotter in a process of its own. It alone uses grpcio and the
  package's descriptor sets.
- `kernel`: namespaces for the processes, mounts and network of a test.
- `interrupts`: signals in the middle of a call.
- `process`: starts processes, waits for them, and ends them.
- `debris`: finds and removes what daemons leave behind.
- `outcomes`: the outcomes of a run's tests, to run the failed ones again.
"""

from __future__ import annotations


class Unavailable(Exception):
    """This machine lacks something that a test needs; the message says what and why.

    A test that gets this error skips with the message. The error says nothing about the package.
    """

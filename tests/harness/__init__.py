"""The test harness: real daemons, real registries, and images made on the spot.

Standard library only, and never the product itself: what is judged must not help to judge.
The tests' fixtures use it, and so do scripts that run where nothing but the product is installed.

- `debian`: programs out of Debian's packages, in a cache folder, nothing installed.
- `daemon`: a private containerd of one of three generations.
- `registry`: a private docker-registry; `realm`: who may do what there, by signed tokens.
- `judges`: skopeo, crane and oras, each asked the same things.
- `tls`: certificates made on the spot, and a listener that wears them.
- `images`: images as plain bytes, pushed and laid out without the product's help.
- `artifacts`: attestations and what else goes with images.
- `criu`: what saves running containers, where the machine can.
- `shim`, `screen`: the other end of a process's FIFOs, and of a terminal.
- `cni`: network plugins, and a machine's network that ends with the test.
- `snapshotter`: a remote snapshotter, in a process of its own; it alone takes grpcio and the
  product's descriptor sets.
- `kernel`: processes, mounts and a network of the tests' own.
- `interrupts`: signals in the midst of a call.
- `process`, `debris`: starting, awaiting and ending processes; finding what they left.
- `outcomes`: what became of a run's tests, for who runs the failed ones again.
"""

from __future__ import annotations


class Unavailable(Exception):
    """Something that a test needs cannot be had on this machine; the message says what and why.

    A test that gets it should skip loudly: it tells about the machine, not about the product.
    """

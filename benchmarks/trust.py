"""Measures verifying and signing against cosign, and against the imports that the work needs.

Usage:

    TMPDIR=/dev/shm python -m benchmarks.trust [--rounds 11]

cosign 3 is a process each time, as its users call it. A verdict is a call in a running process,
with a new resolver each time. New processes run the last commit of the repository, installed
with the extra ``trust`` into a new virtual environment. Rows without a key need the servers of a
sigstore, which Go builds; without them, they are left out. A ratio in a table is the time of the
first row divided by that of this row.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

from benchmarks import images_made
from benchmarks.images import LARGE
from benchmarks.measure import Result, Run, Sample, measure, report, say_goal, timed
from benchmarks.registry_ours import TAG, upload
from benchmarks.start import Installed, installed, quiet
from containerd_lite import Layout
from containerd_lite.images import RegistryResolver
from containerd_lite.trust import Identity, Policy, Rule, Signer, TrustRoot
from tests.harness import Unavailable, images
from tests.harness.cosign import Cosign
from tests.harness.registry import NEW, Registry
from tests.harness.signing import Key
from tests.harness.sigstore import Sigstore

_KEYS = "urllib3, cryptography.hazmat.primitives.asymmetric.ec, "
_KEYS += "cryptography.hazmat.primitives.serialization"
_KEYLESS = "urllib3, cryptography.x509.verification, rfc3161_client"
_VERIFY = """
import sys
from containerd_lite import Layout
from containerd_lite.images import RegistryResolver
Layout("/nowhere").verify_signatures(sys.argv[1], sys.argv[2])
"""
_POLICY = """
version = 1
[[rule]]
pattern = "**"
{}
"""


def _once(work: Callable[[], object]) -> Run:
    def run() -> int:
        work()
        return 1

    return run


class _Images:
    """A registry with signed images."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.host = registry.host
        self.folder = folder
        self.numbers = count()

    def push(self) -> str:
        """Push an image of its own; return its reference with the digest."""
        number = next(self.numbers)
        made = images.random_image([1000], seed=number)
        images.push(made, self.host, f"image-{number}", "1")
        return f"{self.host}/image-{number}@{made.digest}"

    def policy(self, rule: str) -> str:
        path = self.folder / f"policy-{next(self.numbers)}.toml"
        path.write_text(_POLICY.format(rule))
        return str(path)


def _pulls(where: _Images, key: Key) -> dict[str, Run]:
    """Pull an image of 384 MiB into a new folder, with and without a policy."""
    made = images_made.large(where.folder / "large", LARGE)
    upload(where.host, "large", str(made), "2")()
    name = f"{where.host}/large-0"
    ref = f"{name}@{_descriptor_of(f'{name}:{TAG}')['digest']}"
    Cosign("3").sign(ref, key)
    policy = Policy({"**": Rule(keys=[key.public])})

    def pull(**options: Policy) -> Run:
        def run() -> Result:
            with tempfile.TemporaryDirectory() as name:
                layout = Layout(Path(name) / "store")
                return timed(_once(lambda: layout.pull(ref, **options)))

        return run

    return {"pull with a policy": pull(policy=policy), "pull without a policy": pull()}


def _by_key(where: _Images, key: Key, package: Installed) -> dict[str, Run]:
    ref = where.push()
    Cosign("3").sign(ref, key)
    policy = Policy({"**": Rule(keys=[key.public])})
    path = where.policy(f'keys = ["{key.public}"]')
    descriptor = _descriptor_of(ref)

    def verifier() -> int:
        program = str(package.folder / "bin" / "containerd-lite-verify")
        options = ["-digest", descriptor["digest"], "-stdin-media-type", _DESCRIPTOR_TYPE]
        subprocess.run(
            [program, "-name", ref, *options],
            input=images.encode(descriptor),
            env={**os.environ, "CONTAINERD_LITE_POLICY": path},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return 1

    return {
        "verdict by key": _once(lambda: Layout("/nowhere").verify_signatures(ref, policy)),
        "cosign verify by key": _once(lambda: Cosign("3").verify(ref, key).check()),
        "the verifier, a new process": verifier,
        "imports urllib3, keys": quiet(package.python(f"import {_KEYS}")),
    }


_DESCRIPTOR_TYPE = "application/vnd.oci.descriptor.v1+json"


def _descriptor_of(ref: str) -> images.Json:
    with RegistryResolver() as resolver:
        return dict(resolver.resolve(ref)[1].to_json())


def _keyless(where: _Images, package: Installed, sigstore: Sigstore) -> dict[str, Run]:
    ref, signer = where.push(), sigstore.issuer.email()
    cosign = Cosign("3", sigstore.services())
    cosign.sign(ref, signer)
    root = TrustRoot.load(sigstore.trusted_root)
    identity = Identity(signer.issuer, signer.subject)
    policy = Policy({"**": Rule(identities=[identity], trust_root=root)})
    path = where.policy(
        f'trust_root = "{sigstore.trusted_root}"\n'
        f'identities = [{{issuer = "{signer.issuer}", subject = "{signer.subject}"}}]'
    )
    return {
        "verdict without a key": _once(lambda: Layout("/nowhere").verify_signatures(ref, policy)),
        "cosign verify without a key": _once(lambda: cosign.verify(ref, signer).check()),
        "the same in a new process": quiet(package.python(_VERIFY, ref, path)),
        "imports urllib3, x509, rfc3161": quiet(package.python(f"import {_KEYLESS}")),
    }


def _signing(where: _Images, key: Key) -> dict[str, Run]:
    loaded = Signer.from_file(key.private, key.password)

    def signing(signer: Callable[[], Signer]) -> Run:
        def run() -> Result:
            ref = where.push()
            return timed(_once(lambda: Layout("/nowhere").sign(ref, signer(), form="referrer")))

        return run

    def cosign() -> Result:
        ref = where.push()
        return timed(_once(lambda: Cosign("3").sign(ref, key)))

    return {
        "sign with a loaded key": signing(lambda: loaded),
        "cosign sign": cosign,
        "sign, the file read each time": signing(
            lambda: Signer.from_file(key.private, key.password)
        ),
        "scrypt alone": _once(lambda: Signer.from_file(key.private, key.password)),
    }


#: Contender, its peer, and the largest ratio of their wall times.
_GOALS = (
    ("pull with a policy", "pull without a policy", 1.05),
    ("verdict by key", "cosign verify by key", 0.25),
    ("the verifier, a new process", "imports urllib3, keys", 1.6),
    ("verdict without a key", "cosign verify without a key", 0.3),
    ("the same in a new process", "imports urllib3, x509, rfc3161", 1.5),
    ("sign with a loaded key", "cosign sign", 0.15),
    ("sign, the file read each time", "cosign sign", 1.0),
)


def _measure(title: str, contenders: Mapping[str, Run], rounds: int) -> None:
    samples: dict[str, Sample] = measure(contenders, rounds)
    report(title, samples, "ms", 1000)
    for name, peer, limit in _GOALS:
        if name in samples:
            say_goal(name, samples[name].median / samples[peer].median, peer, limit)


def main() -> None:
    """Run all contenders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    with ExitStack() as stack:
        package = stack.enter_context(installed("trust"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        where = _Images(stack.enter_context(Registry(generation=NEW)), folder)
        key = Cosign("3").generate_key(folder)
        _measure("verifying by key", _by_key(where, key, package), rounds)
        with suppress(Unavailable):
            sigstore = stack.enter_context(Sigstore())
            _measure("verifying without a key", _keyless(where, package, sigstore), rounds)
        _measure("signing", _signing(where, key), rounds)
        _measure("a pull of 384 MiB", _pulls(where, key), rounds)


if __name__ == "__main__":
    main()

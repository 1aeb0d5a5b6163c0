"""Policies in skopeo's format on images in a registry, judged by skopeo and by this package."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Layout, trust
from containerd_lite.errors import InvalidArgument, SignatureError
from tests.harness import Unavailable, images, signatures, skopeo
from tests.harness.images import Json, encode
from tests.harness.keypairs import KeyPair
from tests.harness.registry import Registry
from tests.harness.transparency import RekorLog, cosign_entry, hashedrekord_1

KEY, OTHER = KeyPair.generate(), KeyPair.generate()
ONE = images.scratch({"one": b"1"})
BOTH = images.index_of(
    {name: images.scratch({"at": name.encode()}) for name in ("linux/amd64", "linux/arm64")}
)
ON = {"all.yaml": b"default-docker: {use-sigstore-attachments: true}"}
ACCEPT, REJECT = {"type": "insecureAcceptAnything"}, {"type": "reject"}
VENDOR = "vendor.example/app/image"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def data(key: KeyPair) -> str:
    return encoded(key.public.to_pem())


def signed(identity: Json | str | None = None, key: KeyPair = KEY, **more: Any) -> Json:
    """A requirement; ``identity`` is its type, or all of it."""
    if isinstance(identity, str):
        identity = {"type": identity}
    wanted = {} if identity is None else {"signedIdentity": identity}
    return {"type": "sigstoreSigned", "keyData": data(key), **wanted, **more}


def policy(*requirements: Json, **scopes: Any) -> bytes:
    """A policy for all images of registries; ``scopes`` are the other transports."""
    return encode(
        {"default": [REJECT], "transports": {"docker": {"": list(requirements)}, **scopes}}
    )


def payload(digest: str, reference: object, **more: object) -> bytes:
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return encode({"critical": critical, "optional": None, **more})


def push(registry: Registry, repository: str, *layers: tuple[Json, bytes]) -> str:
    """Push an image and the layers of its signatures; return its reference."""
    ref = images.push(ONE, registry.host, repository, "1")
    if layers:
        tag = signatures.tag(ONE.digest)
        images.push(signatures.manifest(layers), registry.host, repository, tag)
    return ref


def promised(by: RekorLog, *about: Any) -> dict[str, str]:
    """The annotation of a signature with a log's promise; ``about`` is what the entry is about."""
    return {"dev.sigstore.cosign/bundle": cosign_entry(by.add(hashedrekord_1(*about)))}


@dataclass
class Case:
    """A policy, judged by skopeo and by this package."""

    folder: Path

    def check(self, ref: str, body: bytes, registries: Mapping[str, bytes] = ON) -> bool:
        """Return whether both accept an image; they must agree."""
        try:
            theirs = skopeo.judge(ref, body, registries)
        except Unavailable as reason:
            pytest.skip(str(reason))
        ours = self.verdict(ref, body, registries)
        assert (ours == "") == theirs.ok, f"{ref}: we say {ours!r}, skopeo says {theirs.stderr}"
        return theirs.ok

    def verdict(self, ref: str, body: bytes, registries: Mapping[str, bytes]) -> str:
        try:
            found = self.load(body, registries)
            layout = Layout(self.folder / "store")
            layout.verify_signatures(ref, found, platform=images.machine_platform())
        except (SignatureError, InvalidArgument) as error:
            return str(error)
        return ""

    def load(self, body: bytes, registries: Mapping[str, bytes]) -> trust.ContainersPolicy:
        (self.folder / "policy.json").write_bytes(body)
        folder = self.folder / "registries.d"
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, text in registries.items():
            (folder / name).write_bytes(text)
        found = trust.ContainersPolicy.load(self.folder / "policy.json", folder)
        assert isinstance(found, trust.ContainersPolicy)
        assert pickle.loads(pickle.dumps(found)) == found
        return found

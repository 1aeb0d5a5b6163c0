"""Policies of skopeo with changes at random: typed errors, or rules that say what the file says."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from containerd_lite import trust
from containerd_lite.errors import ContainerdError
from containerd_lite.oci.reference import Reference
from containerd_lite.trust import PublicKey, Remap, Rule
from tests.fuzz import mutating
from tests.harness.transparency import SigningKey, canonical

yaml: Any = pytest.importorskip("yaml")

Count = Callable[[int, int], int]

KEYS = [SigningKey() for _ in range(3)]
REFERENCES = [
    Reference.parse(name)
    for name in (
        "registry.example/team/app:1",
        "registry.example/team/other:1",
        "mirror.example:5000/x:2",
        "a.b.example/y",
        "busybox",
    )
]
ACCEPT, REJECT = {"type": "insecureAcceptAnything"}, {"type": "reject"}
REGISTRIES = """\
default-docker:
  use-sigstore-attachments: true
docker:
  registry.example/team:
    use-sigstore-attachments: true
  mirror.example:5000:
    use-sigstore-attachments: false
    lookaside: https://lookaside.example
"""


def data(*keys: SigningKey) -> list[str]:
    return [base64.b64encode(key.pem.encode()).decode() for key in keys]


def requirement(identity: Any = None, **fields: Any) -> dict[str, Any]:
    fields = fields or {"keyData": data(KEYS[0])[0]}
    more = {} if identity is None else {"signedIdentity": identity}
    return {"type": "sigstoreSigned", **fields, **more}


def policies(folder: Path) -> list[str]:
    """Policies with each kind of requirement."""
    files = [folder / f"{number}.pub" for number in range(3)]
    for file, key in zip(files, KEYS, strict=True):
        file.write_text(key.pem)
    paths = list(map(str, files))
    remap = {"type": "remapIdentity", "prefix": "mirror.example:5000", "signedPrefix": "a.example"}
    exact = {"type": "exactReference", "dockerReference": "registry.example/team/app:1"}
    docker = {
        "registry.example/team/app": [requirement(keyPath=paths[0]), requirement(exact)],
        "registry.example/team": [requirement({"type": "matchRepository"}, keyPaths=paths)],
        "registry.example": [REJECT],
        "mirror.example:5000": [requirement(remap, keyDatas=data(*KEYS))],
        "*.example": [requirement(rekorPublicKeyPath=paths[1], keyPath=paths[0])],
        "docker.io/library/busybox:latest": [ACCEPT],
        "": [REJECT],
    }
    base = {"type": "exactRepository", "dockerRepository": "registry.example/team/app"}
    gpg = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/x"}
    first = {"default": [REJECT], "transports": {"docker": docker}}
    second = {
        "default": [requirement(base)],
        "transports": {
            "docker": {"registry.example": [ACCEPT, gpg]},
            "docker-daemon": {"": [ACCEPT]},
        },
    }
    return [canonical(first).decode(), canonical(second).decode()]


def test_a_changed_policy(tmp_path: Path, count: Count) -> None:
    texts, path, loaded = policies(tmp_path), tmp_path / "policy.json", 0
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "all.yaml").write_text("default-docker: {use-sigstore-attachments: true}")
    for number in range(count(400, 3_000)):
        dice = Random(f"policy.json {number}")
        text = mutating.mutate_text(dice.choice(texts), dice, texts)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            policy = trust.ContainersPolicy.load(path, tmp_path / "d")
        except ContainerdError:
            continue
        loaded += 1
        for reference in REFERENCES:
            try:
                _, rules = policy.rules_for(reference)
            except ContainerdError:
                continue
            check(rules, requirements(json.loads(text), reference))
    assert loaded


def requirements(document: Any, reference: Reference) -> list[Any]:
    """The requirements of the narrowest scope, in the words of containers-policy.json(5)."""
    scopes = document.get("transports", {}).get("docker", {})
    found = next((scopes[each] for each in scopes_of(reference) if each in scopes), None)
    chosen: list[Any] = document["default"] if found is None else found
    return chosen


def scopes_of(reference: Reference) -> Iterator[str]:
    yield f"{reference.name}:{reference.tag}"
    parts = reference.name.split("/")
    yield from ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
    labels = parts[0].partition(":")[0].split(".")
    yield from (f"*.{'.'.join(labels[count:])}" for count in range(1, len(labels)))
    yield ""


def check(rules: tuple[Rule, ...], wanted: list[Any]) -> None:
    """Compare the rules with the requirements: each has its rule, which is as strict."""
    assert len(rules) == len(wanted)
    for rule, stated in zip(rules, wanted, strict=True):
        assert rule.accept == (stated["type"] == "insecureAcceptAnything")
        assert rule.reject == (stated["type"] == "reject")
        if rule.accept or rule.reject:
            continue
        assert stated["type"] == "sigstoreSigned"
        assert list(rule.keys) == list(keys_of(stated, "key"))
        assert bool(rule.log) == any(name.startswith("rekor") for name in stated)
        assert (rule.threshold, rule.signed, rule.form) == (1, "platforms", "tag")
        identity = stated.get("signedIdentity", {"type": "matchRepoDigestOrExact"})
        names = {
            "matchExact": "verbatim",
            "matchRepoDigestOrExact": "exact",
            "matchRepository": "repository",
        }
        if identity["type"] in names:
            assert rule.name == names[identity["type"]]
        elif isinstance(rule.name, Remap):
            expected = Remap(identity["prefix"], identity["signedPrefix"], exact=True)
            assert rule.name == expected
        else:
            assert not isinstance(rule.name, str)
            stated_name = identity.get("dockerReference") or identity["dockerRepository"]
            assert Reference.parse(rule.name.name) == Reference.parse(stated_name)


def keys_of(stated: Any, prefix: str) -> Iterator[PublicKey]:
    for path in [*filter(None, [stated.get(f"{prefix}Path")]), *stated.get(f"{prefix}Paths", ())]:
        yield first_key(Path(path).read_bytes())
    for text in [*filter(None, [stated.get(f"{prefix}Data")]), *stated.get(f"{prefix}Datas", ())]:
        yield first_key(base64.b64decode(text))


def first_key(pem: bytes) -> PublicKey:
    """The first block of a file; a further one does not count, as in skopeo."""
    found = re.search(rb"-----BEGIN .*?(?=-----BEGIN |\Z)", pem, re.S)
    return PublicKey.from_pem(found[0] if found else pem)


def test_changed_registries(tmp_path: Path, count: Count) -> None:
    """The setting of each image is what another reader of YAML finds."""
    folder, path, loaded = tmp_path / "d", tmp_path / "policy.json", 0
    folder.mkdir()
    path.write_bytes(canonical({"default": [requirement()]}))
    for number in range(count(400, 2_000)):
        dice = Random(f"registries {number}")
        text = mutating.mutate_text(REGISTRIES, dice)
        (folder / "all.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            policy = trust.ContainersPolicy.load(path, folder)
        except ContainerdError:
            continue
        loaded += 1
        document = yaml.safe_load(text) or {}
        for reference in REFERENCES:
            try:
                policy.rules_for(reference)
            except ContainerdError:
                assert not uses_attachments(document, reference)
            else:
                assert uses_attachments(document, reference)
    assert loaded


def uses_attachments(document: Any, reference: Reference) -> bool:
    sections = document.get("docker") or {}
    for scope in [*scopes_of(reference)][:-1]:
        value = (sections.get(scope) or {}).get("use-sigstore-attachments")
        if value is not None:
            return bool(value)
    return bool((document.get("default-docker") or {}).get("use-sigstore-attachments"))

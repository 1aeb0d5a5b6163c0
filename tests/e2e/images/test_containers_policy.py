"""Policies of skopeo's format: the verdicts are skopeo's, for each policy on each image."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from containerd_lite import Layout, trust
from containerd_lite.errors import InvalidArgument, SignatureError, Unsigned
from containerd_lite.oci.reference import Reference
from tests.harness import Unavailable, images, signatures
from tests.harness.cosign import Cosign
from tests.harness.images import Json, encode
from tests.harness.registry import Registry
from tests.harness.transparency import RekorLog, SigningKey, Verifier

from .containers import (
    ACCEPT,
    BOTH,
    KEY,
    ON,
    ONE,
    OTHER,
    REJECT,
    VENDOR,
    Case,
    data,
    encoded,
    payload,
    policy,
    promised,
    push,
    signed,
)

pytest.importorskip("yaml")
pytestmark = [pytest.mark.registry, pytest.mark.slow, pytest.mark.turns(16)]

#: The name that the signature of each image states.
STATED = {
    "exact": "{repository}:1",
    "bare": "{repository}",
    "other-tag": "{repository}:2",
    "by-digest": f"{{repository}}@{ONE.digest}",
    "by-both": f"{{repository}}:1@{ONE.digest}",
    "parent": "{repository}/more:1",
    "mapped": "{host}/elsewhere/mapped:1",
    "mapped-host": "vendor.example/containers/mapped-host:1",
    "vendor": f"{VENDOR}:1",
    "vendor-2": f"{VENDOR}:2",
    "vendor-bare": VENDOR,
    "vendor-digest": f"{VENDOR}@{ONE.digest}",
    "short": "image:1",
    "hub": "docker.io/library/image:1",
    "invalid": "{repository}:-",
    "empty": "",
}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


@pytest.fixture(scope="module")
def stated(registry: Registry) -> dict[str, str]:
    """The references of images by the name that their signatures state."""
    found = {}
    for name, text in STATED.items():
        repository = f"containers/{name}"
        name_ = text.format(host=registry.host, repository=f"{registry.host}/{repository}")
        body = payload(ONE.digest, name_)
        found[name] = push(registry, repository, signatures.layer(body, KEY))
    return found


def by_digest(ref: str) -> str:
    return f"{ref.rpartition(':')[0]}@{ONE.digest}"


#: Requirements on the name; ``HOST`` is the registry's.
IDENTITIES: dict[str, Json | str | None] = {
    "default": None,
    "matchExact": "matchExact",
    "matchRepoDigestOrExact": "matchRepoDigestOrExact",
    "matchRepository": "matchRepository",
    "exactReference": {"type": "exactReference", "dockerReference": f"{VENDOR}:1"},
    "exactReference digest": {
        "type": "exactReference",
        "dockerReference": f"{VENDOR}@{ONE.digest}",
    },
    "exactReference both": {
        "type": "exactReference",
        "dockerReference": f"HOST/containers/by-both:1@{ONE.digest}",
    },
    "exactReference short": {"type": "exactReference", "dockerReference": "image:1"},
    "exactRepository": {"type": "exactRepository", "dockerRepository": VENDOR},
    "exactRepository tag": {"type": "exactRepository", "dockerRepository": f"{VENDOR}:7"},
    "exactRepository short": {"type": "exactRepository", "dockerRepository": "image"},
    "remap repository": {
        "type": "remapIdentity",
        "prefix": "HOST/containers/vendor",
        "signedPrefix": VENDOR,
    },
    "remap namespace": {
        "type": "remapIdentity",
        "prefix": "HOST/containers",
        "signedPrefix": "HOST/elsewhere",
    },
    "remap part": {"type": "remapIdentity", "prefix": "HOST/contain", "signedPrefix": VENDOR},
    "remap host": {"type": "remapIdentity", "prefix": "HOST", "signedPrefix": "vendor.example"},
    "remap short": {
        "type": "remapIdentity",
        "prefix": "HOST/containers/short",
        "signedPrefix": "library/image",
    },
    "remap to hub": {
        "type": "remapIdentity",
        "prefix": "HOST/containers/hub",
        "signedPrefix": "docker.io/library/image",
    },
}


@pytest.mark.parametrize("kind", IDENTITIES)
def test_identities(case: Case, registry: Registry, stated: Mapping[str, str], kind: str) -> None:
    text = json.dumps(IDENTITIES[kind]).replace("HOST", registry.host)
    body = policy(signed(json.loads(text)))
    accepted = {
        each for ref in stated.values() for each in (ref, by_digest(ref)) if case.check(each, body)
    }
    assert 0 < len(accepted) < len(stated)  # else a mistake in the table would go unnoticed


#: Other payloads than those of cosign and skopeo.
PAYLOADS: dict[str, Callable[[str], bytes]] = {
    "another digest": lambda ref: payload(BOTH.digest, ref),
    "another field": lambda ref: payload(ONE.digest, ref, more=1),
    "annotations": lambda ref: payload(ONE.digest, ref).replace(b"null", b'{"a": "b", "n": [1]}'),
    "creator and time": lambda ref: payload(ONE.digest, ref).replace(
        b"null", b'{"creator": "skopeo 1", "timestamp": 1700000000}'
    ),
    "a round time": lambda ref: payload(ONE.digest, ref).replace(b"null", b'{"timestamp": 1e9}'),
    "a broken time": lambda ref: payload(ONE.digest, ref).replace(b"null", b'{"timestamp": 1.5}'),
    "a text as time": lambda ref: payload(ONE.digest, ref).replace(b"null", b'{"timestamp": "1"}'),
    "a true time": lambda ref: payload(ONE.digest, ref).replace(b"null", b'{"timestamp": true}'),
    "no time": lambda ref: payload(ONE.digest, ref).replace(b"null", b'{"timestamp": null}'),
    "a huge time": lambda ref: payload(ONE.digest, ref).replace(b"null", b'{"timestamp": 1e300}'),
    "a number as creator": lambda ref: payload(ONE.digest, ref).replace(b"null", b'{"creator": 1}'),
    "no optional": lambda ref: encode(
        {"critical": json.loads(payload(ONE.digest, ref))["critical"]}
    ),
    "another type": lambda ref: payload(ONE.digest, ref).replace(b"cosign container", b"container"),
    "another critical field": lambda ref: payload(ONE.digest, ref).replace(
        b'"critical":{', b'"critical":{"more":1,'
    ),
    "a number as name": lambda ref: payload(ONE.digest, 7),
    "twice a field": lambda ref: payload(ONE.digest, ref).replace(
        b'"optional":null', b'"optional":null,"optional":null'
    ),
    "capital letters": lambda ref: payload(ONE.digest, ref).replace(b'"critical"', b'"Critical"'),
    "good": lambda ref: payload(ONE.digest, ref),
}


@pytest.mark.parametrize("kind", PAYLOADS)
def test_payloads(case: Case, registry: Registry, kind: str) -> None:
    repository = f"containers/payload-{kind.replace(' ', '-')}"
    ref = f"{registry.host}/{repository}:1"
    push(registry, repository, signatures.layer(PAYLOADS[kind](ref), KEY))
    accepted = ("good", "annotations", "creator and time", "a round time", "no time")
    assert case.check(ref, policy(signed())) == (kind in accepted)


def test_requirements(case: Case, registry: Registry, tmp_path: Path) -> None:
    """All requirements must be met; of several keys, one."""
    paths = []
    for name, key in (("key", KEY), ("other", OTHER)):
        paths.append(str(tmp_path / f"{name}.pub"))
        Path(paths[-1]).write_text(key.public.to_pem())
    at = f"{registry.host}/containers"
    by_key, by_other = (
        signatures.layer(payload(ONE.digest, f"{at}/signers"), key) for key in (KEY, OTHER)
    )
    unsigned = push(registry, "containers/unsigned")
    one = push(registry, "containers/signers/key", by_key)
    two = push(registry, "containers/signers/both", by_other, by_key)
    refs = (unsigned, one, two)
    any_name = {"type": "exactRepository", "dockerRepository": f"{at}/signers"}
    typed = {"type": "sigstoreSigned", "signedIdentity": any_name}
    lists: dict[str, tuple[list[Json], tuple[bool, bool, bool]]] = {
        "accept": ([ACCEPT], (True, True, True)),
        "reject": ([REJECT], (False, False, False)),
        "accept and reject": ([ACCEPT, REJECT], (False, False, False)),
        "data": ([signed(any_name)], (False, True, True)),
        "accept and data": ([ACCEPT, signed(any_name)], (False, True, True)),
        "reject and data": ([signed(any_name), REJECT], (False, False, False)),
        "both": ([signed(any_name), signed(any_name, OTHER)], (False, False, True)),
        "path": ([{**typed, "keyPath": paths[0]}], (False, True, True)),
        "paths": ([{**typed, "keyPaths": paths[::-1]}], (False, True, True)),
        "datas": ([{**typed, "keyDatas": [data(OTHER), data(KEY)]}], (False, True, True)),
        "missing key": ([{**typed, "keyPath": str(tmp_path / "none")}], (False, False, False)),
        "broken key": ([{**typed, "keyData": "AAAA"}], (False, False, False)),
        "a missing key of two": (
            [{**typed, "keyPaths": [paths[0], str(tmp_path / "none")]}],
            (False, False, False),
        ),
        "GPG": (
            [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": paths[0]}],
            (False, False, False),
        ),
        "base layer": (
            [{"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchRepository"}}],
            (False, False, False),
        ),
        "PKI": (
            [{**typed, "pki": {"caRootsPath": paths[0], "subjectEmail": "a@example.com"}}],
            (False, False, False),
        ),
    }
    for what, (requirements, expected) in lists.items():
        found = tuple(case.check(ref, policy(*requirements)) for ref in refs)
        assert (what, found) == (what, expected)
    with pytest.raises(SignatureError, match="GPG"):
        case.load(policy(*lists["GPG"][0]), ON).rules_for(Reference.parse(one))


def test_the_first_key_of_a_file_counts(case: Case, registry: Registry) -> None:
    ref = f"{registry.host}/containers/one-key:1"
    push(registry, "containers/one-key", signatures.layer(payload(ONE.digest, ref), KEY))
    own, other = KEY.public.to_pem(), OTHER.public.to_pem()
    for text, expected in ((own + other, True), (other + own, False), (f"# own\n{own}", True)):
        wanted = {"type": "sigstoreSigned", "keyData": encoded(text)}
        assert case.check(ref, policy(wanted)) == expected


def test_platforms(case: Case, registry: Registry) -> None:
    """The index itself need not be signed; a signed index covers nothing."""
    amd, arm = (images.Image(entry, BOTH.blobs) for entry in BOTH.json()["manifests"])
    for name, parts in {"both": [amd, arm], "arm": [arm], "index": [BOTH]}.items():
        repository = f"containers/index/{name}"
        ref = images.push(BOTH, registry.host, repository, "1")
        for part in parts:
            body = payload(part.digest, ref)
            tag = signatures.tag(part.digest)
            layers = signatures.manifest([signatures.layer(body, KEY)])
            images.push(layers, registry.host, repository, tag)
        own = f"linux/{'amd64' if name != 'arm' else 'arm64'}"
        is_signed = own == images.machine_platform() if name == "arm" else name == "both"
        assert case.check(ref, policy(signed())) == is_signed
        assert case.check(ref, policy(ACCEPT))


def test_only_tags_count(case: Case, registry: Registry, tmp_path: Path) -> None:
    """Bundles and other referrers do not."""
    accepted: dict[str, bool] = {}
    for generation, is_referrer in (("2", False), ("2", True), ("3", False)):
        name = f"containers/form-{generation}-{is_referrer}".lower()
        ref = images.push(ONE, registry.host, name, "1")
        try:
            key = Cosign(generation).generate_key(tmp_path, f"key-{len(accepted)}")
            Cosign(generation).sign(by_digest(ref), key, referrer=is_referrer)
        except Unavailable as reason:
            pytest.skip(str(reason))
        requirement = {
            "type": "sigstoreSigned",
            "keyPath": str(key.public),
            "signedIdentity": {"type": "matchRepository"},
        }
        accepted[name] = case.check(ref, policy(requirement))
    assert list(accepted.values()) == [True, False, False]


def test_transparency_logs(case: Case, registry: Registry) -> None:
    """A signature by a key with the promise of a log, Rekor v1."""
    key, other, log, stranger = SigningKey(), SigningKey(), RekorLog(1), RekorLog(1)
    ref = f"{registry.host}/containers/log:1"
    body = payload(ONE.digest, ref)
    signature = key.sign(body, "sha256")

    annotations = {
        "good": promised(log, body, signature, Verifier.of_key(key)),
        "another log": promised(stranger, body, signature, Verifier.of_key(key)),
        "another key": promised(log, body, signature, Verifier.of_key(other)),
        "another signature": promised(log, body, key.sign(body, "sha256"), Verifier.of_key(key)),
        "another payload": promised(log, body + b" ", signature, Verifier.of_key(key)),
        "broken": {"dev.sigstore.cosign/bundle": "{}"},
        "none": {},
    }
    logs = [base64.b64encode(each.key.pem.encode()).decode() for each in (log, stranger)]
    own = base64.b64encode(key.pem.encode()).decode()
    wanted = {"type": "sigstoreSigned", "keyData": own}
    rsa = base64.b64encode(SigningKey("rsa").pem.encode()).decode()
    for what, found in annotations.items():
        encoded = {signatures.SIGNATURE: base64.b64encode(signature).decode(), **found}
        layer = {**images.descriptor(signatures.SIMPLE_SIGNING, body), "annotations": encoded}
        push(registry, "containers/log", (layer, body))
        one = policy({**wanted, "rekorPublicKeyData": logs[0]})
        assert (what, case.check(ref, one)) == (what, what == "good")
        two = policy({**wanted, "rekorPublicKeyDatas": logs})
        assert (what, case.check(ref, two)) == (what, what in ("good", "another log"))
        assert not case.check(ref, policy({**wanted, "rekorPublicKeyData": rsa}))
        if what != "broken":  # skopeo ignores a malformed entry that no requirement needs
            assert (what, case.check(ref, policy(wanted))) == (what, True)


def test_scopes(case: Case, registry: Registry, stated: Mapping[str, str]) -> None:
    """The narrowest scope applies, and no other."""
    ref, host = stated["exact"], registry.host
    domain = host.partition(":")[0]
    narrow = [ref, f"{host}/containers/exact", f"{host}/containers", host]
    wide = ["*.0.0.1", "*.0.1", "*.1", ""]
    order = [*narrow, *wide]
    for place, scope in enumerate(order):
        rest = {wider: [REJECT] for wider in order[place + 1 :]}
        body = encode({"default": [REJECT], "transports": {"docker": {scope: [ACCEPT], **rest}}})
        assert case.check(ref, body)
        found, _ = case.load(body, ON).rules_for(Reference.parse(ref))
        assert found == (scope or "docker")
    digest_scope = {by_digest(ref): [ACCEPT], f"{host}/containers/exact": [REJECT]}
    body = encode({"default": [REJECT], "transports": {"docker": digest_scope}})
    assert case.check(by_digest(ref), body)
    assert not case.check(ref, body)
    for other in (
        domain,
        f"{host}/contain",
        f"{host}/containers/",
        "*.0.0.1:5000",
        f"*.{host}",
        "*",
    ):
        body = encode({"default": [REJECT], "transports": {"docker": {other: [ACCEPT]}}})
        assert not case.check(ref, body)
    assert case.check(ref, encode({"default": [ACCEPT]}))
    assert case.check(ref, encode({"default": [ACCEPT], "transports": {"atomic": {"": [REJECT]}}}))
    assert not case.check(ref, encode({"default": [REJECT], "transports": {"dir": {"": [ACCEPT]}}}))


def test_a_tag_does_not_count_beside_a_digest(case: Case, stated: Mapping[str, str]) -> None:
    """podman drops it; skopeo refuses such a name."""
    ref = f"{stated['other-tag']}@{ONE.digest}"
    assert case.verdict(ref, policy(signed()), ON) == ""
    assert "is for" in case.verdict(ref, policy(signed("matchExact")), ON)


SETTING = "use-sigstore-attachments"
#: Files of registries.d, and whether signatures are looked at; ``None``: the files are malformed.
REGISTRIES: dict[str, tuple[dict[str, str], bool | None]] = {
    "none": ({}, False),
    "default": ({"a.yaml": f"default-docker:\n  {SETTING}: true\n"}, True),
    "false": ({"a.yaml": f"default-docker:\n  {SETTING}: false\n"}, False),
    "yes": ({"a.yaml": f"default-docker: {{{SETTING}: yes}}"}, True),
    "comment": ({"a.yaml": f"# {SETTING}: true\n"}, False),
    "another extension": ({"a.yml": f"default-docker: {{{SETTING}: true}}"}, False),
    "scope": ({"a.yaml": f"docker:\n  HOST/containers:\n    {SETTING}: true\n"}, True),
    "another scope": ({"a.yaml": f"docker: {{HOST/contain: {{{SETTING}: true}}}}"}, False),
    "narrower": (
        {
            "a.yaml": f"docker: {{HOST: {{{SETTING}: true}}}}",
            "b.yaml": f"docker: {{HOST/containers: {{{SETTING}: false}}}}",
        },
        False,
    ),
    "narrower without the setting": (
        {
            "a.yaml": f"docker: {{HOST: {{{SETTING}: true}}}}",
            "b.yaml": "docker: {HOST/containers: {lookaside: file:///nowhere}}",
        },
        True,
    ),
    "null": ({"a.yaml": f"docker: {{HOST: {{{SETTING}: null}}, HOST/containers: null}}"}, False),
    "anchor": ({"a.yaml": f"default-docker: &a {{{SETTING}: true}}\ndocker: {{x: *a}}"}, True),
    "unknown keys": ({"a.yaml": f"more: 1\ndefault-docker: {{{SETTING}: true, more: 1}}"}, True),
    "empty": ({"a.yaml": "", "b.yaml": f"default-docker: {{{SETTING}: true}}"}, True),
    "broken": ({"a.yaml": "default-docker: ["}, None),
    "a list": ({"a.yaml": "[1]"}, None),
    "a text": ({"a.yaml": f'default-docker: {{{SETTING}: "true"}}'}, None),
    "a number": ({"a.yaml": f"default-docker: {{{SETTING}: 1}}"}, None),
    "a text as section": ({"a.yaml": "default-docker: x"}, None),
    "twice a key": ({"a.yaml": f"docker: {{HOST: {{{SETTING}: true}}, HOST: null}}"}, None),
    "two defaults": (
        {"a.yaml": "default-docker: {x: 1}", "b.yaml": "default-docker: {x: 1}"},
        None,
    ),
    "two scopes": ({"a.yaml": "docker: {x: {}}", "b.yaml": "docker: {x: {}}"}, None),
}


@pytest.mark.parametrize("kind", REGISTRIES)
def test_registries_d(case: Case, registry: Registry, stated: Mapping[str, str], kind: str) -> None:
    texts, expected = REGISTRIES[kind]
    files = {name: text.replace("HOST", registry.host).encode() for name, text in texts.items()}
    assert case.check(stated["exact"], policy(signed()), files) == bool(expected)
    assert case.check(stated["exact"], policy(ACCEPT), files) == (expected is not None)
    if expected is False:
        found = case.load(policy(signed()), files)
        with pytest.raises(Unsigned, match="disables signatures"):
            found.rules_for(Reference.parse(stated["exact"]))
    elif expected is None:
        with pytest.raises(InvalidArgument):
            case.load(policy(ACCEPT), files)


def broken(requirement: object) -> bytes:
    """A policy that accepts all images, with a requirement for a host that is not used."""
    scopes = {"": [ACCEPT], "elsewhere.example": [requirement]}
    return encode({"default": [REJECT], "transports": {"docker": scopes}})


def altered(**changes: object) -> bytes:
    return broken({**signed("matchRepository"), **changes})


FULCIO = {"caData": "AAAA", "oidcIssuer": "https://issuer.example", "subjectEmail": "a@example.com"}
REKOR = {"rekorPublicKeyData": "AAAA"}
GPG = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/none"}
TYPED = {"type": "sigstoreSigned"}
REMAP = {"type": "remapIdentity", "prefix": "a.example/b", "signedPrefix": "c.example"}
#: Policies, and whether they can be read.
DOCUMENTS: dict[str, tuple[bytes, bool]] = {
    "good": (altered(), True),
    "unknown transport": (policy(ACCEPT, more={"": [ACCEPT]}), True),
    "no transports": (encode({"default": [ACCEPT]}), True),
    "empty transports": (encode({"default": [ACCEPT], "transports": {}}), True),
    "GPG": (broken(GPG), True),
    "GPG data": (broken({"type": "signedBy", "keyType": "GPGKeys", "keyData": "AAAA"}), True),
    "base layer": (
        broken({"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}}),
        True,
    ),
    "fulcio": (broken({**TYPED, "fulcio": FULCIO, **REKOR}), True),
    "PKI": (
        broken({**TYPED, "pki": {"caRootsData": "AAAA", "subjectHostname": "a.example"}}),
        True,
    ),
    "log": (altered(**REKOR), True),
    "no key file": (broken({**TYPED, "keyPath": "/none"}), True),
    "remap": (altered(signedIdentity=REMAP), True),
    "not JSON": (b"{", False),
    "a comment": (b'{"default": [{"type": "reject"}] /* x */}', False),
    "more data": (encode({"default": [ACCEPT]}) + b"{}", False),
    "no default": (encode({"transports": {"docker": {"": [ACCEPT]}}}), False),
    "empty default": (encode({"default": [], "transports": {"docker": {"": [ACCEPT]}}}), False),
    "null default": (encode({"default": None, "transports": {"docker": {"": [ACCEPT]}}}), False),
    "null transports": (encode({"default": [ACCEPT], "transports": None}), False),
    "unknown field": (encode({"default": [ACCEPT], "more": 1}), False),
    "capital letters": (encode({"Default": [ACCEPT]}), False),
    "twice a field": (b'{"default":[{"type":"reject"}],"default":[{"type":"reject"}]}', False),
    "twice a scope": (
        b'{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":'
        b'{"a.example":[{"type":"reject"}],"a.example":[{"type":"reject"}]}}}',
        False,
    ),
    "empty scope": (encode({"default": [ACCEPT], "transports": {"docker": {"x": []}}}), False),
    "unknown type": (broken({"type": "more"}), False),
    "no type": (broken({}), False),
    "a text": (broken("reject"), False),
    "accept with more": (broken({**ACCEPT, "more": 1}), False),
    "reject with more": (broken({**REJECT, "keyPath": "/none"}), False),
    "signed with more": (altered(more=1), False),
    "no key": (broken(TYPED), False),
    "two keys": (altered(keyPath="/none"), False),
    "null key": (broken({**TYPED, "keyPath": None}), False),
    "empty key": (broken({**TYPED, "keyPath": ""}), False),
    "empty keys": (broken({**TYPED, "keyPaths": []}), False),
    "empty datas": (broken({**TYPED, "keyDatas": []}), False),
    "a list as path": (broken({**TYPED, "keyPath": ["/none"]}), False),
    "a text as paths": (broken({**TYPED, "keyPaths": "/none"}), False),
    "not base64": (altered(keyData="?"), False),
    "two logs": (altered(**REKOR, rekorPublicKeyPath="/none"), False),
    "fulcio without log": (broken({**TYPED, "fulcio": FULCIO}), False),
    "fulcio without issuer": (
        broken({**TYPED, "fulcio": {**FULCIO, "oidcIssuer": ""}, **REKOR}),
        False,
    ),
    "fulcio with more": (broken({**TYPED, "fulcio": {**FULCIO, "more": 1}, **REKOR}), False),
    "fulcio with two": (broken({**TYPED, "fulcio": {**FULCIO, "caPath": "/x"}, **REKOR}), False),
    "fulcio and key": (altered(fulcio=FULCIO, **REKOR), False),
    "null fulcio": (altered(fulcio=None), False),
    "PKI with log": (
        broken({**TYPED, "pki": {"caRootsData": "AAAA", "subjectEmail": "a@b"}, **REKOR}),
        False,
    ),
    "PKI without subject": (broken({**TYPED, "pki": {"caRootsData": "AAAA"}}), False),
    "GPG without type": (broken({"type": "signedBy", "keyPath": "/none"}), False),
    "GPG of another type": (broken({**GPG, "keyType": "more"}), False),
    "GPG with two keys": (broken({**GPG, "keyData": "AAAA"}), False),
    "GPG with more": (broken({**GPG, "more": 1}), False),
    "null identity": (altered(signedIdentity=None), False),
    "unknown identity": (altered(signedIdentity={"type": "more"}), False),
    "identity with more": (altered(signedIdentity={"type": "matchExact", "more": 1}), False),
    "exactReference without name": (altered(signedIdentity={"type": "exactReference"}), False),
    "exactReference without tag": (
        altered(signedIdentity={"type": "exactReference", "dockerReference": VENDOR}),
        False,
    ),
    "exactReference of no name": (
        altered(signedIdentity={"type": "exactReference", "dockerReference": "A B"}),
        False,
    ),
    "exactRepository of no name": (
        altered(signedIdentity={"type": "exactRepository", "dockerRepository": "A"}),
        False,
    ),
    "remap without prefix": (
        altered(signedIdentity={"type": "remapIdentity", "prefix": "a.example"}),
        False,
    ),
    "remap of a tag": (altered(signedIdentity={**REMAP, "prefix": "a.example/b:1"}), False),
    "remap of no name": (altered(signedIdentity={**REMAP, "prefix": "a.example/"}), False),
    "remap to nothing": (altered(signedIdentity={**REMAP, "signedPrefix": ""}), False),
    "base layer without identity": (broken({"type": "signedBaseLayer"}), False),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_how_strictly_policies_are_read(case: Case, stated: Mapping[str, str], kind: str) -> None:
    body, is_valid = DOCUMENTS[kind]
    assert case.check(stated["exact"], body) == is_valid
    if not is_valid:
        with pytest.raises(InvalidArgument):
            case.load(body, ON)


def test_the_default_paths(
    stated: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".config" / "containers"
    (folder / "registries.d").mkdir(parents=True)
    (folder / "policy.json").write_bytes(policy(signed()))
    (folder / "registries.d" / "all.yaml").write_bytes(ON["all.yaml"])
    layout = Layout(tmp_path / "store", policy=folder / "policy.json")
    assert layout.pull(stated["exact"]).verdict is not None
    with pytest.raises(SignatureError):
        layout.pull(stated["bare"])
    _, (rule,) = trust.ContainersPolicy.load().rules_for(Reference.parse(stated["exact"]))
    assert rule.keys == (KEY.public,)

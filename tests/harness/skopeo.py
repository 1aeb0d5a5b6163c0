"""Skopeo of Debian's unstable release, which signs and verifies images: 1.22.

    key = skopeo.generate_key(folder)
    skopeo.sign(f"{registry.host}/app:1", key)
    assert skopeo.verify(f"{registry.host}/app:1", skopeo.signed_by(key)).ok

It knows the tag form alone. All registries have plain HTTP. Calls raise `Unavailable` if skopeo
cannot be fetched. `judges.Skopeo` is bookworm's, which knows no signatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .images import Json, encode
from .signing import Identity, Key, Result, call

PROGRAM = "skopeo-sid"
"""Its name in `debian.HOMES`."""

_ACCEPT = [{"type": "insecureAcceptAnything"}]


def generate_key(folder: Path, name: str = "key", password: str = "secret") -> Key:
    """Make an ECDSA key (P-256) in a folder; the file of the private key has an old header."""
    prefix = folder / name
    argv = ("generate-sigstore-key", "--output-prefix", str(prefix), "--passphrase-file", "p")
    call(PROGRAM, argv, files={"p": password.encode()}).check()
    return Key(folder / f"{name}.private", folder / f"{name}.pub", password)


def sign(ref: str, key: Key, *, identity: str = "", every: bool = False) -> Result:
    """Sign an image, by a copy to where it is; with `every`, all that an index lists, too.

    `identity` is the reference that becomes part of the signature. The default is `ref`.
    """
    flags = ["--sign-by-sigstore-private-key", str(key.private), "--sign-passphrase-file", "p"]
    flags += ["--sign-identity", identity] if identity else []
    flags += ["--all"] if every else []
    return _copy(ref, f"docker://{ref}", flags, _ACCEPT, {"p": key.password.encode()}).check()


def sign_keyless(ref: str, signer: Identity, *, fulcio: str, rekor: str) -> Result:
    """Sign an image with a certificate of Fulcio, and log it in Rekor v1; both are URLs."""
    token = signer.token.read_text()
    authority = {"fulcioURL": fulcio, "oidcMode": "staticToken", "oidcIDToken": token}
    files = {"parameters.yaml": encode({"fulcio": authority, "rekorURL": rekor})}  # also YAML
    flags = ["--sign-by-sigstore", "parameters.yaml"]
    return _copy(ref, f"docker://{ref}", flags, _ACCEPT, files).check()


def signed_by(key: Key, *, identity: str = "matchRepository") -> Json:
    """Return the requirement that a key has signed an image.

    `identity` says what the reference in the signature must match, as in `signedIdentity`.
    """
    match = {"signedIdentity": {"type": identity}}
    return {"type": "sigstoreSigned", "keyPath": str(key.public), **match}


def signed_as(signer: Identity, *, authority: Path, log: Path) -> Json:
    """Return the requirement that a person has signed an image, with an e-mail address.

    `authority` is the file of Fulcio's certificates, and `log` is that of Rekor's public key.
    """
    person = {"oidcIssuer": signer.issuer, "subjectEmail": signer.subject}
    return {
        "type": "sigstoreSigned",
        "fulcio": {"caPath": str(authority), **person},
        "rekorPublicKeyPath": str(log),
        "signedIdentity": {"type": "matchRepository"},
    }


def verify(ref: str, *requirements: Json, every: bool = False) -> Result:
    """Copy an image as a policy with these requirements allows; with `every`, a whole index.

    All requirements must hold. The signatures do not become part of the copy.
    """
    flags = ["--remove-signatures", *(["--all"] if every else [])]
    return _copy(ref, "dir:copy", flags, list(requirements))


def judge(ref: str, policy: bytes, registries: Mapping[str, bytes]) -> Result:
    """Copy an image as a policy allows, which is the content of `policy.json`.

    `registries` has the files of `registries.d` by name.
    """
    files = {"policy.json": policy, "registries.d/all.yaml": b""}
    files |= {f"registries.d/{name}": body for name, body in registries.items()}
    return _copy(ref, "dir:copy", ["--remove-signatures"], [], files)


def _copy(
    ref: str,
    target: str,
    flags: list[str],
    requirements: list[Json],
    extra: dict[str, bytes] | None = None,
) -> Result:
    policy = {"default": [{"type": "reject"}], "transports": {"docker": {"": requirements}}}
    attachments = {"default-docker": {"use-sigstore-attachments": True}}
    files = {
        "policy.json": encode(policy),
        "registries.d/all.yaml": encode(attachments),
        "registries.conf": b"",
        **(extra or {}),
    }
    settings = ["--policy=policy.json", "--registries.d=registries.d", "--tmpdir=."]
    where = ["--src-tls-verify=false"]
    where += ["--dest-tls-verify=false", "--preserve-digests"] if ref in target else []
    argv = [*settings, "copy", *where, *flags, f"docker://{ref}", target]
    variables = {"CONTAINERS_REGISTRIES_CONF": "registries.conf", "_CONTAINERS_ROOTLESS_UID": "1"}
    return call(PROGRAM, argv, variables, files)

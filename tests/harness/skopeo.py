"""Skopeo of Debian's unstable release, which signs and verifies images: 1.22.

    key = skopeo.generate_key(folder)
    skopeo.sign(f"{registry.host}/app:1", key)
    assert skopeo.verify(f"{registry.host}/app:1", skopeo.signed_by(key)).ok

It knows the tag form alone. All registries have plain HTTP. Calls raise `Unavailable` if skopeo
cannot be fetched. `judges.Skopeo` is bookworm's, which knows no signatures.
"""

from __future__ import annotations

from pathlib import Path

from .images import Json, encode
from .signing import Key, Result, call

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


def sign_with(ref: str, parameters: Json) -> Result:
    """Sign an image with a sigstore parameter file, which can name Fulcio and Rekor."""
    flags = ["--sign-by-sigstore", "parameters.yaml"]  # JSON is YAML too
    files = {"parameters.yaml": encode(parameters)}
    return _copy(ref, f"docker://{ref}", flags, _ACCEPT, files).check()


def signed_by(key: Key, *, identity: str = "matchRepository") -> Json:
    """Return the requirement that a key has signed an image.

    `identity` says what the reference in the signature must match, as in `signedIdentity`.
    """
    match = {"signedIdentity": {"type": identity}}
    return {"type": "sigstoreSigned", "keyPath": str(key.public), **match}


def verify(ref: str, *requirements: Json, every: bool = False) -> Result:
    """Copy an image as a policy with these requirements allows; with `every`, a whole index.

    All requirements must hold. The signatures do not become part of the copy.
    """
    flags = ["--remove-signatures", *(["--all"] if every else [])]
    return _copy(ref, "dir:copy", flags, list(requirements))


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

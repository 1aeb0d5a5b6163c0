"""Debian's cosign, which signs and verifies images: generation 2 (2.5) and generation 3 (3.1).

    key = Cosign("3").generate_key(folder)
    Cosign("3").sign(f"{registry.host}/app@{digest}", key)
    assert Cosign("3").verify(f"{registry.host}/app@{digest}", key).ok

Generation 2 writes signatures to the tag `sha256-HEX.sig`, and with `referrer` as a manifest that
refers to the image. Generation 3 writes bundles, as manifests that refer to the image. Without
`Services`, no other servers than the registry take part: signatures are not in a log.

Signing raises `Failed` if cosign fails. Verifying returns a `Result`. Both raise `Unavailable` if
cosign cannot be fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .images import Json, encode
from .signing import Identity, Key, Result, call

GENERATIONS = ("2", "3")
PROGRAMS = {"2": "cosign-trixie", "3": "cosign-sid"}
"""The name of each generation in `debian.HOMES`."""

_EMPTY_CONFIG = encode({"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"})
_EMPTY_ROOT = encode({"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"})


@dataclass(frozen=True)
class Services:
    """Servers of a sigstore that take part, as generation 3 gets them, and generation 2.

    Generation 3 reads the files `signing_config` and `trusted_root`. Generation 2 gets `options`
    when it signs, `checks` when it verifies, and `variables`.
    """

    signing_config: Path
    trusted_root: Path
    options: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    variables: Mapping[str, str] | None = None


class Cosign:
    """One generation of cosign, with the services that take part."""

    def __init__(self, generation: str, services: Services | None = None) -> None:
        """Choose one of `GENERATIONS`."""
        self._program = PROGRAMS[generation]
        self._is_new = generation == "3"
        self._services = services

    def generate_key(self, folder: Path, name: str = "key", password: str = "secret") -> Key:
        """Make an ECDSA key (P-256) in a folder."""
        key = _key(folder, name, password)
        prefix = str(key.private.with_suffix(""))
        self._call("generate-key-pair", "--output-key-prefix", prefix, password=password).check()
        return key

    def import_key(
        self, pem: Path, folder: Path, name: str = "key", password: str = "secret"
    ) -> Key:
        """Write the private key of a PEM file as cosign's own file, with a password."""
        key = _key(folder, name, password)
        prefix = ("--output-key-prefix", str(key.private.with_suffix("")))
        self._call("import-key-pair", "--key", str(pem), *prefix, password=password).check()
        return key

    def sign(
        self,
        ref: str,
        signer: Key | Identity,
        *,
        annotations: Mapping[str, str] | None = None,
        referrer: bool = False,
        recursive: bool = False,
    ) -> Result:
        """Sign an image or index, with `recursive` also each manifest that the index lists.

        `ref` has the digest. `annotations` become part of what is signed. `referrer` makes
        generation 2 write a manifest that refers to the image.
        """
        flags = [f"--annotations={name}={value}" for name, value in (annotations or {}).items()]
        flags += ["--recursive"] if recursive else []
        variables = {}
        if referrer and not self._is_new:
            flags.append("--registry-referrers-mode=oci-1-1")
            variables["COSIGN_EXPERIMENTAL"] = "1"
        return self._sign("sign", signer, *flags, ref, variables=variables)

    def attest(self, ref: str, signer: Key | Identity, predicate: Json, kind: str) -> Result:
        """Attach a signed attestation: its predicate, and the predicate's type.

        `kind` is a word that cosign knows, such as `spdxjson` or `slsaprovenance1`, or a URI.
        """
        flags = ("--predicate=predicate.json", f"--type={kind}")
        files = {"predicate.json": encode(predicate)}
        return self._sign("attest", signer, *flags, ref, files=files)

    def sign_blob(self, content: bytes, signer: Key | Identity, bundle: Path) -> Result:
        """Sign bytes, and write the bundle, which has a plain signature instead of a statement."""
        flags = [f"--bundle={bundle}"] + ([] if self._is_new else ["--new-bundle-format"])
        return self._sign("sign-blob", signer, *flags, "content", files={"content": content})

    def verify(
        self,
        ref: str,
        signer: Key | Identity,
        *,
        annotations: Mapping[str, str] | None = None,
        referrer: bool = False,
    ) -> Result:
        """Verify that a signer has signed an image; the result's output has the payloads.

        With `annotations`, one signature must have all of them. `referrer` makes generation 2 look
        at the manifests that refer to the image, instead of the tag. Without bundles,
        generation 3 looks at the tag. It does not know generation 2's referrers.
        """
        flags = [f"--annotations={name}={value}" for name, value in (annotations or {}).items()]
        flags += ["--experimental-oci11"] if referrer and not self._is_new else []
        return self._verify("verify", signer, *flags, ref)

    def verify_attestation(self, ref: str, signer: Key | Identity, kind: str) -> Result:
        """Verify that an image has a signer's attestation with a predicate of this type."""
        return self._verify("verify-attestation", signer, f"--type={kind}", ref)

    def verify_blob(self, bundle: Path, digest: str, signer: Key | Identity) -> Result:
        """Verify a bundle alone, over an artifact with this digest, such as an image's manifest."""
        flags = [f"--bundle={bundle}"]
        if not self._is_new:
            flags += ["--new-bundle-format", f"--trusted-root={self._files()[1]}"]
        return self._verify("verify-blob", signer, *flags, digest)

    def save(self, ref: str, folder: Path) -> Result:
        """Write an image and what is attached to it to a folder, which becomes a layout."""
        return self._call("save", f"--dir={folder}", ref).check()

    def _sign(
        self,
        command: str,
        signer: Key | Identity,
        *args: str,
        variables: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Result:
        if isinstance(signer, Key):
            flags, password = [f"--key={signer.private}"], signer.password
        else:
            flags, password = [f"--identity-token={signer.token}"], ""
        if self._is_new:
            config, root = self._files()
            flags += [f"--signing-config={config}", f"--trusted-root={root}"]
        elif self._services is not None:
            flags += self._services.options
        else:
            flags.append("--tlog-upload=false")
        argv = [command, "--yes", *flags, *args]
        return self._call(*argv, password=password, variables=variables, files=files).check()

    def _verify(self, command: str, signer: Key | Identity, *args: str) -> Result:
        if isinstance(signer, Key):
            flags = [f"--key={signer.public}"]
        else:
            flags = [f"--certificate-identity={signer.subject}"]
            flags.append(f"--certificate-oidc-issuer={signer.issuer}")
        if self._is_new:
            flags.append(f"--trusted-root={self._files()[1]}")
        if self._services is None:
            flags.append("--insecure-ignore-tlog")
        else:
            flags += self._services.checks
        return self._call(command, *flags, *args)

    def _files(self) -> tuple[Path, Path]:
        """Return the signing config and the trusted root, which `_call` writes if they are empty.

        Without them, cosign asks the public instance for its own.
        """
        if self._services is None:
            return Path("empty", "config.json"), Path("empty", "root.json")
        return self._services.signing_config, self._services.trusted_root

    def _call(
        self,
        *argv: str,
        password: str = "",
        variables: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Result:
        own = {"COSIGN_PASSWORD": password, **(variables or {})}
        if self._services is not None:
            own |= self._services.variables or {}
        empty = {"empty/config.json": _EMPTY_CONFIG, "empty/root.json": _EMPTY_ROOT}
        return call(self._program, argv, own, {**empty, **(files or {})})


def _key(folder: Path, name: str, password: str) -> Key:
    return Key(folder / f"{name}.key", folder / f"{name}.pub", password)

"""A sigstore on the loopback: Fulcio, a CT log, a timestamp authority, and Rekor v2 and v1.

    with Sigstore() as sigstore:
        cosign, signer = Cosign("3", sigstore.services()), sigstore.issuer.github("owner/app")
        cosign.sign(f"{registry.host}/app@{digest}", signer)
        assert cosign.verify(f"{registry.host}/app@{digest}", signer).ok

These are the real servers, which Go builds (`tox -e fetch`). Their keys are made for each run. The
issuer of identity tokens is the harness's own. Rekor v1 starts when it is first asked for.

- `issuer`: identity tokens, of people and of workflows.
- `keys`: all keys and certificates.
- `servers`: how the servers are called.
- `go/`: own programs that use a server's packages.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from .. import debris
from ..cosign import Services
from ..images import Json
from .issuer import Issuer
from .keys import START, Keys
from .servers import ORIGIN, ORIGIN_V1, Servers, check_programs

_ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
_SUBJECT = {"organization": "test", "commonName": "test"}
_CONFIG_TYPE = "application/vnd.dev.sigstore.signingconfig.v0.2+json"


class Sigstore:
    """The servers and the files that describe them, from `open()` or `with` until `close()`."""

    issuer: Issuer
    keys: Keys
    trusted_root: Path
    """The file of the trusted root, with the keys of all servers."""
    fulcio_url: str
    timestamps_url: str
    rekor_url: str
    """The URLs of Fulcio, of the timestamp authority, and of Rekor v2."""

    def __enter__(self) -> Sigstore:
        """Open it."""
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def open(self) -> None:
        """Make the keys, and start the servers but Rekor v1.

        Raises `Unavailable` if a server is not built, or does not start.
        """
        check_programs()
        with ExitStack() as stack:
            self.folder = debris.make_folder()
            stack.callback(debris.remove, self.folder)
            self.keys = Keys(self.folder)
            self.issuer = Issuer(self.folder)
            stack.callback(self.issuer.close)
            self._servers = Servers(self.folder, self.keys, self.issuer)
            stack.callback(self._servers.close)
            self.fulcio_url = _url(self._servers.fulcio(self._servers.ct_log()))
            self.timestamps_url = f"{_url(self._servers.timestamps())}/api/v1/timestamp"
            self.rekor_url = _url(self._servers.rekor())
            self.trusted_root = self._write("trusted_root.json", self._trusted_root())
            self._opened = stack.pop_all()

    def close(self) -> None:
        """End all servers, and remove the folder."""
        self._opened.close()

    @cached_property
    def rekor_v1_url(self) -> str:
        """The URL of Rekor v1, which the first access starts."""
        return _url(self._servers.rekor_v1())

    def services(self, *, rekor: int | None = 2, timestamps: bool = True) -> Services:
        """Return the servers that take part: Rekor v2, v1 or none, and the timestamp authority.

        Generation 2 of cosign knows Rekor v1 alone.
        """
        name = f"signing_config-{rekor}-{timestamps}.json"
        rekor_url = self.rekor_v1_url if rekor == 1 else self.rekor_url
        config: Json = {
            "mediaType": _CONFIG_TYPE,
            "caUrls": [_service(self.fulcio_url)],
            "oidcUrls": [_service(self.issuer.url("email"))],
            "rekorTlogConfig": {"selector": "ANY"} if rekor else {},
            "rekorTlogUrls": [_service(rekor_url, rekor)] if rekor else [],
            "tsaConfig": {"selector": "ANY"} if timestamps else {},
            "tsaUrls": [_service(self.timestamps_url)] if timestamps else [],
        }
        checks = () if rekor else ("--insecure-ignore-tlog",)
        return Services(
            self._write(name, config),
            self.trusted_root,
            options=self._options(rekor, timestamps),
            checks=(*checks, *(("--use-signed-timestamps",) if timestamps else ())),
            variables={
                "SIGSTORE_ROOT_FILE": str(self.keys.fulcio.path),
                "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": str(self.keys.ct.public),
                "SIGSTORE_REKOR_PUBLIC_KEY": str(self.keys.rekor_v1.public),
                "SIGSTORE_TSA_CERTIFICATE_FILE": str(self.keys.timestamps.path),
            },
        )

    def _options(self, rekor: int | None, timestamps: bool) -> tuple[str, ...]:
        """Return the options of cosign's generation 2 for signing."""
        options = [f"--fulcio-url={self.fulcio_url}"]
        options.append(f"--rekor-url={self.rekor_v1_url}" if rekor == 1 else "--tlog-upload=false")
        if timestamps:
            options.append(f"--timestamp-server-url={self.timestamps_url}")
        return tuple(options)

    def _trusted_root(self) -> Json:
        return {
            "mediaType": _ROOT_TYPE,
            "tlogs": [
                self.keys.rekor.trusted(f"https://{ORIGIN}", ORIGIN),
                self.keys.rekor_v1.trusted(f"https://{ORIGIN_V1}"),
            ],
            "ctlogs": [self.keys.ct.trusted("https://ct.test")],
            "certificateAuthorities": [
                {"uri": self.fulcio_url, "subject": _SUBJECT, **self.keys.fulcio.trusted}
            ],
            "timestampAuthorities": [
                {"uri": self.timestamps_url, "subject": _SUBJECT, **self.keys.timestamps.trusted}
            ],
        }

    def _write(self, name: str, document: Json) -> Path:
        path = self.folder / name
        path.write_text(json.dumps(document))
        return path


def _service(url: str, version: int = 1) -> Json:
    """Return a server as a signing config has it."""
    period = {"start": START}
    return {"url": url, "majorApiVersion": version, "validFor": period, "operator": "test"}


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"

"""What others make of a registry: skopeo, crane and oras, each asked the same things.

    judge = Crane(authority=authority.certificate, logins={registry.host: ("user", "password")})
    assert judge.digest(f"{registry.host}/app:1") == image.digest

References are whole: `host/repository:tag`, or `@digest`. A judge keeps nothing from one question
to the next, and neither reads nor writes a file of the user's: its home is a folder of its own.
Passwords go through a file there, never through arguments, which everybody can see.
"""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from . import debian
from .images import digest_of, encode
from .tls import Pair

_SECONDS = 60.0
_MOST = 8 << 20
"""Bytes of an answer: manifests end at 4 MiB."""
_WORDS = 2000
"""Bytes of a complaint, from its end."""


class Judge(ABC):
    """One program, and how it comes to registries; see `Skopeo`, `Crane` and `Oras`.

    All methods raise `RuntimeError` with the program's words when it fails or says too much,
    `subprocess.TimeoutExpired`, and `Unavailable` when the program cannot be had.
    """

    name = ""

    def __init__(
        self,
        *,
        plain: Collection[str] = (),
        authority: Path | None = None,
        client: Pair | None = None,
        logins: Mapping[str, tuple[str, str]] | None = None,
        timeout: float = _SECONDS,
    ) -> None:
        """Choose the hosts (`127.0.0.1:PORT`) of plain HTTP; all others are asked over TLS.

        `authority` signs the certificates of those, and of their realms; `client` is shown to
        them. `logins` is host → user and password. An answer takes `timeout` seconds at most.
        """
        self._plain = frozenset(plain)
        self._authority, self._client = authority, client
        self._logins = dict(logins or {})
        self._timeout = timeout

    @abstractmethod
    def digest(self, ref: str) -> str:
        """Return the digest of a manifest or index."""

    @abstractmethod
    def manifest(self, ref: str) -> bytes:
        """Return a manifest or index, byte for byte."""

    @abstractmethod
    def tags(self, repository: str) -> list[str]:
        """Return the tags of `host/repository`, sorted."""

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Copy an image, or all that an index lists, to another name or registry."""

    @abstractmethod
    def push(self, layout: Path, target: str) -> None:
        """Push the image or index that is the only one of an OCI layout's folder."""

    def _is_plain(self, ref: str) -> bool:
        return ref.partition("/")[0] in self._plain

    def _run(self, *args: str) -> bytes:
        """Run the program in a home of its own; returns what it says."""
        argv = [*debian.program(self.name).argv, *args]
        with tempfile.TemporaryDirectory(prefix="judge-") as name:
            home = Path(name)
            self._furnish(home)
            said, complaint = home / "said", home / "complaint"
            with said.open("wb") as output, complaint.open("wb") as errors:
                code = subprocess.run(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    env=self._environment(home),
                    cwd=home,
                    timeout=self._timeout,
                    start_new_session=True,  # a terminal's Ctrl-C is the owner's
                ).returncode
            if code:
                words = complaint.read_bytes()[-_WORDS:].decode("utf-8", "replace").strip()
                raise RuntimeError(f"{self.name} {args[0]} ended with code {code}: {words}")
            with said.open("rb") as output:
                answer = output.read(_MOST + 1)
        if len(answer) > _MOST:
            raise RuntimeError(f"{self.name} {args[0]} says more than {_MOST} bytes")
        return answer

    def _furnish(self, home: Path) -> None:
        """Put the user's files where all three look for them."""
        pairs = {host: ":".join(login).encode() for host, login in self._logins.items()}
        auths = {host: {"auth": base64.b64encode(one).decode()} for host, one in pairs.items()}
        config = home / ".docker" / "config.json"
        config.parent.mkdir()
        config.write_bytes(encode({"auths": auths}))  # the folder around is for its owner only

    def _environment(self, home: Path) -> dict[str, str]:
        """Return all that the program is to know; there is no proxy in it."""
        known = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(home), "TMPDIR": str(home)}
        if self._authority is not None:
            known["SSL_CERT_FILE"] = str(self._authority.absolute())
        return known


class Skopeo(Judge):
    """Debian 12's skopeo; to plain HTTP it comes by way of a try with TLS, unverified."""

    name = "skopeo"

    def digest(self, ref: str) -> str:
        """Return the digest of the bytes that it reads: its own inspection wants a platform."""
        return digest_of(self.manifest(ref))

    def manifest(self, ref: str) -> bytes:
        """See `Judge`."""
        return self._ask("inspect", "--raw", *self._flags(ref), f"docker://{ref}")

    def tags(self, repository: str) -> list[str]:
        """See `Judge`."""
        said = self._ask("list-tags", *self._flags(repository), f"docker://{repository}")
        found: list[str] = json.loads(said)["Tags"]
        return sorted(found)

    def copy(self, source: str, target: str) -> None:
        """See `Judge`."""
        self._copy(f"docker://{source}", target, *self._flags(source, "src-"))

    def push(self, layout: Path, target: str) -> None:
        """See `Judge`."""
        self._copy(f"oci:{layout.absolute()}", target)

    def _copy(self, source: str, target: str, *flags: str) -> None:
        flags = (*flags, *self._flags(target, "dest-"), "--all", "--preserve-digests")
        self._ask("copy", *flags, source, f"docker://{target}")

    def _ask(self, *args: str) -> bytes:
        return self._run(args[0], "--insecure-policy", "--tmpdir=.", *args[1:])

    def _flags(self, ref: str, side: str = "") -> list[str]:
        if self._is_plain(ref):
            return [f"--{side}tls-verify=false"]
        return [f"--{side}tls-verify=true", f"--{side}cert-dir=certs"]

    def _furnish(self, home: Path) -> None:
        super()._furnish(home)
        (home / "certs").mkdir()
        (home / "registries.conf").touch()
        if self._client is not None:
            for path, suffix in ((self._client.certificate, "cert"), (self._client.key, "key")):
                (home / "certs" / f"client.{suffix}").write_bytes(path.read_bytes())

    def _environment(self, home: Path) -> dict[str, str]:
        """Send it home for what it would look for in /run, /etc and, being root, /var/lib."""
        return {
            **super()._environment(home),
            "XDG_RUNTIME_DIR": str(home),
            "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf"),
            "_CONTAINERS_ROOTLESS_UID": "1",
        }


class Crane(Judge):
    """Debian's crane, which finds out by itself that a host of the loopback wants plain HTTP."""

    name = "crane"

    def digest(self, ref: str) -> str:
        """See `Judge`."""
        return self._run("digest", ref).decode().strip()

    def manifest(self, ref: str) -> bytes:
        """See `Judge`."""
        return self._run("manifest", ref)

    def tags(self, repository: str) -> list[str]:
        """See `Judge`."""
        return sorted(self._run("ls", repository).decode().split())

    def copy(self, source: str, target: str) -> None:
        """See `Judge`."""
        self._run("copy", source, target)

    def push(self, layout: Path, target: str) -> None:
        """See `Judge`."""
        self._run("push", str(layout.absolute()), target)

    def _furnish(self, home: Path) -> None:
        if self._client is not None:
            raise ValueError("crane has no way to show a client's certificate")
        super()._furnish(home)


class Oras(Judge):
    """Debian's oras."""

    name = "oras"

    def digest(self, ref: str) -> str:
        """See `Judge`."""
        return self._run("resolve", *self._flags(ref), ref).decode().strip()

    def manifest(self, ref: str) -> bytes:
        """See `Judge`."""
        return self._run("manifest", "fetch", *self._flags(ref), ref)

    def tags(self, repository: str) -> list[str]:
        """See `Judge`."""
        return sorted(
            self._run("repo", "tags", *self._flags(repository), repository).decode().split()
        )

    def copy(self, source: str, target: str) -> None:
        """See `Judge`."""
        flags = [*self._flags(source, "from-"), *self._flags(target, "to-")]
        self._run("cp", *flags, source, target)

    def push(self, layout: Path, target: str) -> None:
        """See `Judge`."""
        (only,) = json.loads((layout / "index.json").read_bytes())["manifests"]
        source = f"{layout.absolute()}@{only['digest']}"
        self._run("cp", "--from-oci-layout", *self._flags(target, "to-"), source, target)

    def _flags(self, ref: str, side: str = "") -> Sequence[str]:
        if self._is_plain(ref):
            return [f"--{side}plain-http=true"]
        flags = [f"--{side}plain-http=false"]
        if self._client is not None:
            flags.append(f"--{side}cert-file={self._client.certificate.absolute()}")
            flags.append(f"--{side}key-file={self._client.key.absolute()}")
        return flags


JUDGES: tuple[type[Judge], ...] = (Skopeo, Crane, Oras)
"""All of them; only crane cannot show a certificate of its own."""

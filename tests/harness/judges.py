"""Other registry clients with one interface, to judge a registry's content: skopeo, crane and oras.

    judge = Crane(authority=authority.certificate, logins={registry.host: ("user", "password")})
    assert judge.digest(f"{registry.host}/app:1") == image.digest

References are complete: `host/repository:tag`, or `@digest`. A judge keeps no state between calls.
It does not read or write the user's files: each call has a home folder of its own. Passwords are
in a file there, and never in arguments, which other users can see.
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
_MAX_OUTPUT = 8 << 20
"""The most bytes of output that a call accepts. Manifests have at most 4 MiB."""
_STDERR_TAIL = 2000
"""Bytes from the end of stderr that an error message shows."""


class Judge(ABC):
    """A program that accesses registries, with its settings; see `Skopeo`, `Crane` and `Oras`.

    All methods raise `RuntimeError` with the program's message if it fails or prints too much,
    `subprocess.TimeoutExpired` if it takes too long, and `Unavailable` if it cannot be fetched.
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
        """Choose the hosts (`127.0.0.1:PORT`) with plain HTTP; all others use TLS.

        `authority` is the file of the authority that signs the certificates of the TLS hosts and
        their realms; `client` is the client certificate for them. `logins` is host → user and
        password. A call takes at most `timeout` seconds.
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
        """Copy an image, or an index with everything it lists, to another name or registry."""

    @abstractmethod
    def push(self, layout: Path, target: str) -> None:
        """Push the only image or index of an OCI layout."""

    def _is_plain(self, ref: str) -> bool:
        return ref.partition("/")[0] in self._plain

    def _run(self, *args: str) -> bytes:
        """Run the program in a home folder of its own; return its output."""
        argv = [*debian.program(self.name).argv, *args]
        with tempfile.TemporaryDirectory(prefix="judge-") as name:
            home = Path(name)
            self._write_files(home)
            stdout, stderr = home / "stdout", home / "stderr"
            with stdout.open("wb") as output, stderr.open("wb") as errors:
                code = subprocess.run(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    env=self._environment(home),
                    cwd=home,
                    timeout=self._timeout,
                    start_new_session=True,  # so that Ctrl-C reaches only this process
                ).returncode
            if code:
                message = stderr.read_bytes()[-_STDERR_TAIL:].decode("utf-8", "replace").strip()
                raise RuntimeError(f"{self.name} {args[0]} exited with code {code}: {message}")
            with stdout.open("rb") as output:
                content = output.read(_MAX_OUTPUT + 1)
        if len(content) > _MAX_OUTPUT:
            raise RuntimeError(f"{self.name} {args[0]} wrote more than {_MAX_OUTPUT} bytes")
        return content

    def _write_files(self, home: Path) -> None:
        """Write the configuration that all three programs read."""
        pairs = {host: ":".join(login).encode() for host, login in self._logins.items()}
        auths = {host: {"auth": base64.b64encode(pair).decode()} for host, pair in pairs.items()}
        config = home / ".docker" / "config.json"
        config.parent.mkdir()
        config.write_bytes(encode({"auths": auths}))  # only the owner can read the folder

    def _environment(self, home: Path) -> dict[str, str]:
        """Return the program's whole environment, without the variables of proxies."""
        variables = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(home), "TMPDIR": str(home)}
        if self._authority is not None:
            variables["SSL_CERT_FILE"] = str(self._authority.absolute())
        return variables


class Skopeo(Judge):
    """Debian 12's skopeo. For plain HTTP it first tries TLS without verification."""

    name = "skopeo"

    def digest(self, ref: str) -> str:
        """Return the digest of the manifest's bytes: skopeo's own inspection needs a platform."""
        return digest_of(self.manifest(ref))

    def manifest(self, ref: str) -> bytes:
        """See `Judge`."""
        return self._run_skopeo("inspect", "--raw", *self._flags(ref), f"docker://{ref}")

    def tags(self, repository: str) -> list[str]:
        """See `Judge`."""
        output = self._run_skopeo("list-tags", *self._flags(repository), f"docker://{repository}")
        tags: list[str] = json.loads(output)["Tags"]
        return sorted(tags)

    def copy(self, source: str, target: str) -> None:
        """See `Judge`."""
        self._copy(f"docker://{source}", target, *self._flags(source, "src-"))

    def push(self, layout: Path, target: str) -> None:
        """See `Judge`."""
        self._copy(f"oci:{layout.absolute()}", target)

    def _copy(self, source: str, target: str, *flags: str) -> None:
        flags = (*flags, *self._flags(target, "dest-"), "--all", "--preserve-digests")
        self._run_skopeo("copy", *flags, source, f"docker://{target}")

    def _run_skopeo(self, *args: str) -> bytes:
        return self._run(args[0], "--insecure-policy", "--tmpdir=.", *args[1:])

    def _flags(self, ref: str, side: str = "") -> list[str]:
        if self._is_plain(ref):
            return [f"--{side}tls-verify=false"]
        return [f"--{side}tls-verify=true", f"--{side}cert-dir=certs"]

    def _write_files(self, home: Path) -> None:
        super()._write_files(home)
        (home / "certs").mkdir()
        (home / "registries.conf").touch()
        if self._client is not None:
            for path, suffix in ((self._client.certificate, "cert"), (self._client.key, "key")):
                (home / "certs" / f"client.{suffix}").write_bytes(path.read_bytes())

    def _environment(self, home: Path) -> dict[str, str]:
        """Redirect to its home what it would read in /run, in /etc and, as root, in /var/lib."""
        return {
            **super()._environment(home),
            "XDG_RUNTIME_DIR": str(home),
            "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf"),
            "_CONTAINERS_ROOTLESS_UID": "1",
        }


class Crane(Judge):
    """Debian's crane, which detects plain HTTP on the loopback by itself."""

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

    def _write_files(self, home: Path) -> None:
        if self._client is not None:
            raise ValueError("crane does not support client certificates")
        super()._write_files(home)


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
"""All judges. Only crane does not support client certificates."""

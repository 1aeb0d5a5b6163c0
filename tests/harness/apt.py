"""A private apt for one Debian release, which looks up and downloads packages without installing.

It has its own sources, indexes and (empty) dpkg status, and does not change the machine's. The
mirror is the machine's own, or `$CONTAINERD_LITE_DEBIAN_MIRROR`. It always checks signatures.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import Unavailable
from .process import run

MIRROR_VARIABLE = "CONTAINERD_LITE_DEBIAN_MIRROR"

_DAY = 24 * 3600
_KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
)
_TARGETS = "$(REPO_URI) $(RELEASE) $(ORIGIN) $(LABEL)"
_ENVIRONMENT = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


def mirror_of_targets(output: str) -> str | None:
    """Return Debian's main archive from lines `uri release origin label` of the machine's apt.

    Security archives have the origin Debian, too, but another label. Third parties have another
    origin.
    """
    for line in output.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2:] == ["Debian", "Debian"]:
            return fields[0]
    return None


def mirror_of_uris(output: str) -> str | None:
    """Return Debian's main archive from the output of `apt-get update --print-uris`.

    Before the first index is fetched, the origin of an archive is unknown. This function then
    goes by the usual path, which differs from that of security archives and third parties.
    """
    for match in re.finditer(r"^'(\w+://\S*?/debian/?)/?dists/[a-z]+/InRelease'", output, re.M):
        return match.group(1)
    return None


def machine_mirror() -> str:
    """Return the URI of the Debian archive that this machine uses."""
    if chosen := os.environ.get(MIRROR_VARIABLE):
        return chosen
    targets = _call(["apt-get", "indextargets", "--format", _TARGETS])
    mirror = mirror_of_targets(targets.stdout.decode())
    if mirror is None:
        uris = _call(["apt-get", "update", "--print-uris"])
        mirror = mirror_of_uris(uris.stdout.decode())
    if mirror is None:
        raise Unavailable(
            f"this machine's apt names no Debian archive; set {MIRROR_VARIABLE} to a mirror's URI"
        )
    return mirror


class Apt:
    """The private apt of one release, with its state in `folder`. The caller must hold a lock."""

    def __init__(self, suite: str, folder: Path) -> None:
        """Take a release and the folder for its indexes, without reading or fetching anything."""
        self._suite = suite
        self._folder = folder
        self._stamp = folder / "updated"

    def download(self, packages: Sequence[str], into: Path) -> list[Path]:
        """Download the release's newest version of packages; return the .deb files.

        If it fails, try once more with new indexes, because the release may have newer versions.
        """
        is_fresh = self._ensure_indexes()
        command = ["apt-get", "download", "--quiet=2", *packages]
        done = self._run(command, cwd=into)
        if done.returncode and not is_fresh:
            self._update()
            done = self._run(command, cwd=into)
        if done.returncode:
            raise Unavailable(
                f"Debian's {', '.join(packages)} of {self._suite} could not be downloaded: "
                + _reason(done)
            )
        return sorted(into.glob("*.deb"))

    def depends(self, packages: Iterable[str]) -> list[str]:
        """Return the names of the packages that these depend on: the first of each alternative."""
        self._ensure_indexes()
        done = self._run(["apt-cache", "show", "--no-all-versions", *packages])
        names: dict[str, None] = {}
        for line in done.stdout.decode("utf-8", "replace").splitlines():
            field, _, value = line.partition(": ")
            if field in ("Depends", "Pre-Depends"):
                for dependency in value.split(","):
                    names[re.split(r"[ :(|]", dependency.strip())[0]] = None
        return list(names)

    def _ensure_indexes(self) -> bool:
        """Fetch the indexes if they are missing or a day old; return whether it fetched them."""
        if not self._stamp.exists():
            self._update()
            return True
        if time.time() - self._stamp.stat().st_mtime > _DAY:
            try:
                self._update()
                return True
            except Unavailable:
                return False  # old indexes often still work
        return False

    def _update(self) -> None:
        self._configure()
        done = self._run(["apt-get", "update", "--quiet=2", "--error-on=any"])
        if done.returncode:
            raise Unavailable(
                f"the package index of Debian {self._suite} could not be fetched: " + _reason(done)
            )
        self._stamp.touch()

    def _configure(self) -> None:
        """Write the configuration.

        It takes from the machine's only the settings for the network, and whether an archive may
        be out of date (for machines that use a frozen mirror).
        """
        mirror = machine_mirror()
        for name in ("lists/partial", "archives/partial", "state"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        architecture = _call(["dpkg", "--print-architecture"]).stdout.decode().strip()
        options = f"arch={architecture}"
        keyring = next((path for path in _KEYRINGS if Path(path).exists()), None)
        if keyring:  # else apt uses the keys that it trusts by default
            options += f" signed-by={keyring}"
        source = f"deb [{options}] {mirror} {self._suite} main\n"
        _write_secret(self._folder / "sources.list", source)
        kept = [
            line
            for line in _call(["apt-config", "dump", "Acquire"]).stdout.decode().splitlines()
            if re.match(r"Acquire::(https?::|ForceIPv|Check-)", line)
        ]
        own = {
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": "/dev/null",
            "Dir::Etc::sourcelist": self._folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": self._folder / "state",
            "Dir::State::lists": self._folder / "lists",
            "Dir::State::status": self._folder / "status",
            "Dir::Cache": self._folder,
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "30",
            "APT::Sandbox::User": "root",
            "Debug::NoLocking": "true",
        }
        text = "\n".join([*kept, *(f'{key} "{value}";' for key, value in own.items()), ""])
        _write_secret(self._folder / "apt.conf", text)

    def _run(
        self, argv: Sequence[str], cwd: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        environment = {**_ENVIRONMENT, "APT_CONFIG": str(self._folder / "apt.conf")}
        return run(argv, timeout=600, env=environment, cwd=cwd)


def _call(argv: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return run(argv, timeout=60, env=_ENVIRONMENT)


def _write_secret(path: Path, text: str) -> None:
    """Write a file that only the owner can read: a mirror's or proxy's URI may have a password."""
    path.touch(mode=0o600)
    path.write_text(text)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the last lines of a failed apt's stderr, without the passwords of URIs."""
    text = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
    return re.sub(r"://[^/@\s]*@", "://", " ".join(text.splitlines()[-3:]))

"""A private apt for one Debian release: looks packages up and downloads them, installs nothing.

It has its own sources, indexes and (empty) dpkg status, so the machine's stay as they are. The
mirror is the machine's own, or `$CONTAINERD_LITE_DEBIAN_MIRROR`; signatures are always checked.
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
    """Pick Debian's main archive from the lines `uri release origin label` of the machine's apt.

    Security archives call themselves Debian too, but under another label; third parties do not.
    """
    for line in output.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2:] == ["Debian", "Debian"]:
            return fields[0]
    return None


def mirror_of_uris(output: str) -> str | None:
    """Pick Debian's main archive from what `apt-get update --print-uris` would fetch.

    This works before any index was fetched, when nothing yet tells an archive's origin: so it
    goes by the customary path, in which security archives and third parties differ.
    """
    for found in re.finditer(r"^'(\w+://\S*?/debian/?)/?dists/[a-z]+/InRelease'", output, re.M):
        return found.group(1)
    return None


def machine_mirror() -> str:
    """Return the URI of the Debian archive that this machine itself uses."""
    if chosen := os.environ.get(MIRROR_VARIABLE):
        return chosen
    targets = _call(["apt-get", "indextargets", "--format", _TARGETS])
    mirror = mirror_of_targets(targets.stdout.decode())
    if mirror is None:
        planned = _call(["apt-get", "update", "--print-uris"])
        mirror = mirror_of_uris(planned.stdout.decode())
    if mirror is None:
        raise Unavailable(
            f"this machine's apt names no Debian archive; set {MIRROR_VARIABLE} to a mirror's URI"
        )
    return mirror


class Apt:
    """The private apt of one release, with its state in `folder`; not safe without a lock."""

    def __init__(self, suite: str, folder: Path) -> None:
        """Name a release, and the folder that keeps its indexes; nothing is read or fetched."""
        self._suite = suite
        self._folder = folder
        self._stamp = folder / "updated"

    def download(self, packages: Sequence[str], into: Path) -> list[Path]:
        """Download packages in the release's newest version; returns the .deb files.

        A refusal is tried once more with fresh indexes: the release may have moved on.
        """
        fresh = self._ensure_indexes()
        command = ["apt-get", "download", "--quiet=2", *packages]
        done = self._run(command, cwd=into)
        if done.returncode and not fresh:
            self._update()
            done = self._run(command, cwd=into)
        if done.returncode:
            raise Unavailable(
                f"Debian's {', '.join(packages)} of {self._suite} could not be downloaded: "
                + _reason(done)
            )
        return sorted(into.glob("*.deb"))

    def depends(self, packages: Iterable[str]) -> list[str]:
        """Return the names of the packages that these need, each the first of its alternatives."""
        self._ensure_indexes()
        done = self._run(["apt-cache", "show", "--no-all-versions", *packages])
        names: dict[str, None] = {}
        for line in done.stdout.decode("utf-8", "replace").splitlines():
            field, _, value = line.partition(": ")
            if field in ("Depends", "Pre-Depends"):
                for one in value.split(","):
                    names[re.split(r"[ :(|]", one.strip())[0]] = None
        return list(names)

    def _ensure_indexes(self) -> bool:
        """Fetch the indexes when there are none or they are a day old; true if it did."""
        if not self._stamp.exists():
            self._update()
            return True
        if time.time() - self._stamp.stat().st_mtime > _DAY:
            try:
                self._update()
                return True
            except Unavailable:
                return False  # old indexes often still serve
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

        The machine's own decides only how the network is reached and whether an archive may be
        out of date (a machine that is kept on a frozen mirror says so there).
        """
        mirror = machine_mirror()
        for name in ("lists/partial", "archives/partial", "state"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        architecture = _call(["dpkg", "--print-architecture"]).stdout.decode().strip()
        options = f"arch={architecture}"
        keyring = next((path for path in _KEYRINGS if Path(path).exists()), None)
        if keyring:  # else apt falls back on the keys it trusts anyway
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
    """Write a file for the owner's eyes: a mirror's or a proxy's address may carry a password."""
    path.touch(mode=0o600)
    path.write_text(text)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the last words of a failed apt, without the passwords that a URI may carry."""
    text = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
    return re.sub(r"://[^/@\s]*@", "://", " ".join(text.splitlines()[-3:]))

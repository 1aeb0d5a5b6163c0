"""The program ``containerd-lite-verify``, as a process of its own, or as a file for a daemon."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import containerd_lite
from tests.harness import images, signatures
from tests.harness.keypairs import KeyPair
from tests.harness.registry import Registry

PATIENCE = 30.0
#: Mounts a folder over ``/etc``, whose other files stay visible.
_OVER_ETC = 'mount -t overlay overlay -o "lowerdir=$0:/etc" /etc && exec "$@"'
_CODE = "import sys; from containerd_lite.cli.verifier import main; sys.exit(main())"
DESCRIPTOR_TYPE = "application/vnd.oci.descriptor.v1+json"


@dataclass
class Program:
    """How the program is started, by default without any environment variable of the tests.

    ``etc`` is a folder whose files appear in ``/etc``, for this program alone. ``flags`` are
    Python's.
    """

    policy: Path | None = None
    etc: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    flags: Sequence[str] = ("-X", "dev", "-W", "error")

    @property
    def argv(self) -> list[str]:
        """The program and its first arguments."""
        argv = [sys.executable, *self.flags, "-c", _CODE]
        mounting = ["unshare", "-m", "sh", "-c", _OVER_ETC]
        return argv if self.etc is None else [*mounting, str(self.etc), *argv]

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a daemon without ``HOME``, as of systemd, and those of coverage."""
        coverage = {name: value for name, value in os.environ.items() if "COVERAGE" in name}
        own = {"CONTAINERD_LITE_POLICY": str(self.policy)} if self.policy else {}
        folders = [str(Path(containerd_lite.__file__).parents[1])]
        folders += filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {
            "PATH": path,
            "PYTHONPATH": os.pathsep.join(folders),
            **coverage,
            **own,
            **self.variables,
        }

    def start(
        self, *arguments: str, stdin: int | BinaryIO = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Start the program."""
        return subprocess.Popen(
            [*self.argv, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
        )

    def judge(
        self, image: images.Image, ref: str, *more: str, stdin: bytes | None = None
    ) -> Judgement:
        """Run the program as the daemon does; ``stdin`` replaces the image's descriptor."""
        arguments = ("-name", ref, "-digest", image.digest, "-stdin-media-type", DESCRIPTOR_TYPE)
        return self.run(*arguments, *more, stdin=descriptor(image) if stdin is None else stdin)

    def run(self, *arguments: str, stdin: bytes) -> Judgement:
        """Run the program."""
        with self.start(*arguments, stdin=subprocess.PIPE) as process:
            output, errors = process.communicate(stdin, PATIENCE)
        return Judgement(process.returncode, output.decode(), errors.decode())

    def install(self, folder: Path, name: str = "containerd-lite-verify") -> Path:
        """Write a script that starts the program, in a folder of the plugin."""
        path = folder / name
        variables = [f"{key}={shlex.quote(value)}" for key, value in self.environment.items()]
        command = shlex.join(["exec", "env", "-i"])
        new = folder.with_name(f"{folder.name}.new")
        new.write_text(f'#!/bin/sh\n{command} {" ".join(variables)} {shlex.join(self.argv)} "$@"\n')
        new.chmod(0o755)
        new.rename(path)
        return path


@dataclass(frozen=True)
class Judgement:
    """What the program said; a reason is one line without a traceback."""

    code: int
    output: str
    errors: str

    @property
    def reason(self) -> str:
        """The line on stdout, if the program behaved as it must."""
        assert self.errors == ""
        assert self.output.endswith("\n")
        assert self.output.count("\n") == 1
        assert len(self.output) <= 1001
        assert self.code in (0, 1)
        return self.output[:-1]

    @property
    def refusal(self) -> str:
        """The reason of a refusal."""
        assert self.code == 1, self.output
        return self.reason


def descriptor(image: images.Image) -> bytes:
    """Return the bytes that the daemon writes to the program's stdin."""
    fields = {name: image.manifest[name] for name in ("mediaType", "digest", "size")}
    return json.dumps(fields).encode() + b"\n"


def write_policy(path: Path, *keys: KeyPair, **more: str) -> Path:
    """Write a policy that wants the signature of one of the keys on each image."""
    names = []
    for number, key in enumerate(keys):
        name = f"{path.stem}-{number}.pub"
        (path.parent / name).write_text(key.public.to_pem())
        names.append(name)
    lines = ["version = 1", "[[rule]]", 'pattern = "**"', f"keys = {json.dumps(names)}"]
    path.write_text("\n".join([*lines, *(f"{key} = {value}" for key, value in more.items()), ""]))
    return path


def push_signed(registry: Registry, repository: str, image: images.Image, *keys: KeyPair) -> str:
    """Push an image and its signatures; return its reference."""
    ref = images.push(image, registry.host, repository, "1")
    if keys:
        signed = signatures.signed(image, *keys)
        images.push(signed, registry.host, repository, signatures.tag(image.digest))
    return ref

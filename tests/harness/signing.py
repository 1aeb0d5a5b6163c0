"""Keys, identities and calls, which all programs that sign images have in common.

A program gets a home folder of its own for each call. Its proxy is a closed port of the loopback,
which Go's programs do not use for the loopback itself: they reach nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import debian
from .process import run
from .tls import openssl

_SECONDS = 50.0
NOWHERE = "http://127.0.0.1:1"
_STDERR_TAIL = 2000

PEMS = {
    "p256": ["EC", "ec_paramgen_curve:P-256"],
    "p384": ["EC", "ec_paramgen_curve:P-384"],
    "p521": ["EC", "ec_paramgen_curve:P-521"],
    "rsa": ["RSA", "rsa_keygen_bits:2048"],
    "ed25519": ["ED25519"],
}
"""The kinds of keys that `make_pem` makes: openssl's algorithm and option."""


@dataclass(frozen=True)
class Key:
    """A key pair: the file of the encrypted private key, its password, and the public key's PEM."""

    private: Path
    public: Path
    password: str = "secret"


@dataclass(frozen=True)
class Identity:
    """Who signs without a key of their own: an identity token, and what the certificate says.

    `subject` is the certificate's subject alternative name, and `issuer` is that of the token,
    which is in the file `token`.
    """

    subject: str
    issuer: str
    token: Path


class Failed(RuntimeError):
    """A program failed that the test expected to succeed. `result` has what it said."""

    def __init__(self, result: Result) -> None:
        """Make a message of the program's own."""
        self.result = result
        words = " ".join(result.argv)
        super().__init__(f"{words} exited with code {result.code}: {result.stderr[-_STDERR_TAIL:]}")


@dataclass(frozen=True)
class Result:
    """The outcome of a call; `argv` are the arguments without the program's path."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it succeeded; a verifier accepts then."""
        return self.code == 0

    def check(self) -> Result:
        """Return this result if the program succeeded, else raise `Failed`."""
        if not self.ok:
            raise Failed(self)
        return self


def make_pem(folder: Path, kind: str) -> Path:
    """Make a private key, one of `PEMS`, in a PKCS #8 file that has no password; return the file.

    The file of its public key has the same name, with the suffix `.pub`.
    """
    path = folder / f"{kind}.pem"
    algorithm, *options = PEMS[kind]
    settings = [word for option in options for word in ("-pkeyopt", option)]
    openssl("genpkey", "-algorithm", algorithm, *settings, "-out", str(path))
    openssl("pkey", "-in", str(path), "-pubout", "-out", str(path.with_suffix(".pub")))
    return path


def call(
    program: str,
    argv: Sequence[str],
    variables: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Result:
    """Call a program of `debian.HOMES` in a new home folder, which is its working folder.

    `files` are written there first. Raises `Unavailable` if the program cannot be had, or does not
    end in time.
    """
    command = [*debian.program(program).argv, *argv]
    with tempfile.TemporaryDirectory(prefix="signing-") as home:
        for name, content in (files or {}).items():
            path = Path(home, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        env = {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "HOME": home,
            "TMPDIR": home,
            "TUF_ROOT": f"{home}/tuf",
            "XDG_RUNTIME_DIR": home,
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            **(variables or {}),
        }
        done = run(command, timeout=_SECONDS, env=env, cwd=Path(home))
    output, errors = (data.decode("utf-8", "replace") for data in (done.stdout, done.stderr))
    return Result(tuple(argv), done.returncode, output, errors)

"""The package `sigstore` of PyPI as a judge of bundles: in a virtual environment of its own.

    make()      # once, with network: `tox -e fetch`
    assert verify(bundle, sigstore.trusted_root, signer).ok

It verifies keyless bundles with an envelope and one log entry.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from . import Unavailable, cache
from .process import run
from .signing import Identity, Result

VERSION = "4.5.1"
_FETCH_SECONDS, _SECONDS = 300.0, 40.0
_VERIFY = """
import sys
from pathlib import Path
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier, policy
bundle = Bundle.from_json(Path(sys.argv[1]).read_bytes())
verifier = Verifier(trusted_root=TrustedRoot.from_file(sys.argv[2]))
identity = policy.Identity(identity=sys.argv[3], issuer=sys.argv[4])
kind, payload = verifier.verify_dsse(bundle, identity)
sys.stdout.buffer.write(payload)
"""


def _folder() -> Path:
    version = ".".join(map(str, sys.version_info[:2]))
    return cache.folder() / "python" / f"sigstore_{VERSION}-{version}"


def make() -> None:
    """Install the package into the cache folder, unless it is there. Raises `Unavailable`."""
    folder = _folder()
    with cache.locked("python.lock"):
        if folder.exists():
            return
        folder.parent.mkdir(exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix="tmp-"))
        venv = [sys.executable, "-m", "venv", str(scratch)]
        pip = [str(scratch / "bin" / "python"), "-m", "pip", "install", "-q"]
        for argv in (venv, [*pip, f"sigstore=={VERSION}"]):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=_FETCH_SECONDS)
            if done.returncode:
                raise Unavailable(f"{' '.join(argv[:4])} failed: {done.stderr[-500:]}")
        scratch.rename(folder)


def verify(bundle: Path, trusted_root: Path, signer: Identity) -> Result:
    """Verify a bundle; the result's output is the statement. Raises `Unavailable`."""
    python = _folder() / "bin" / "python"
    if not python.exists():
        raise Unavailable(f"sigstore {VERSION} of PyPI is not in the cache: run `tox -e fetch`")
    argv = [str(bundle), str(trusted_root), signer.subject, signer.issuer]
    with tempfile.TemporaryDirectory(prefix="sigstore-") as home:
        env = {"PATH": os.environ["PATH"], "HOME": home, "HTTPS_PROXY": "http://127.0.0.1:1"}
        done = run([str(python), "-c", _VERIFY, *argv], timeout=_SECONDS, env=env, cwd=Path(home))
    output, errors = (data.decode("utf-8", "replace") for data in (done.stdout, done.stderr))
    return Result(tuple(argv), done.returncode, output, errors)

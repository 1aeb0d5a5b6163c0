"""What this machine refuses: a line with a remedy, and an exit code."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from containerd_lite import Layout
from containerd_lite.cli import exit_code, main
from containerd_lite.errors import ContainerdError, PermissionDenied, ResourceExhausted
from containerd_lite.system import of_system
from tests.unit.registry.scripted import Scripted, reply

pytestmark = [pytest.mark.interpreter, pytest.mark.turns(2)]

BECOME_NOBODY = """
import os
import sys
import containerd_lite
import containerd_lite.cli.commands.images
containerd_lite.load()
from containerd_lite.cli import main
from containerd_lite.cli.commands import doctor
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
"""
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")


def as_nobody(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BECOME_NOBODY + script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EACCES, 4),
        (errno.EPERM, 4),
        (errno.EROFS, 4),
        (errno.ENOTDIR, 2),
        (errno.EISDIR, 2),
        (errno.EEXIST, 2),
        (errno.ENOENT, 3),
        (errno.ENAMETOOLONG, 2),
        (errno.ELOOP, 2),
        (errno.ENOSPC, 1),
        (errno.EDQUOT, 1),
        (errno.EMFILE, 1),
        (errno.EIO, 1),
    ],
)
def test_exit_codes(number: int, code: int) -> None:
    failure = of_system(OSError(number, os.strerror(number), "/some/file"), "pull")
    assert exit_code(failure, "pull") == code
    assert exit_code(failure, "run") == exit_code(failure, "exec") == 125
    assert str(failure).startswith(f"pull: /some/file: {os.strerror(number)}")
    assert failure.remedy


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (PermissionError(errno.EACCES, "no", b"/\xff"), PermissionDenied, r"pull: /\udcff: no"),
        (OSError(errno.ENOSPC, "full"), ResourceExhausted, "pull: full"),
        (OSError("only words"), ContainerdError, "pull: only words"),
        (TimeoutError(), ContainerdError, "pull: TimeoutError"),
    ],
)
def test_what_is_said(error: OSError, kind: type[ContainerdError], said: str) -> None:
    failure = of_system(error, "pull")
    assert isinstance(failure, kind)
    assert str(failure).startswith(said)


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for place in ("file", "x" * 300):
        command = ["pull", "-q", "127.0.0.1:1/x", "--to", f"{tmp_path}/{place}"]
        assert main(command) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("containerd-lite: ")
        assert f"{tmp_path}/{place}" in err
        assert err.count("\n") == 1
        with pytest.raises((OSError, ContainerdError)):
            main(["--debug", *command])


@pytest.mark.parametrize(
    ("place", "code"), [("/etc/passwd", 2), ("/etc/passwd/x", 2), ("/dev/null", 2), ("/proc/x", 3)]
)
def test_a_place_that_cannot_be_a_layout(
    place: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = "application/vnd.oci.image.manifest.v1+json"
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}}
    ).encode()
    found = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": len(config)}
    target = {**found, "digest": f"sha256:{sha256(config).hexdigest()}"}
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": target, "layers": []}
    body = json.dumps(manifest).encode()
    with Scripted() as server:
        server.on("HEAD", "/v2/a/manifests/1", reply(405))
        for name in ("1", f"sha256:{sha256(body).hexdigest()}"):
            server.on("GET", f"/v2/a/manifests/{name}", reply(200, body, Content_Type=kind))
        server.on("GET", f"/v2/a/blobs/{target['digest']}", reply(200, config))
        ref = f"{server.host}/a:1"
        assert main(["pull", "-q", ref, "--platform", "linux/amd64", "--to", place]) == code
        with pytest.raises(ContainerdError, match=place):
            Layout(place).pull(ref, platform="linux/amd64")
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"containerd-lite: {place}: ")


@only_root
def test_a_folder_that_one_may_not_enter(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    for place in (tmp_path / "closed", tmp_path / "closed" / "below"):
        command = ["pull", "-q", "127.0.0.1:1/x", "--to", str(place)]
        done = as_nobody("raise SystemExit(main())", *command)
        assert (done.returncode, done.stdout) == (4, ""), done.stderr
        assert done.stderr.startswith("containerd-lite: ")
        assert done.stderr.count("\n") == 1
        assert str(place) in done.stderr
        assert "Permission denied" in done.stderr


@only_root
def test_doctor_tells_of_a_folder_that_one_may_not_enter(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    script = """
folder = doctor.Path(sys.argv[1])
containerd_lite.runtime.io.fifos.FIFO_FOLDER = containerd_lite.runtime.io.FIFO_FOLDER = folder
print(doctor._fifos().found)
"""
    done = as_nobody(script, f"{tmp_path}/closed/fifo")
    assert "cannot be written" in done.stdout, done.stderr


@only_root
@pytest.mark.parametrize("what", ["socket", "folder"])
def test_doctor_speaks_of_the_permission(what: str) -> None:
    with TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as listener:
        folder = Path(name)
        folder.chmod(0o755)
        inner = folder / "run"
        inner.mkdir(mode=0o700 if what == "folder" else 0o755)
        listener.bind(f"{inner}/c.sock")
        listener.listen()
        (inner / "c.sock").chmod(0o660)
        script = "raise SystemExit(main(sys.argv[1:]))"
        done = as_nobody(script, "doctor", "-a", f"{inner}/c.sock", "--format", "jsonl")
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert [finding["check"] for finding in findings] == ["socket", "daemon"], done.stderr
    for finding in findings:
        assert finding["state"] == "missing"
        assert "permission" in finding["found"].lower()
        assert "Run as root" in finding["remedy"]
        assert "running" not in finding["remedy"]
        assert "Start containerd" not in finding["remedy"]
    assert done.returncode == 1


@pytest.mark.parametrize("entry", ["cli:console", "cli:main", "cli.program:main"])
def test_an_entry_point_ends_the_process_with_the_exit_code(entry: str, tmp_path: Path) -> None:
    """What ``python -m zipapp -m`` writes: the returned value is lost."""
    module, _, function = entry.partition(":")
    program = f"import containerd_lite.{module}\ncontainerd_lite.{module}.{function}()\n"
    command = [sys.executable, "-c", program, "version", "-a", f"{tmp_path}/none"]
    assert subprocess.run(command, capture_output=True, timeout=30).returncode == 5

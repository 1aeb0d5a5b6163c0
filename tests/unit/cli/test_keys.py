"""``containerd-lite key``: the files, the passwords, and what is refused."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from containerd_lite.cli import main
from tests.harness.screen import Screen
from tests.harness.signing import PEMS, make_pem
from tests.harness.tls import openssl

pytestmark = pytest.mark.turns(2)

pytest.importorskip("nacl", reason="cosign's files need PyNaCl")

SECRET = "a secret that nothing may show"
COMMAND = [sys.executable, "-W", "error", "-m", "containerd_lite", "key"]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COSIGN_PASSWORD", SECRET)
    return SECRET


def mode(path: str) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def run(*argv: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run an action without a terminal."""
    return subprocess.run(
        [*COMMAND, *argv], input=input, capture_output=True, timeout=30, start_new_session=True
    )


# ---- files ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("password")
def test_generate_writes_two_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "generate"]) == 0
    assert capsys.readouterr().out == "cosign.key\ncosign.pub\n"
    assert (mode("cosign.key"), mode("cosign.pub")) == (0o600, 0o644)
    assert sorted(os.listdir()) == ["cosign.key", "cosign.pub"]
    assert Path("cosign.key").read_text().startswith("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY")
    assert main(["key", "public", "cosign.key"]) == 0
    assert capsys.readouterr().out == Path("cosign.pub").read_text()


@pytest.mark.usefixtures("password")
@pytest.mark.parametrize("existing", ["cosign.key", "cosign.pub"])
@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_nothing_is_overwritten(
    existing: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "file":
        Path(existing).write_text("here before")
    elif kind == "link":
        Path(existing).symlink_to("nowhere")
    else:
        Path(existing).mkdir()
    before = os.lstat(existing)
    assert main(["key", "generate"]) == 1
    assert f"{existing} exists" in (said := capsys.readouterr().err)
    assert "--output-prefix" in said
    assert os.listdir() == [existing]
    assert os.lstat(existing) == before


@pytest.mark.usefixtures("password")
def test_a_file_that_appears_meanwhile_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another process makes the second file after the check; then the first file goes, too."""
    link = os.link

    def linked(source: str, target: str) -> None:
        if target.endswith(".pub"):
            Path(target).write_text("of another process")
        link(source, target)

    monkeypatch.setattr(os, "link", linked)
    assert main(["key", "generate"]) == 1
    assert "cosign.pub exists" in capsys.readouterr().err
    assert os.listdir() == ["cosign.pub"]
    assert Path("cosign.pub").read_text() == "of another process"


@pytest.mark.usefixtures("password")
def test_a_folder_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "generate", "--output-prefix", "none/team"]) == 3
    said = capsys.readouterr().err
    assert "none/team.key: No such file or directory" in said
    assert said.count("\n") == 1


@pytest.mark.usefixtures("password")
def test_the_mode_of_a_private_key_is_never_wider() -> None:
    former = os.umask(0)
    try:
        assert main(["key", "generate", "--output-prefix", "sub"]) == 0
    finally:
        os.umask(former)
    assert (mode("sub.key"), mode("sub.pub")) == (0o600, 0o644)


@pytest.mark.usefixtures("password")
@pytest.mark.parametrize("kind", PEMS)
def test_import(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pem = make_pem(tmp_path, kind)
    assert main(["key", "import", pem.name]) == 0
    assert capsys.readouterr().out == "import-cosign.key\nimport-cosign.pub\n"
    assert mode("import-cosign.key") == 0o600
    assert Path("import-cosign.pub").read_bytes() == pem.with_suffix(".pub").read_bytes()
    for key in (pem.name, "import-cosign.key"):  # the first is not encrypted
        assert main(["key", "public", key]) == 0
        assert capsys.readouterr().out == pem.with_suffix(".pub").read_text()


@pytest.mark.usefixtures("password")
@pytest.mark.parametrize("form", ["pkcs8", "traditional", "cosign"])
def test_import_of_an_encrypted_key(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pem(tmp_path, "rsa")
    if form == "cosign":
        monkeypatch.setenv("COSIGN_PASSWORD", "old one")
        assert main(["key", "import", "rsa.pem", "--output-prefix", "old"]) == 0
        monkeypatch.setenv("COSIGN_PASSWORD", SECRET)
    else:
        old_form = ["-traditional"] if form == "traditional" else []
        encrypt = ["-aes256", "-passout", "pass:old one", "-out", "old.key"]
        openssl("rsa" if old_form else "pkey", "-in", "rsa.pem", *old_form, *encrypt)
    Path("old").write_text("old one\n")
    capsys.readouterr()
    assert main(["key", "import", "old.key", "--old-password-file", "old"]) == 0
    assert Path("import-cosign.pub").read_bytes() == Path("rsa.pub").read_bytes()
    assert main(["key", "public", "import-cosign.key"]) == 0
    Path("old").write_text("another one")
    wrong = ["key", "import", "old.key", "--old-password-file", "old", "--output-prefix", "no"]
    assert main(wrong) == 4
    said = capsys.readouterr().err
    assert said.startswith("containerd-lite: old.key: ")
    assert "another one" not in said
    assert SECRET not in said
    assert not Path("no.key").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100, b"x" * (64 << 10) + b"x"])
def test_a_file_that_is_no_key(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    Path("some.key").write_bytes(content)
    for action in (["public"], ["import"]):
        assert main(["key", *action, "some.key", "--password-file", "/dev/null"]) == 2
        said = capsys.readouterr().err
        assert "some.key" in said
        assert said.count("\n") == 1
    assert main(["key", "public", "none.key"]) == 3
    assert main(["key", "public", "nul\0.key"]) == 2
    assert main(["key", "public", "."]) == 2
    assert os.listdir() == ["some.key"]


# ---- passwords --------------------------------------------------------------------------------


def test_passwords_from_files_and_stdin(capsys: pytest.CaptureFixture[str]) -> None:
    """The newline at the end does not belong to the password."""
    Path("pass").write_text(f"{SECRET}\n")
    assert main(["key", "generate", "--password-file", "pass"]) == 0
    capsys.readouterr()
    public = Path("cosign.pub").read_bytes()
    for ending in (b"", b"\n", b"\r\n"):
        typed = SECRET.encode() + ending
        done = run("public", "cosign.key", "--password-stdin", input=typed)
        assert (done.returncode, done.stdout, done.stderr) == (0, public, b"")
    for given in (b"", b"wrong\n", SECRET.encode() + b"\n\n"):
        done = run("public", "cosign.key", "--password-stdin", input=given)
        assert (done.returncode, done.stdout) == (4, b"")
        assert done.stderr.startswith(b"containerd-lite: cosign.key: the password")
        assert SECRET.encode() not in done.stderr
    too_long = run("public", "cosign.key", "--password-stdin", input=b"x" * 5000)
    assert (too_long.returncode, b"xxx" in too_long.stderr) == (2, False)


def test_the_options_go_before_the_environment(
    password: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pass").write_text("another")
    assert main(["key", "generate", "--password-file", "pass"]) == 0
    assert main(["key", "public", "cosign.key"]) == 4
    assert password not in capsys.readouterr().err
    monkeypatch.setenv("COSIGN_PASSWORD", "another")
    assert main(["key", "public", "cosign.key"]) == 0


def test_the_password_can_be_empty_and_any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, value in enumerate(("", "\udcff\udc80", "pass\u00e9")):
        monkeypatch.setenv("COSIGN_PASSWORD", value)
        assert main(["key", "generate", "--output-prefix", f"{number}"]) == 0
        assert main(["key", "public", f"{number}.key"]) == 0


def test_a_password_is_no_argument(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--password", "--pass"):
        with pytest.raises(SystemExit) as caught:
            main(["key", "generate", option, SECRET])
        assert caught.value.code == 2
    with pytest.raises(SystemExit):
        main(["key", "generate", "--password-stdin", "--password-file", "x"])
    assert os.listdir() == []


@pytest.mark.parametrize(
    "argv", [["generate"], ["import", "encrypted.key"], ["public", "encrypted.key"]]
)
def test_without_a_terminal_nothing_is_asked(argv: list[str]) -> None:
    """Nor read from stdin, where another program's data may be."""
    Path("encrypted.key").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    done = run(*argv, input=f"{SECRET}\n".encode())
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"there is no terminal" in done.stderr
    assert b"password-file" in done.stderr
    assert SECRET.encode() not in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert os.listdir() == ["encrypted.key"]


@contextmanager
def terminal(*argv: str) -> Iterator[tuple[Screen, subprocess.Popen[bytes]]]:
    """Run an action in a terminal, which must afterwards be as it was before."""
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [*COMMAND, *argv], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    try:
        yield Screen(ours), process
        process.wait(30)
        assert termios.tcgetattr(theirs) == before
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_a_new_password_is_typed_twice_and_not_shown() -> None:
    with terminal("generate") as (screen, process):
        shown = screen.expect(b"Password of the new key: ")
        screen.type(f"{SECRET}\n".encode())
        shown += screen.expect(b"again: ")
        screen.type(f"{SECRET}\n".encode())
        shown += screen.expect(b"cosign.pub")
    assert process.returncode == 0
    assert SECRET.encode() not in shown
    with terminal("public", "cosign.key") as (screen, process):
        shown = screen.expect(b"Password of cosign.key: ")
        screen.type(f"{SECRET}\n".encode())
        shown += screen.expect(b"END PUBLIC KEY")
    assert process.returncode == 0
    assert SECRET.encode() not in shown


def test_two_different_passwords() -> None:
    with terminal("generate") as (screen, process):
        screen.expect(b"Password of the new key: ")
        screen.type(b"one\n")
        screen.expect(b"again: ")
        screen.type(b"other\n")
        screen.expect(b"the two passwords differ")
    assert process.returncode == 2
    assert os.listdir() == []


@pytest.mark.parametrize(("keys", "code"), [(b"\x04", 2), (b"\x03", 130), (b"\xff\n", 2)])
def test_no_password_is_typed(keys: bytes, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-D, Ctrl-C, and bytes that are no text in UTF-8."""
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    with terminal("generate") as (screen, process):
        screen.expect(b"Password of the new key: ")
        if keys == b"\x03":
            process.send_signal(2)  # the terminal is not the process's controlling terminal
        else:
            screen.type(keys)
        screen.expect(b"interrupted" if code == 130 else b"no password was typed")
    assert process.returncode == code
    assert os.listdir() == []


def test_import_asks_for_the_old_and_the_new_password(tmp_path: Path) -> None:
    make_pem(tmp_path, "p384")
    encrypt = ["-aes256", "-passout", "pass:old one", "-out", "old.key"]
    openssl("pkey", "-in", "p384.pem", *encrypt)
    with terminal("import", "old.key") as (screen, process):
        for prompt, typed in (("old.key: ", "old one"), ("key: ", "new"), ("again: ", "new")):
            screen.expect(prompt.encode())
            screen.type(f"{typed}\n".encode())
        screen.expect(b"import-cosign.pub")
    assert process.returncode == 0
    assert Path("import-cosign.pub").read_bytes() == Path("p384.pub").read_bytes()

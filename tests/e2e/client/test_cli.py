"""The command line against real daemons, as a user's shell sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left"),
]

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli(daemon: Daemon, namespace: str) -> Cli:
    def run(
        *args: str, namespace: str = namespace, redirection: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """``redirection`` is what a shell is to do with its streams."""
        shell = ["sh", "-c", f'exec "$@" {redirection}', "sh"] if redirection else []
        command = [sys.executable, "-W", "error", "-m", "containerd_lite"]
        common = ["-a", daemon.address, "-n", namespace]
        return subprocess.run(
            [*shell, *command, *common, *args],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.turns(2)
@pytest.mark.generations
@pytest.mark.backend
@pytest.mark.dependencies
def test_from_pull_to_run(cli: Cli, busybox: str, daemon: Daemon) -> None:
    pulled = cli("pull", busybox)
    assert (pulled.returncode, pulled.stdout.partition("@")[0]) == (0, busybox)
    assert "downloaded" in pulled.stderr
    assert pulled.stdout.strip().removeprefix(f"{busybox}@").startswith("sha256:")
    listed = json.loads(cli("images", "--format", "json").stdout)
    assert [image["name"] for image in listed] == [busybox]
    assert pulled.stdout.strip() == f"{busybox}@{listed[0]['digest']}"
    assert cli("images", "-q").stdout == busybox + "\n"
    assert cli("images", "-q", "name==other").stdout == ""
    assert json.loads(cli("images", "-q", "--format", "json").stdout) == [busybox]
    assert cli("images", "-q", "--format", "jsonl").stdout == f'"{busybox}"\n'
    table = cli("images").stdout.splitlines()
    assert table[0].split() == ["NAME", "DIGEST", "MEDIA", "TYPE", "UPDATED", "AT"]
    assert table[1].startswith(busybox)
    ran = cli("run", "-e", "A=b", busybox, "sh", "-c", "echo out $A; echo err >&2; exit 7")
    assert (ran.returncode, ran.stdout, ran.stderr) == (7, "out b\n", "err\n")
    again = cli("pull", "-q", busybox)
    assert (again.returncode, again.stderr) == (0, "")


@pytest.mark.generations
def test_version_and_doctor(cli: Cli, daemon: Daemon, namespace: str) -> None:
    rows = json.loads(cli("version", "--format", "json").stdout)
    assert [row["what"] for row in rows] == ["client", "daemon"]
    assert rows[1]["version"].startswith(daemon.version)
    found = cli("doctor")
    assert found.returncode == 0, found.stdout
    for expected in (str(daemon.socket), daemon.version, "overlayfs", "SERVING", namespace):
        assert expected in found.stdout
    missing = cli("doctor", namespace="x" * 80)
    assert missing.returncode == 0


def test_failures(cli: Cli, busybox: str, registry: Registry) -> None:
    missing = cli("pull", f"{registry.host}/no/such")
    assert missing.returncode == 3
    assert "no/such" in missing.stderr
    assert missing.stdout == ""
    assert cli("pull", "127.0.0.1:1/x").returncode == 5
    assert cli("pull", "Not A Name").returncode == 2
    no_text = cli("images", "name==\udcff")
    assert (no_text.returncode, no_text.stderr.count("\n")) == (2, 1)
    assert cli("pull", "--platform", "linux/s390x", busybox).returncode == 3
    not_pulled = cli("run", "--pull", "never", "never/pulled")
    assert not_pulled.returncode == 125
    assert "Pull it" in not_pulled.stderr
    cli("pull", "-q", busybox)
    assert cli("run", busybox, "nosuch").returncode == 127
    assert cli("run", "--stop-after", "0.2", busybox, "sleep", "1000").returncode == 125
    assert cli("run", "--env", "A", busybox, "true").returncode == 125


def test_an_empty_namespace_points_to_kubernetes(cli: Cli, busybox: str, daemon: Daemon) -> None:
    cli("pull", "-q", "--no-unpack", busybox, namespace="k8s.io")
    try:
        empty = cli("images")
        assert empty.stdout.splitlines() == ["NAME  DIGEST  MEDIA TYPE  UPDATED AT"]
        assert "try -n k8s.io" in empty.stderr
    finally:
        daemon.ctr("images", "rm", "--sync", busybox, namespace="k8s.io")


def test_pull_into_a_folder_needs_no_daemon(busybox: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "containerd_lite", "-a", f"{tmp_path}/none"]
    done = subprocess.run(
        [*command, "pull", busybox, "--to", str(tmp_path / "layout")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.partition("@")[0]) == (0, busybox)
    assert (tmp_path / "layout" / "index.json").exists()


def test_a_folder_that_cannot_be_made(cli: Cli, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place, code in (("/sys/folder", 4), ("/proc/folder", 3), (f"{tmp_path}/file/folder", 2)):
        done = cli("pull", "-q", busybox, "--to", place)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert done.stderr.startswith("containerd-lite: ")
        assert done.stderr.count("\n") == 1
        assert str(Path(place).parent) in done.stderr


def test_a_reader_that_goes_away_is_no_crash(cli: Cli, busybox: str, daemon: Daemon) -> None:
    cli("pull", "-q", busybox)
    command = [sys.executable, "-m", "containerd_lite", "-a", daemon.address, "images"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read().decode() == ""


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- 2>&-", ">&- 2>&-"])
def test_a_pull_needs_nobody_to_listen(cli: Cli, busybox: str, redirection: str) -> None:
    done = cli("pull", busybox, redirection=redirection)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.partition("@")[0] == ("" if ">&- " in redirection else busybox)
    assert cli("images", "-q").stdout == busybox + "\n"


def test_a_pull_goes_on_when_the_reader_of_its_progress_goes(
    cli: Cli, busybox: str, daemon: Daemon, namespace: str
) -> None:
    command = [sys.executable, "-W", "error", "-m", "containerd_lite", "-a", daemon.address]
    reader, writer = os.pipe()
    with subprocess.Popen(
        [*command, "-n", namespace, "pull", busybox], stdout=subprocess.PIPE, stderr=writer
    ) as process:
        os.close(writer)
        os.close(reader)  # long before it says a word
        out = process.communicate(timeout=60)[0].decode()
    assert (process.returncode, out.partition("@")[0]) == (0, busybox)
    assert cli("images", "-q").stdout == busybox + "\n"


def test_debug_shows_what_goes_on_and_no_secret(cli: Cli, busybox: str) -> None:
    pulled = cli("pull", "--debug", "-q", busybox)
    assert f"containerd_lite.images.pull: pull {busybox}: done in " in pulled.stderr
    assert "containerd_lite.registry: HEAD http://" in pulled.stderr
    ran = cli("run", "--debug", "-e", "A=canary", busybox, "sh", "-c", "echo $A; : other-canary")
    assert (ran.returncode, ran.stdout) == (0, "canary\n")
    for expected in (
        "containerd_lite.transport: connection 1: dial unix:",
        "containerd_lite.wire: connection 1 sent HEADERS, stream 1, ",
        "containerd_lite.wire: connection 1 received SETTINGS, stream 0, ",
        "/containerd.services.containers.v1.Containers/Create",
        "containerd_lite.runtime: create container ",
        "containerd_lite.runtime: start process ",
        "containerd_lite.runtime: delete container ",
    ):
        assert expected in ran.stderr
    assert "canary" not in ran.stderr


def test_debug_output_that_nobody_takes_harms_nothing(cli: Cli, busybox: str) -> None:
    for redirection in ("2>&-", "2>/dev/full"):
        done = cli("pull", "--debug", busybox, redirection=redirection)
        assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written(cli: Cli, busybox: str) -> None:
    cli("pull", "-q", busybox)
    for command in (["pull", "-q", busybox], ["images"], ["images", "--format", "json"]):
        done = cli(*command, redirection=">/dev/full")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"containerd-lite: {command[0]}: standard output: No space")
        assert done.stderr.count("\n") == 1


def test_pull_several_platforms(registry: Registry, tmp_path: Path) -> None:
    several = {
        name: images.random_image([50], seed=n, platform=name)
        for n, name in enumerate(("linux/amd64", "linux/arm64", "linux/s390x"))
    }
    index = images.index_of(several)
    ref = images.push(index, registry.host, "several-by-command", "1")

    def pull(folder: str, *flags: str) -> set[str]:
        command = [sys.executable, "-W", "error", "-m", "containerd_lite", "pull", "-q", *flags]
        done = subprocess.run(
            [*command, "--to", str(tmp_path / folder), ref], capture_output=True, timeout=60
        )
        assert done.stderr == b""
        assert done.stdout.decode() == f"{ref}@{index.digest}\n"
        blobs = (tmp_path / folder / "blobs" / "sha256").iterdir()
        return {f"sha256:{blob.name}" for blob in blobs}

    two = pull("two", "--platform", "linux/s390x", "--platform", "linux/arm64")
    chosen = (several["linux/s390x"], several["linux/arm64"])
    assert two == {index.digest, *(digest for image in chosen for digest in image.blobs)}
    assert pull("all", "--all-platforms", "--resume") == index.blobs.keys()

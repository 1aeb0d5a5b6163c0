"""``containerd-lite run`` and ``exec`` from outside: exit codes, streams, signals, terminals."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import NotFound
from tests.e2e.runtime.conftest import Make
from tests.harness.daemon import Daemon
from tests.harness.process import wait_until
from tests.harness.screen import Screen

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left", "image"),
]
_PATIENCE = 20.0
Command = Callable[..., list[str]]
Program = subprocess.Popen[bytes]
Cli = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def command(daemon: Daemon, namespace: str) -> Command:
    place = ["-a", daemon.address, "-n", namespace]
    return lambda *args: [sys.executable, "-W", "error", "-m", "containerd_lite", *place, *args]


@pytest.fixture
def cli(command: Command) -> Cli:
    def run(*args: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command(*args), input=input, capture_output=True, timeout=60)

    return run


@pytest.fixture
def sleeping(make: Make) -> str:
    container = make("sleep", "1000", id="sleeping")
    container.new_task().start()
    return container.id


@pytest.mark.generations
def test_run_ends_with_the_container_s_code(cli: Cli, busybox: str) -> None:
    done = cli("run", busybox, "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, b"out\n", b"err\n")
    assert cli("run", busybox, "sh", "-c", "kill -9 $$; kill -9 1; exit 5").returncode in (5, 137)


def test_failures_of_ours(cli: Cli, busybox: str) -> None:
    for args, code in (
        (("run", "--pull", "never", "never/pulled"), 125),
        (("run", busybox, "nosuch"), 127),
        (("run", busybox, "/nosuch"), 127),
        (("run", busybox, "/etc/passwd"), 126),
        (("run", "--user", "nosuch", busybox, "true"), 125),
        (("run", "--mount", "type=bind,src=/nosuch,dst=/x", busybox, "true"), 125),
        (("run", "--cwd", "/etc/passwd", busybox, "true"), 125),
        (("run", "--env-file", "/etc", busybox, "true"), 125),
        (("run", "--stop-after", "0.2", busybox, "sleep", "1000"), 125),
        (("run", "--env", "A", busybox, "true"), 125),
        (("run", "--log", "/tmp/x", busybox, "true"), 125),
        (("run", "--network", "nosuch", busybox, "true"), 125),
        (("run", "--publish", "80", busybox, "true"), 125),
        (("run", "--publish", "8080:80", busybox, "true"), 125),
        (("run", "--add-host", "db", busybox, "true"), 125),
        (("run", "--add-host", "db:192.0.2.7", busybox, "true"), 125),
        (("run", "-it", "--detach-keys", "nokey", busybox, "true"), 125),
        (("run", "--label", "a=\udcff", busybox, "true"), 125),
        (("exec", "nosuch", "true"), 125),
        (("exec", "\udcff", "true"), 125),
        (("exec", "nosuch"), 125),
        (("run", "--memory", "much", busybox), 2),
    ):
        done = cli(*args)
        assert (done.returncode, done.stdout) == (code, b""), (args, done.stderr)
        assert b"containerd-lite" in done.stderr
        assert b"Traceback" not in done.stderr


def test_errors_name_options(cli: Cli, busybox: str) -> None:
    for given, said in (
        ("--mount src=/nosuch", "--mount cannot be 'src=/nosuch', which has no destination. Add "
         "the path in the container, such as dst=/b"),
        ("--mount /nosuch:/x", "--mount: the source '/nosuch' does not exist. Make"),
        ("--env-file /nosuch", "--env-file: '/nosuch' cannot be read"),
        ("--ulimit x=1", "--ulimit cannot be 'x'. Give names"),
        ("--cap-add x", "--cap-add cannot be 'x'. Give names"),
        ("--dns x", "--dns needs a CNI network. Set --network bridge or another CNI network"),
        ("--runtime x", "Pass the name of an installed runtime as --runtime, or install"),
    ):  # fmt: skip
        assert said in cli("run", *given.split(), busybox, "true").stderr.decode(), given


@pytest.mark.generations
def test_exec(cli: Cli, sleeping: str) -> None:
    script = "cat; echo $A; id -u; echo err >&2; exit 9"
    done = cli("exec", "-i", "-e", "A=b", "--user", "nobody", sleeping, "sh", "-c", script,
               input=b"in\n")  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (9, b"in\nb\n65534\n", b"err\n")
    assert cli("exec", sleeping, "nosuch").returncode == 127
    assert cli("exec", sleeping, "/etc/passwd").returncode == 126


def test_stats(cli: Cli, sleeping: str, make: Make) -> None:
    make("sleep", "1000", id="host", network="host").new_task().start()
    done = cli("stats")
    assert done.stderr == b""
    head, *rows = done.stdout.decode().splitlines()
    assert re.split(" {2,}", head) == [
        "ID", "CPU %", "MEM USAGE / LIMIT", "NET I/O", "BLOCK I/O", "PIDS",
    ]  # fmt: skip
    cells = {row.split()[0]: re.split(" {2,}", row) for row in rows}
    assert cells.keys() == {sleeping, "host"}
    assert re.fullmatch(r"\d+\.\d%", cells[sleeping][1])
    assert re.fullmatch(r"[\d.]+[KM]iB / -", cells[sleeping][2])
    assert (cells[sleeping][3], cells["host"][3]) == ("0B / 0B", "-")
    (stats,) = json.loads(cli("stats", "--format", "json", "host").stdout)
    assert (stats["id"], stats["pids"], stats["interfaces"]) == ("host", 1, None)
    assert cli("stats", "nosuch").returncode == 3


def test_options_reach_the_container(cli: Cli, busybox: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "env").write_text("FROM_FILE=yes\n")
    script = (
        "echo $A $FROM_FILE; pwd; id -u; hostname; cat /sys/fs/cgroup/pids/pids.max 2>/dev/null; "
        "ulimit -n; cat /here/env; touch /x 2>&1; grep -o 'size=1024k' /proc/mounts"
    )
    done = cli(
        "run", "-e", "A=b", "--env-file", str(tmp_path / "env"), "--cwd", "/tmp", "--user", "7:8",
        "--hostname", "box", "--ulimit", "nofile=77:78", "--read-only", "--mount",
        f"type=bind,src={tmp_path},dst=/here,options=rbind:ro", "--label", "x=y", "--memory", "64m",
        "--shm-size", "1m", busybox, "sh", "-c", script,
    )  # fmt: skip
    assert done.stdout.decode().splitlines() == [
        "b yes", "/tmp", "7", "box", "77", "FROM_FILE=yes",
        "touch: /x: Read-only file system", "size=1024k",
    ]  # fmt: skip


def test_the_machine_s_network(cli: Cli, busybox: str) -> None:
    done = cli("run", "--network", "host", busybox, "readlink", "/proc/self/ns/net")
    assert done.stdout.decode().strip() == os.readlink("/proc/self/ns/net")
    other = cli("run", "--network", "none", busybox, "readlink", "/proc/self/ns/net")
    assert other.stdout != done.stdout


def test_input_is_given_if_asked_for(cli: Cli, busybox: str) -> None:
    assert cli("run", "-i", busybox, "cat", input=b"hello").stdout == b"hello"
    assert cli("run", busybox, "cat", input=b"hello").stdout == b""


def test_streams_that_are_closed_or_full(command: Command, sleeping: str) -> None:
    script = "read word; echo $word out; echo err >&2; exit 7"
    argv = command("exec", "-i", sleeping, "sh", "-c", script)
    for redirection, expected in (
        (">&-", (7, b"", b"err\n")),
        ("2>&-", (7, b"in out\n", b"")),
        ("<&-", (7, b"out\n", b"err\n")),
        ("<&- >&- 2>&-", (7, b"", b"")),
        ("2>/dev/full", (125, b"in out\n", b"")),
    ):
        shell = ["sh", "-c", f'exec "$@" {redirection}', "sh"]
        done = subprocess.run([*shell, *argv], input=b"in\n", capture_output=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == expected, redirection


def test_output_that_is_not_written(command: Command, busybox: str) -> None:
    shell = ["sh", "-c", 'exec "$@" >/dev/full', "sh"]
    argv = command("run", busybox, "echo", "hello")
    done = subprocess.run([*shell, *argv], stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 125
    assert done.stderr.startswith(b"containerd-lite: run: ")
    assert b"No space left" in done.stderr
    assert done.stderr.count(b"\n") == 1
    with subprocess.Popen(
        command("run", busybox, "yes"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 125


def test_detached(cli: Cli, client: Client, busybox: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = cli("run", "-d", "--name", "away", "--log", str(log), busybox, "sh", "-c", "echo hi")
    assert (done.returncode, done.stdout) == (0, b"away\n")
    container = client.load_container("away")
    container.task().wait(_PATIENCE)
    container.task().delete()
    container.delete()
    assert log.read_bytes() == b"hi\n"


def test_keep(cli: Cli, client: Client, busybox: str) -> None:
    assert cli("run", "--keep", "--name", "kept", busybox, "true").returncode == 0
    client.load_container("kept").delete()


def set_signals(ignored: Sequence[int]) -> None:
    """Whatever whoever runs the tests has done with them; for a child, before its program."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on(command: Command, busybox: str, number: signal.Signals) -> None:
    script = (
        f"trap 'echo caught; exit 3' {number.name[3:]}; echo ready; while :; do sleep 0.01; done"
    )
    with subprocess.Popen(
        command("run", busybox, "sh", "-c", script),
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=partial(set_signals, ()),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.communicate(timeout=_PATIENCE)[0] == b"caught\n"
    assert process.returncode == 3


@contextmanager
def ignoring(command: Command, image: str, *options: str, nohup: bool = False) -> Iterator[Program]:
    """The command line with a container that ends by SIGKILL alone, and has said that it runs."""
    script = "trap '' INT TERM HUP QUIT; echo ready; while :; do sleep 0.01; done"
    with subprocess.Popen(
        command("run", *options, image, "sh", "-c", script),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=partial(set_signals, [signal.SIGHUP] if nohup else []),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()  # if need be: else the end of the block waits for it


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "terminated"),
        (signal.SIGHUP, "hung up"),
    ],
)
def test_what_ignores_a_signal_is_killed(
    command: Command, busybox: str, number: signal.Signals, said: str
) -> None:
    with ignoring(command, busybox, "--stop-timeout", "0.1") as process:
        process.send_signal(number)
        err = process.communicate(timeout=_PATIENCE)[1]
    assert (process.returncode, err.decode()) == (128 + number, f"containerd-lite: {said}\n")


def test_a_second_signal_kills(command: Command, busybox: str) -> None:
    with ignoring(command, busybox, "--stop-timeout", "1000") as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_PATIENCE)
    assert process.returncode in (130, 143)  # the kernel may hand them out in any order


def test_a_signal_that_is_ignored_stays_so(command: Command, busybox: str) -> None:
    with ignoring(command, busybox, "--stop-timeout", "0.1", nohup=True) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_PATIENCE)
    assert process.returncode == 143


def test_the_third_signal_waits_for_no_daemon(own_daemon: Daemon, busybox: str) -> None:
    own_daemon.ctr("images", "pull", "--plain-http", busybox)
    line = [sys.executable, "-W", "error", "-m", "containerd_lite"]
    line += ["--timeout", "1", "-a", own_daemon.address, "-n", own_daemon.namespace]
    with ignoring(lambda *args: [*line, *args], busybox, "--stop-timeout", "1000") as process:
        os.kill(own_daemon.pid, signal.SIGSTOP)
        try:
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
                process.send_signal(number)
            process.communicate(timeout=_PATIENCE)
        finally:
            os.kill(own_daemon.pid, signal.SIGCONT)
    assert process.returncode in (130, 131, 143)  # the kernel may hand them out in any order


# ---- terminals -----------------------------------------------------------------------------


class Terminal(Screen):
    """A command in a terminal of its own."""

    def __init__(self, argv: list[str]) -> None:
        self.ours, self.theirs = pty.openpty()
        super().__init__(self.ours)
        self.before = termios.tcgetattr(self.theirs)
        self.process = subprocess.Popen(
            argv,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            start_new_session=True,
        )

    def end(self) -> int:
        code = self.process.wait(_PATIENCE)
        assert termios.tcgetattr(self.theirs) == self.before
        return code

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


def test_a_shell_in_a_terminal(command: Command, busybox: str) -> None:
    screen = Terminal(command("run", "-it", busybox, "sh"))
    try:
        screen.expect(b"/ # ")
        screen.type(b"stty size; tty; echo $TERM\n")
        said = screen.expect(b"xterm")
        assert b"/dev/pts/" in said
        screen.type(b"exit 6\n")
        assert screen.end() == 6
    finally:
        screen.close()


def test_detaching_and_coming_back(
    command: Command, client: Client, busybox: str, sleeping: str
) -> None:
    screen = Terminal(command("run", "-it", "--name", "shell", busybox, "sh"))
    try:
        screen.expect(b"/ # ")
        screen.type(b"echo $((40 + 2))\n")
        screen.expect(b"42")
        screen.type(b"\x10\x11")  # ctrl-p, ctrl-q
        screen.expect(b"detached from shell, which keeps running")
        assert screen.end() == 0
    finally:
        screen.close()
    container = client.load_container("shell")
    assert container.task().status().state == "running"
    container.task().delete(force=True)
    container.delete()


def test_exec_in_a_terminal(command: Command, sleeping: str, client: Client) -> None:
    screen = Terminal(command("exec", "-it", sleeping, "sh"))
    try:
        screen.expect(b"/ # ")
        screen.type(b"exit 7\n")
        assert screen.end() == 7
    finally:
        screen.close()
    assert wait_until(lambda: len(client.load_container(sleeping).task().pids()) == 1, _PATIENCE)
    with pytest.raises(NotFound):
        client.load_container(sleeping).task().process("nosuch")

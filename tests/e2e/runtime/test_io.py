"""Streams of real processes, and what is left of them: nothing."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    ContainerdError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unimplemented,
)
from containerd_lite.runtime.container import Container
from containerd_lite.runtime.io import (
    DEVNULL,
    PIPE,
    STDOUT,
    BinaryLogger,
    Capture,
    Fifos,
    LogFile,
    NullIO,
    Streams,
    Terminal,
    attach,
    attach_terminal,
    discard_fifos,
    fifos,
)
from containerd_lite.runtime.process import Process
from containerd_lite.services.tasks import Stdio
from tests.e2e.runtime.conftest import running
from tests.harness.daemon import Daemon
from tests.harness.process import wait_until
from tests.harness.screen import Screen

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left"),
]


#: A client that runs a process and waits for what is typed to it.
_CLIENT = """
import sys
from containerd_lite import Client
address, namespace, image = sys.argv[1:]
with Client(address, namespace=namespace) as client:
    client.run(image, ["sh", "-c", "echo up; sleep 1000"], id="victim",
               stdout=lambda data: print(data.decode(), end="", flush=True))
"""


@pytest.fixture
def box(client: Client, busybox: str) -> Iterator[Container]:
    """A container that runs, for others to be executed in."""
    args = ["sleep", "1000"]
    with running(client.new_container("box", image=client.pull(busybox), args=args)) as container:
        yield container


def execute(
    client: Client, streams: Streams | Terminal | NullIO, script: str, name: str = "more"
) -> Process:
    args = ["sh", "-c", script] if script else ["sh", "-i"]
    task = client.load_container("box").task()
    return task.exec(args, streams, id=name, env={"TERM": "dumb"})


def run(client: Client, streams: Streams | Terminal | NullIO, script: str) -> int | None:
    """Run a script to its end; streams stay open."""
    process = execute(client, streams, script)
    process.start()
    status = process.wait(30).exit_status
    assert streams.wait(5)
    process.delete()
    return status


def test_much_output_is_what_was_written(client: Client, box: Container, tmp_path: Path) -> None:
    size = 100 << 20
    script = f"head -c {size} /dev/urandom | tee /tmp/file; sha256sum < /tmp/file >&2"
    digest, err = hashlib.sha256(), Capture(100)
    with Streams(None, digest.update, err) as streams:
        assert run(client, streams, script) == 0
    assert err.data.decode().split()[0] == digest.hexdigest()
    with (tmp_path / "out").open("wb") as file, Streams(None, file) as streams:
        assert run(client, streams, "cat /tmp/file; rm /tmp/file") == 0
    assert hashlib.sha256((tmp_path / "out").read_bytes()).digest() == digest.digest()


def test_pipes(client: Client, box: Container) -> None:
    with Streams(PIPE, PIPE, PIPE) as streams:
        process = execute(client, streams, "read a; echo got $a; cat >&2; exit 3")
        process.start()
        assert streams.stdin is not None
        assert streams.stdout is not None
        assert streams.stderr is not None
        streams.stdin.write(b"one\n")
        assert streams.stdout.readline() == b"got one\n"
        streams.stdin.write(b"two")
        streams.stdin.close()
        assert (streams.stdout.read(), streams.stderr.read()) == (b"", b"two")
        assert process.wait(30).exit_status == 3
        process.delete()


def test_both_outputs_together(client: Client, box: Container) -> None:
    out = Capture(100)
    with Streams(b"in", out, STDOUT) as streams:
        assert run(client, streams, "cat; echo err >&2") == 0
    assert sorted(out.data.split()) in ([b"err", b"in"], [b"inerr"])


@pytest.mark.generations
def test_streams_that_are_thrown_away(client: Client, box: Container) -> None:
    err = Capture(100)
    for streams in (Streams(), NullIO(), Streams(b"in", None, err)):
        with streams:
            assert run(client, streams, "cat; echo out && echo err >&2 && exit 5") == 5
    assert err.data == b"err\n"
    args = ["sh", "-c", "echo out && exit 5"]
    assert box.exec(args, stdout=DEVNULL, stderr=DEVNULL).exit_code == 5
    other = client.new_container("other", image=box.image(), args=args)
    for process in (box.task().exec(args), other.new_task()):
        with process:
            process.start()
            assert process.wait(30).exit_status == 5
    other.delete()


@pytest.mark.generations
def test_a_log_file(client: Client, box: Container, tmp_path: Path) -> None:
    path = tmp_path / "sub folder" / "a#b%.log"
    with (
        LogFile(path) as streams,
        pytest.raises(InvalidArgument, match="folder of the log file"),
    ):
        execute(client, streams, "true")
    path.parent.mkdir()
    words: list[str] = []

    def is_written() -> bool:
        return sorted(path.read_text().split()) == sorted(words)

    for word in ("one", "two"):
        words += (word, "error")
        script = f"echo {word}; echo error >&2; exec sleep 1000"
        with LogFile(path) as streams, execute(client, streams, script) as process:
            process.start()
            assert wait_until(is_written, 5)  # while it runs: at its end shims lose some of stderr
    assert path.read_text().index("one") < path.read_text().index("two")
    with pytest.raises(FailedPrecondition, match="output goes to file://"):
        attach(streams.stdio)


@pytest.mark.generations
@pytest.mark.parametrize("terminal", [False, True])
def test_a_logger(client: Client, box: Container, tmp_path: Path, terminal: bool) -> None:
    program = tmp_path / "log ger"
    program.write_text(
        "#!/bin/sh\nexec 5>&-\n"
        f"{{ echo $CONTAINER_ID $CONTAINER_NAMESPACE \"$@\"; cat <&3; }} > '{tmp_path}/log'\n"
    )
    program.chmod(0o755)
    with BinaryLogger(program, {"to": "a b&c"}, terminal=terminal) as streams:
        assert run(client, streams, "echo out") == 0
    log = tmp_path / "log"
    assert wait_until(lambda: log.exists() and "out" in log.read_text(), 5)
    lines = log.read_text().splitlines()
    assert lines[0].split()[1:] == [client.namespace, "to", "a", "b&c"]
    assert lines[1:] == ["out"]


@pytest.mark.generations
@pytest.mark.parametrize("terminal", [False, True])
def test_a_logger_that_says_that_it_is_ready(
    daemon: Daemon, client: Client, busybox: str, tmp_path: Path, terminal: bool
) -> None:
    """The shims before 2.3 do not know it, and say so when they have started."""
    program, log = tmp_path / "logger", tmp_path / "log"
    program.write_text(f"#!/bin/sh\nprintf x >&5; exec 5>&-\ncat <&3 > {log}\n")
    program.chmod(0o755)
    image = client.pull(busybox)
    container = client.new_container("c", image=image, args=["echo", "out"], terminal=terminal)
    logger = BinaryLogger(program, terminal=terminal, ready_byte=True)
    if daemon.version_info < (2, 2):
        with pytest.raises(ContainerdError, match="binary-v2"):
            container.new_task(logger)
    else:
        with container.new_task(logger) as task:
            task.start()
            assert task.wait(30).exit_status == 0
            assert task.status().stdio.stdout == logger.stdio.stdout
        assert wait_until(lambda: log.exists() and "out" in log.read_text(), 5)
        program.write_text("#!/bin/sh\nexit 3\n")  # it ends before it is ready
        with pytest.raises(ContainerdError):
            container.new_task(BinaryLogger(program, terminal=terminal, ready_byte=True))
    with pytest.raises(NotFound):
        container.task()
    container.delete()


@pytest.mark.generations
def test_a_log_uri_that_the_daemon_does_not_know(
    daemon: Daemon, client: Client, box: Container
) -> None:
    """Since 2.3 daemons list what they know, and nothing is created; others' shims refuse it."""
    lists = daemon.version_info >= (2, 3)
    error: type[ContainerdError] = Unimplemented if lists else ContainerdError
    streams = NullIO()
    streams.stdio = Stdio("", "carrier-pigeon://loft", "carrier-pigeon://loft")
    idle = client.new_container("idle", image=box.image(), args=["sleep", "1000"])

    def execute() -> None:
        with box.task().exec(["true"], streams) as process:
            process.start()

    for create in (lambda: idle.new_task(streams), execute):
        with pytest.raises(error, match="carrier-pigeon") as caught:
            create()
        assert ("fifo,binary,binary-v2,file" in caught.value.remedy) is lists
    with pytest.raises(NotFound):
        idle.task()
    if lists:
        for known in ("file:///dev/null", "binary-v2:///bin/true"):
            idle.set_restart("on-failure", known)
        with pytest.raises(Unimplemented, match="carrier-pigeon"):
            idle.set_restart("always", "carrier-pigeon://loft")
        assert idle.reload().labels["containerd.io/restart.policy"] == "on-failure"
        with pytest.raises(Unimplemented, match="carrier-pigeon"):
            client.new_container(
                "c", image=box.image(), restart="always", restart_log="carrier-pigeon://loft"
            )
        idle.set_restart("no")
    idle.delete()


def test_fifos_of_somebody_else(client: Client, box: Container, tmp_path: Path) -> None:
    path = str(tmp_path / "out")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with Fifos("", path) as streams:
        assert run(client, streams, "echo out; echo err >&2") == 0
    assert os.read(reader, 100) == b"out\n"
    os.close(reader)
    assert Path(path).is_fifo()


# ---- attaching -------------------------------------------------------------------------------


def test_attaching_to_a_running_process(client: Client, busybox: str) -> None:
    script = "while read a; do echo got $a; done; echo end >&2"
    image = client.pull(busybox)
    container = client.new_container("attached", image=image, args=["sh", "-c", script])
    with Streams(PIPE, PIPE, PIPE) as streams:
        task = container.new_task(streams)
        task.start()
        stdio = task.status().stdio
        assert stdio == streams.stdio
        with pytest.raises(FailedPrecondition, match="another client"):
            attach(stdio)
        folder = streams._ends._folder
        assert folder is not None
        streams._ends._folder = None  # as if it had been killed
    os.close(folder._lock)
    folder._lock = -1
    with attach(stdio, PIPE, PIPE) as again:
        again.start(task)
        assert again.stdin is not None
        assert again.stdout is not None
        again.stdin.write(b"x\n")
        assert again.stdout.readline() == b"got x\n"
    err = Capture(10)
    with attach(stdio, b"y\n", PIPE, err) as last:
        last.start(task)
        assert last.stdout is not None
        assert last.stdout.read() == b"got y\n"
        assert task.wait(30).exit_status == 0
        assert last.wait(5)
    assert err.data == b"end\n"
    task.delete()
    discard_fifos(stdio)
    container.delete()


@pytest.mark.generations
def test_coming_back_to_what_was_left_running(client: Client, busybox: str) -> None:
    """Each client leaves the process as it is; the last one reads its end."""
    script = "while read a; do echo got $a; done; echo end >&2; exit 3"
    image = client.pull(busybox)
    first = client.popen(image, ["sh", "-c", script], stdin=PIPE, id="left")
    assert first.stdin is not None
    first.stdin.write(b"early\n")
    container = first.leave(attachable=True)
    with client.load_container("left").attach(PIPE) as second:
        assert second.stdin is not None
        assert second.stdout is not None
        assert second.stdout.readline() == b"got early\n"
        with pytest.raises(FailedPrecondition, match="another client"):
            container.attach()
    assert container.status == "running"
    with container.attach(PIPE) as third:
        assert third.communicate(b"late\n", timeout=30) == (b"got late\n", b"end\n")
        assert third.wait(30).exit_status == 3
    assert container.exit_code == 3
    container.delete()


def test_what_cannot_be_attached_to(client: Client, box: Container) -> None:
    with pytest.raises(FailedPrecondition, match="no streams to attach to"):
        box.attach()
    with pytest.raises(NotFound):
        box.attach(exec_id="nosuch")
    with box.popen(["sleep", "1000"], id="gone") as running:
        running.leave()
        with pytest.raises(NotFound):
            box.attach(exec_id="gone")
    box.task().process("gone").delete(force=True)
    with box.popen(["sh", "-c", "echo x; read a"], stdin=PIPE, id="back") as running:
        running.leave(attachable=True)
        with pytest.raises(InvalidArgument, match="stdin cannot be 'x'"):
            box.attach("x", exec_id="back")  # type: ignore[arg-type]
        with box.attach(exec_id="back") as back:
            assert back.stdout is not None
            assert back.stdout.readline() == b"x\n"
            back.close()
    with (
        box.popen(["sleep", "1000"], streams=NullIO()) as running,
        pytest.raises(InvalidArgument, match="attachable=True needs streams"),
    ):
        running.leave(attachable=True)


# ---- terminals -------------------------------------------------------------------------------


@pytest.fixture
def pty() -> Iterator[tuple[int, int]]:
    keyboard, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
    yield keyboard, terminal
    os.close(keyboard)
    os.close(terminal)


def test_detaching_and_coming_back(client: Client, box: Container, pty: tuple[int, int]) -> None:
    screen, terminal = Screen(pty[0]), pty[1]
    with Terminal(terminal, terminal) as streams:
        process = execute(client, streams, "")
        process.start()
        screen.type(b"A=kept\r")
        screen.expect(b"A=kept")
        screen.type(b"\x10\x11")
        assert streams.wait(5)
        assert streams.detached
    fifos._remove_abandoned.cache_clear()
    Streams(None, PIPE).close()  # a later client leaves what the shim uses
    stdio = client.task_service.get("box", "more").stdio
    assert stdio == streams.stdio
    with attach_terminal(stdio, terminal, terminal) as again:
        again.start(process)
        screen.type(b"echo was $A\r")
        screen.expect(b"was kept")
        screen.type(b"exit\r")
        assert process.wait(30).exit_status == 0
        assert again.wait(5)
        process.delete()
    discard_fifos(stdio)


@pytest.mark.generations
def test_a_terminal_for_a_program(client: Client, box: Container) -> None:
    out = Capture(1000)
    with Streams(b"hello\n", out, terminal=True) as streams:
        assert run(client, streams, "test -t 0 && test -t 2 && cat") == 0
    assert out.data.replace(b"^D\b\b", b"") == b"hello\r\nhello\r\n"


# ---- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipes", "pumped", "terminal"])
def test_a_process_that_cannot_start(
    client: Client, busybox: str, kind: str, pty: tuple[int, int]
) -> None:
    container = client.new_container("bad", image=client.pull(busybox), args=["/nosuch"])
    makers: dict[str, Callable[[], Streams | Terminal]] = {
        "pipes": lambda: Streams(PIPE, PIPE, PIPE),
        "pumped": lambda: Streams(b"x", Capture(1), Capture(1)),
        "terminal": lambda: Terminal(pty[1], pty[1]),
    }
    with pytest.raises(ContainerdError), makers[kind]() as streams:
        container.new_task(streams)
    container.delete()


def test_a_pipe_to_a_process_that_ended_is_broken(client: Client, box: Container) -> None:
    with Streams(PIPE) as streams:
        process = execute(client, streams, "exec <&-; echo")
        process.start()
        process.wait(30)
        assert streams.stdin is not None
        with pytest.raises(BrokenPipeError):  # once all that lies between them is full
            streams.stdin.write(bytes(1 << 20))
        process.delete()


def test_a_shell_in_our_terminal(client: Client, box: Container, pty: tuple[int, int]) -> None:
    screen, terminal = Screen(pty[0]), pty[1]
    before = termios.tcgetattr(terminal)
    with Terminal(terminal, terminal) as streams:
        process = execute(client, streams, "")
        process.start()
        screen.expect(b"# ")
        screen.type(b"echo $((40+2)); tty\r")
        shown = screen.expect(b"/dev/pts/")
        assert b"echo $((40+2))" in shown  # the echo is that of the process's terminal
        assert b"\r\n42\r\n" in shown
        screen.expect(b"# ")
        screen.type(b"until stty size | grep '^33 111$'; do :; done\r")
        screen.expect(b"33 111\r\n")
        screen.expect(b"# ")
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 99, 0, 0))
        signal.raise_signal(signal.SIGWINCH)
        screen.type(b"until stty size | grep '^44 99$'; do :; done\r")
        screen.expect(b"44 99\r\n")
        screen.expect(b"# ")
        # One process: a shell can miss what comes between its echo and its fork.
        screen.type(b"sh -c 'echo $((20+3)); exec sleep 1000'\r")
        screen.expect(b"\r\n23\r\n")
        screen.type(b"\x03")  # is for the process
        screen.expect(b"# ")
        screen.type(b"exit 7\r")
        assert process.wait(30).exit_status == 7
        assert streams.wait(5)
        process.delete()
    assert termios.tcgetattr(terminal) == before


def test_a_client_that_was_killed(
    daemon: Daemon, client: Client, busybox: str, namespace: str
) -> None:
    image = client.pull(busybox)
    with subprocess.Popen(
        [sys.executable, "-c", _CLIENT, daemon.address, namespace, image.name],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as victim:
        try:
            assert victim.stdout is not None
            assert victim.stdout.readline() == b"up\n"
        finally:
            victim.kill()
    container = client.load_container("victim")
    task = container.task()
    stdio = task.status().stdio
    assert Path(stdio.stdout).is_fifo()
    fifos._remove_abandoned.cache_clear()
    assert client.run(image, ["echo", "next"]).stdout == b"next\n"
    assert Path(stdio.stdout).is_fifo()  # the process is there, and can be attached to
    task.delete(force=True)
    container.delete()
    fifos._remove_abandoned.cache_clear()
    assert client.run(image, ["echo", "next"]).stdout == b"next\n"
    assert not Path(stdio.stdout).parent.exists()

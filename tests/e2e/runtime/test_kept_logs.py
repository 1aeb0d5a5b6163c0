"""The logs of detached containers, which are kept by default."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from containerd_lite import CancelToken, Client, LogFile, NullIO
from containerd_lite.errors import Cancelled, FailedPrecondition
from containerd_lite.images.image import Image
from containerd_lite.runtime.kept import LogLine
from containerd_lite.runtime.restart import LOG_URI
from tests.harness.daemon import Daemon
from tests.harness.process import wait_until

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.usefixtures("nothing_left"),
]
_PATIENCE = 10.0


@pytest.mark.generations
def test_the_log_of_a_detached_container(client: Client, image: Image) -> None:
    script = "echo out; echo err >&2; until [ -e /go ]; do sleep 0.01; done; printf 'the end'"
    with client.run(image, ["sh", "-c", script], detach=True, id="web") as container:
        folder = Path(container.labels["containerd-lite.log"])
        assert folder.stat().st_mode & 0o777 == 0o700
        followed: list[LogLine] = []
        reader = threading.Thread(
            target=lambda: followed.extend(container.logs(lines=True, follow=True))
        )
        reader.start()
        assert wait_until(lambda: len([*container.logs(lines=True)]) == 2, _PATIENCE)
        container.exec(["touch", "/go"])
        container.wait(_PATIENCE)
        # All output is in the log as soon as the process has ended.
        assert b"".join(container.logs()) in (b"out\nerr\nthe end", b"err\nout\nthe end")
        reader.join(_PATIENCE)
        assert sorted((line.stream, line.data) for line in followed) == [
            ("stderr", b"err"), ("stdout", b"out"), ("stdout", b"the end"),
        ]  # fmt: skip
        last = followed[-1].time
        assert last is not None
        other = client.load_container("web")
        assert b"".join(other.logs(since=last)) == b"the end"
        assert b"".join(other.logs(tail=1, timestamps=True)).endswith(b"Z the end")
        other.start().wait(_PATIENCE)
        assert b"".join(other.logs()).count(b"the end") == 2
        other.task().delete()
        assert b"".join(other.logs()).count(b"the end") == 2
        other.start().wait(_PATIENCE)
        assert b"".join(container.logs(tail=1)) == b"the end"
    assert not folder.exists()


def test_a_token_ends_the_wait_for_more_output(client: Client, image: Image) -> None:
    token = CancelToken()
    read: list[bytes] = []

    def cancel() -> None:
        wait_until(lambda: read == [b"out\n"], _PATIENCE)
        token.cancel()

    with client.run(image, ["sh", "-c", "echo out; sleep 1000"], detach=True) as container:
        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(Cancelled, match="token"):
            read.extend(container.logs(follow=True, timeout=_PATIENCE, cancel=token))
        canceller.join()
        assert read == [b"out\n"]


@pytest.mark.generations
def test_a_terminal(client: Client, image: Image) -> None:
    script = ["sh", "-c", "tty; echo err >&2"]
    with client.run(image, script, detach=True, terminal=True) as container:
        container.wait(_PATIENCE)
        assert b"".join(container.logs()) == b"/dev/pts/0\r\nerr\r\n"
        assert b"".join(container.logs(follow=True, tail=1)) == b"err\r\n"


def test_what_removes_the_log(client: Client, image: Image, tmp_path: Path) -> None:
    other = Client(client.address, namespace=client.namespace, logs_dir=tmp_path / "mine")
    with other:
        for id in ("deleted", "removed", "discarded"):
            container = other.run(image, ["true"], detach=True, id=id)
            container.wait(_PATIENCE)
            assert len(os.listdir(tmp_path / "mine" / client.namespace)) == 1
            if id == "deleted":
                client.load_container(id).delete()
            elif id == "removed":
                container.task().delete()
                container.remove()
            else:
                container.discard()
            assert os.listdir(tmp_path / "mine" / client.namespace) == []
        for wrong in ({"args": ["nosuch"]}, {"args": ["true"], "user": "nobody-here"}):
            with pytest.raises(Exception, match=r"nosuch|nobody-here"):
                other.run(image, detach=True, id="wrong", **wrong)
        assert os.listdir(tmp_path / "mine" / client.namespace) == []


def test_what_has_no_log_of_its_own(client: Client, image: Image, tmp_path: Path) -> None:
    with client.run(image, ["true"], detach=True, streams=NullIO()) as container:
        assert "containerd-lite.log" not in container.labels
        with pytest.raises(FailedPrecondition, match="no log"):
            container.logs()
    log = LogFile(tmp_path / "log")
    with client.run(image, ["echo", "plain"], detach=True, streams=log) as container:
        container.wait(_PATIENCE)
        assert wait_until(lambda: [*container.logs(lines=True)] == [LogLine(b"plain")], _PATIENCE)
        for wrong in ({"timestamps": True}, {"since": 5}, {"lines": True, "timestamps": True}):
            with pytest.raises(FailedPrecondition, match="has no log with times"):
                container.logs(**wrong)


def test_restarted_tasks_write_to_the_same_log(
    client: Client, image: Image, tmp_path: Path
) -> None:
    with client.run(image, ["true"], detach=True, restart="always") as container:
        container.wait(_PATIENCE)
        assert container.labels[LOG_URI] == container.task().status().stdio.stdout
        container.stop()
    tmp_path.chmod(0o755)
    uri = f"file://{tmp_path}/log"
    options = {"restart": "always", "restart_log": uri}
    with client.run(image, ["echo", "x"], detach=True, **options) as container:  # type: ignore[call-overload]
        container.wait(_PATIENCE)
        container.stop()
        assert container.labels[LOG_URI] == uri
        assert wait_until(lambda: b"".join(container.logs()).startswith(b"x\n"), _PATIENCE)
    log = LogFile(tmp_path / "other")
    with client.run(image, ["true"], detach=True, restart="always", streams=log) as container:
        assert container.labels[LOG_URI] == f"file://{tmp_path}/other"
        container.stop()


def test_the_command_line(daemon: Daemon, client: Client, busybox: str) -> None:
    """The log is written though the program that has started the container is gone."""

    def cli(*arguments: str) -> bytes:
        argv = [sys.executable, "-W", "error", "-m", "containerd_lite", "-a", daemon.address]
        argv += ["-n", client.namespace, *arguments]
        done = subprocess.run(argv, capture_output=True, timeout=50)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    script = "for n in 1 2 3; do echo line $n; done; echo err >&2; sleep 0.5; echo end"
    id = cli("run", "--pull", "missing", "-q", "--detach", busybox, "sh", "-c", script).decode()
    try:
        text = cli("logs", "--follow", id.strip())
        assert sorted(text.splitlines()) == [b"end", b"err", b"line 1", b"line 2", b"line 3"]
        assert cli("logs", "--tail", "1", id.strip()) == b"end\n"
        assert cli("logs", "--since", "1h", "--timestamps", id.strip()).count(b"Z line ") == 3
        assert cli("logs", "--since", "2999-01-01T00:00Z", id.strip()) == b""
    finally:
        client.load_container(id.strip()).delete(force=True)

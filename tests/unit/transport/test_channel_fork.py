"""A channel in a child of its process: it dials afresh, and leaves the parent's alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from containerd_lite.errors import Cancelled
from containerd_lite.transport.channel import Channel
from tests.unit.transport.channels import PATH
from tests.wire.peer import Peer

pytestmark = [pytest.mark.interpreter, pytest.mark.usefixtures("leaks_nothing")]


FORK = """
import os, sys, threading, warnings
from containerd_lite.errors import Cancelled, FailedPrecondition
from containerd_lite.transport.channel import Channel

warnings.simplefilter("ignore", DeprecationWarning)  # fork and threads: that is what this is for
PATH = "/a.v1.Things/Get"
channel = Channel(sys.argv[1])
stop = threading.Event()

def load():
    while not stop.is_set():
        assert channel.unary(PATH, b"load", timeout=20) == b"load"

def child(number, stream):
    for function in (stream.receive, lambda: stream.send(b"x")):
        try:
            function()
        except FailedPrecondition:
            pass
        else:
            raise AssertionError("the parent's stream")
    threads = [threading.Thread(target=check, args=(number,)) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    stream.close()
    check(number)
    assert len(channel._links) == 1, channel._links
    channel.close()
    try:
        channel.unary(PATH, b"x")
    except Cancelled:
        pass

def check(number):
    assert channel.unary(PATH, b"%d" % number, timeout=20) == b"%d" % number

threads = [threading.Thread(target=load) for _ in range(int(sys.argv[2]))]
for thread in threads: thread.start()
with channel.stream(PATH) as stream:
    for number in range(20):
        check(number)
        pid = os.fork()
        if not pid:
            code = 1
            try:
                child(number, stream)
                code = 0
            except BaseException as error:
                print("child", repr(error), file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        check(number)
        assert os.waitpid(pid, 0)[1] == 0
    stop.set()
    for thread in threads: thread.join()
    stream.send(b"still mine", last=True)
    assert stream.receive() == b"still mine"
    assert stream.receive() is None
channel.close()
print("done")
"""


@pytest.mark.parametrize("threads", [0, 4])
def test_fork(server: Peer, threads: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK, server.address, str(threads)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_the_child_of_a_closed_channel_stays_closed(server: Peer) -> None:
    channel = Channel(server.address)
    assert channel.unary(PATH, b"x") == b"x"
    channel.close()
    channel._pid = -1  # as in a child
    with pytest.raises(Cancelled):
        channel.unary(PATH, b"x")

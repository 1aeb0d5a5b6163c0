"""Calls that are ended at a random moment, in each way that there is: nothing of them stays."""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from containerd_lite import CancelToken, Client, Container, Layout, ProgressEvent, interrupt
from containerd_lite.errors import Cancelled, DeadlineExceeded, NotFound
from containerd_lite.services.lease_keeping import collect_garbage
from tests.conftest import Count
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.interrupts import check_cancelled
from tests.harness.leaks import Watch, open_files
from tests.harness.process import wait_until
from tests.harness.registry import Registry

# An interrupt can drop a socket before the code has it; Python closes it, and warns.
pytestmark = [
    pytest.mark.registry,
    pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*(socket.socket|finalize):pytest.PytestUnraisableExceptionWarning"
    ),
]

WAYS = ["token", "timeout", "close", "progress", "interrupt"]
#: What each way makes a call raise.
ERRORS: dict[str, type[BaseException]] = {
    "token": Cancelled,
    "timeout": DeadlineExceeded,
    "close": Cancelled,
    "progress": LookupError,
    "interrupt": KeyboardInterrupt,
}
#: Seconds that a call may take until it returns. No test waits as long.
LONG = 60.0

Options = dict[str, Any]
#: Makes a call with options such as ``timeout``.
Call = Callable[[Any, Options], object]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A reference of a runnable image with some layers, and an archive with this image."""
    folder = tmp_path_factory.mktemp("source")
    with Registry() as registry:
        layers = [images.layer({f"file{n}": random.Random(n).randbytes(300_000)}) for n in range(6)]
        built = images.build([images.busybox_layer(), *layers])
        ref = images.push(built, registry.host, "library/cancelled", "1")
        with Layout(folder / "layout") as layout:
            layout.pull(ref)
            layout.export_images(folder / "image.tar", ref)
        yield ref, folder / "image.tar"


@contextmanager
def _interrupting(delay: float) -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` in the main thread after ``delay``, but only in the block."""
    is_over = threading.Event()
    main = threading.get_ident()

    def handle(number: int, frame: FrameType | None) -> None:
        if not is_over.is_set():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, handle)
    timer = threading.Timer(delay, signal.pthread_kill, (main, signal.SIGUSR1))
    timer.start()
    try:
        yield
    finally:
        is_over.set()
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def ended(way: str, delay: float, owner: Client | Layout, call: Call) -> bool:
    """Make a call that ``way`` ends after ``delay`` seconds. Return whether it was in time.

    If the way is ``progress``, ``delay`` says after how many events.
    """
    options: Options = {}
    timer = None
    if way == "token":
        options["cancel"] = token = CancelToken()
        timer = threading.Timer(delay, token.cancel)
    elif way == "timeout":
        options["timeout"] = max(delay, 1e-4)
    elif way == "close":
        timer = threading.Timer(delay, owner.close)
    elif way == "progress":
        left = int(delay * 100)

        def progress(event: ProgressEvent) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise LookupError("enough")

        options["progress"] = progress
    if timer is not None:
        timer.start()
    try:
        with _interrupting(delay) if way == "interrupt" else nullcontext():
            call(owner, options)
        return True
    except ERRORS[way]:
        return False
    finally:
        if timer is not None:
            timer.join()


def live_threads() -> set[threading.Thread]:
    """Return the running threads.

    If an interrupt prevents the start of a thread, Python goes on listing it.
    """
    return {thread for thread in threading.enumerate() if thread.ident is not None}


def moments(way: str, usual: float, number: int) -> Iterator[float]:
    """Yield random delays; some are so long that the call ends before."""
    longest = 0.4 if way == "progress" else usual * 1.2
    for _ in range(number):
        yield random.uniform(0, longest)


# ---- on a daemon ---------------------------------------------------------------------------------


def _calls(ref: str, archive: Path, scratch: Path) -> dict[str, Call]:
    host = ref.partition("/")[0]
    return {
        "pull": lambda owner, options: owner.pull(ref, **options),
        "import": lambda owner, options: owner.import_images(archive, **options),
        "push": lambda owner, options: owner.push(
            f"{host}/pushed/{random.getrandbits(60)}:1", "cancelled/here:1", **options
        ),
        "export": lambda owner, options: owner.export_images(
            scratch / "out.tar", "cancelled/here:1", **options
        ),
    }


@pytest.fixture
def prepared(client: Client, source: tuple[str, Path]) -> Client:
    """The client of a namespace that has an image with a name of its own."""
    client.tag(client.pull(source[0]), "cancelled/runs:1")
    return client


@pytest.mark.turns(9)
@pytest.mark.daemon
@pytest.mark.generations
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verb", ["pull", "import", "push", "export"])
def test_verbs_for_images(
    verb: str,
    way: str,
    daemon: Daemon,
    namespace: str,
    source: tuple[str, Path],
    tmp_path: Path,
    count: Count,
) -> None:
    ref, archive = source
    call = _calls(ref, archive, tmp_path)[verb]
    with Client(daemon.address, namespace=namespace) as warm:
        if verb in ("push", "export"):
            warm.tag(warm.pull(ref), "cancelled/here:1")
        usual = _duration(warm, call)
        _forget(warm, verb, tmp_path)
        watch = Watch(daemon, namespace)
        threads = live_threads()
        for delay in moments(way, usual, count(3, 25)):
            with Client(daemon.address, namespace=namespace) as client:
                has_ended = ended(way, delay, client, call)
            assert way == "interrupt" or live_threads() <= threads
            # An interrupt may arrive after the call has given the image or the file its name.
            if has_ended or (way == "interrupt" and _has_effect(warm, verb, tmp_path)):
                _forget(warm, verb, tmp_path)
            assert list(tmp_path.iterdir()) == []
            assert _soon(watch) == [], f"{way} after {delay:.4f} of {usual:.4f} s"
        if verb in ("push", "export"):
            warm.get_image("cancelled/here:1").delete()


def _soon(watch: Watch) -> list[str]:
    """Return what is left. The daemon may take a moment to collect garbage.

    Python closes a socket that an interrupt has dropped when it collects garbage.
    """
    gc.collect()
    with suppress(AssertionError):
        watch.check()
    return watch.found()


def _duration(client: Client | Layout, call: Call) -> float:
    start = time.monotonic()
    call(client, {})
    return time.monotonic() - start


def _has_effect(client: Client | Layout, verb: str, scratch: Path) -> bool:
    if verb in ("pull", "import"):
        return bool(client.list_images())
    return (scratch / "out.tar").exists()


def _forget(client: Client, verb: str, scratch: Path) -> None:
    """Remove what a call has made that was not ended."""
    (scratch / "out.tar").unlink(missing_ok=True)
    if verb in ("pull", "import"):
        for image in client.list_images():
            image.delete()
        collect_garbage(client.lease_service, LONG)


@pytest.mark.turns(6)
@pytest.mark.daemon
@pytest.mark.generations
@pytest.mark.parametrize(
    ("verb", "way"),
    [
        *product(["run", "exec"], [way for way in WAYS if way != "progress"]),
        *product(["detach"], ["token", "timeout"]),
    ],
)
def test_processes(
    verb: str, way: str, daemon: Daemon, namespace: str, prepared: Client, count: Count
) -> None:
    script = ["sh", "-c", "echo hello; sleep 0.05"]

    def run(client: Client, options: Options) -> object:
        return client.run("cancelled/runs:1", script, **options)

    def detach(client: Client, options: Options) -> object:
        container = client.run("cancelled/runs:1", ["sleep", "1000"], detach=True, **options)
        container.discard()
        return container

    def execute(client: Client, options: Options) -> object:
        return client.load_container("exec").exec(script, **options)

    call = {"run": run, "detach": detach, "exec": execute}[verb]
    with _sleeping(prepared, "exec") if verb == "exec" else nullcontext():
        usual = _duration(prepared, call)
        watch, threads = Watch(daemon, namespace), live_threads()
        for delay in moments(way, usual, count(3, 25)):
            with Client(daemon.address, namespace=namespace) as client:
                ended(way, delay, client, call)
            assert way == "interrupt" or live_threads() <= threads
            assert _soon(watch) == [], f"{way} after {delay:.4f} of {usual:.4f} s"
            if verb == "exec":
                assert len(prepared.load_container("exec").task().pids()) == 1


@contextmanager
def _sleeping(client: Client, id: str) -> Iterator[Container]:
    """Keep a container running during the block."""
    container = client.run("cancelled/runs:1", ["sleep", "1000"], id=id, detach=True)
    try:
        yield container
    finally:
        container.delete(force=True)


# ---- on a folder ---------------------------------------------------------------------------------


@pytest.mark.turns(3)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verb", ["pull", "import", "push", "export"])
def test_on_a_folder(
    verb: str, way: str, source: tuple[str, Path], tmp_path: Path, count: Count
) -> None:
    ref, archive = source
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    call = _calls(ref, archive, scratch)[verb]
    with Layout(tmp_path / "usual") as layout:
        layout.tag(layout.pull(ref), "cancelled/here:1")
        usual = _duration(layout, call)
        (scratch / "out.tar").unlink(missing_ok=True)
    for number, delay in enumerate(moments(way, usual, count(2, 25))):
        files, threads = open_files(), live_threads()
        folder = tmp_path / str(number)
        with Layout(folder) as layout:
            if verb in ("push", "export"):
                layout.tag(layout.pull(ref), "cancelled/here:1")
            has_ended = ended(way, delay, layout, call)
            has_ended |= way == "interrupt" and _has_effect(layout, verb, scratch)
            if not has_ended and verb in ("pull", "import"):
                assert layout.list_images() == []
        left = {path.name for path in folder.glob("*")}
        assert left <= {"blobs", "index.json", "oci-layout"}
        assert {path.name for path in scratch.iterdir()} <= ({"out.tar"} if has_ended else set())
        (scratch / "out.tar").unlink(missing_ok=True)
        gc.collect()
        if way == "interrupt":
            # The interrupt can end the start of a thread, which Python then cannot join. The thread
            # ends by itself.
            assert wait_until(lambda: live_threads() <= threads, 5.0)  # noqa: B023
        assert live_threads() <= threads
        assert open_files() == files


@pytest.mark.parametrize("verb", ["pull", "import", "push", "export", "verify", "repair"])
def test_each_piece_of_a_blob_can_be_the_last(
    verb: str, source: tuple[str, Path], tmp_path: Path
) -> None:
    """A call without a registry or a daemon to wait for ends within a blob, too."""
    ref, archive = source
    calls: dict[str, Call] = {
        **_calls(ref, archive, tmp_path),
        "verify": lambda owner, options: owner.verify(**options),
        "repair": lambda owner, options: owner.repair(**options),
    }
    events: list[str] = []
    token = CancelToken()

    def progress(event: ProgressEvent) -> None:
        events.append(event.stage)
        if event.offset and not token.is_cancelled:
            thread = threading.Thread(target=token.cancel)
            thread.start()
            thread.join()
            events.clear()

    with Layout(tmp_path / "layout") as layout:
        if verb not in ("pull", "import"):
            layout.tag(layout.pull(ref), "cancelled/here:1")
        with pytest.raises(Cancelled, match="by its token"):
            calls[verb](layout, {"progress": progress, "cancel": token})
    assert len(events) <= 8  # of the threads that were about to report


# ---- peers that stand still ----------------------------------------------------------------------


@pytest.mark.parametrize("way", ["token", "timeout", "close", "interrupt"])
def test_a_registry_that_does_not_answer(way: str, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Layout(tmp_path / "layout") as layout,
    ):
        ref = f"127.0.0.1:{silent.getsockname()[1]}/a/b:1"
        assert not ended(way, 0.1, layout, lambda owner, options: owner.pull(ref, **options))


@pytest.mark.daemon
@pytest.mark.parametrize("way", ["token", "timeout"])
def test_a_start_whose_registry_does_not_answer(way: str, client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ref = f"127.0.0.1:{silent.getsockname()[1]}/a/b:1"

        def start(client: Client, options: Options) -> object:
            return client.popen(ref, pull="missing", **options)

        def run(client: Client, options: Options) -> object:
            return client.run(ref, detach=True, pull="missing", **options)

        for call in (start, run):
            assert not ended(way, 0.1, client, call)
    assert client.containers() == []


@pytest.mark.turns(2)
@pytest.mark.daemon
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_output_that_nobody_reads(
    verb: str, daemon: Daemon, namespace: str, prepared: Client
) -> None:
    """The pipe of the caller is full."""
    script = ["sh", "-c", "echo said >&2; yes"]
    reader, writer = os.pipe()
    try:
        with _sleeping(prepared, "exec") as container:
            watch = Watch(daemon, namespace)
            run = partial(prepared.run, "cancelled/runs:1")
            call: Callable[..., object] = run if verb == "run" else container.exec
            check_cancelled(lambda token: call(script, stdout=writer, cancel=token))
            with pytest.raises(DeadlineExceeded) as caught:
                call(script, stdout=writer, timeout=0.5)
            assert caught.value.stderr == b"said\n"
            assert _soon(watch) == []
        assert os.get_blocking(writer)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.turns(3)
@pytest.mark.daemon
@pytest.mark.parametrize("way", ["token", "timeout", "close"])
def test_a_daemon_that_stands_still(
    way: str, source: tuple[str, Path], count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what may stay, and until when."""
    monkeypatch.setattr(interrupt, "CLEANUP_TIMEOUT", float(count(1, 10)))
    with Daemon("1.6") as daemon, Client(daemon.address) as client:
        client.version()
        paused = threading.Event()

        def progress(event: ProgressEvent) -> None:
            if event.stage == "downloading" and not paused.is_set():
                os.kill(daemon.pid, signal.SIGSTOP)
                paused.set()

        with pytest.raises(ERRORS[way]) as caught, _ending(way, paused, client) as options:
            client.pull(source[0], progress=progress, **options)
        os.kill(daemon.pid, signal.SIGCONT)
    assert "the lease lite-" in str(caught.value)
    assert "may keep what was written until 20" in str(caught.value)


@pytest.mark.daemon
def test_processes_of_a_daemon_that_stands_still(
    source: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waits end in time; the errors of run and exec say what may remain. Else this test hangs."""
    monkeypatch.setattr(interrupt, "CLEANUP_TIMEOUT", 1.0)
    token = CancelToken()
    with Daemon("1.6") as daemon, Client(daemon.address, timeout=LONG) as client:
        client.pull(source[0])
        container = client.run(source[0], ["sleep", "1000"], id="frozen", detach=True)
        remains = r"container run-\w+ may still exist"
        with pytest.raises(DeadlineExceeded, match=remains), _stopped(daemon):
            client.run(source[0], ["sleep", "1000"], timeout=1.0)
        remains = r"process exec-\w+ may still run in container frozen"
        with pytest.raises(DeadlineExceeded, match=remains), _stopped(daemon):
            container.exec(["sleep", "1000"], timeout=1.0)
        waits: list[Callable[[], object]] = [
            lambda: container.wait(timeout=0.2),
            lambda: container.wait(timeout=0),
            lambda: client.wait_any([container], timeout=0.2),
            lambda: client.wait_all([container], timeout=0.2),
            lambda: list(container.logs(follow=True, timeout=0.2)),
        ]
        with _stopped(daemon, after=0.0):
            for wait in waits:
                with pytest.raises(DeadlineExceeded, match=r" 0(\.2)? s"):
                    wait()
            threading.Timer(0.2, token.cancel).start()
            with pytest.raises(Cancelled):
                container.wait(cancel=token)


@contextmanager
def _stopped(daemon: Daemon, after: float = 0.5) -> Iterator[None]:
    """Stop the daemon after some seconds, until the end of the block."""
    timer = threading.Timer(after, os.kill, (daemon.pid, signal.SIGSTOP))
    timer.start()
    if not after:
        timer.join()
    try:
        yield
    finally:
        timer.join()
        os.kill(daemon.pid, signal.SIGCONT)


@contextmanager
def _ending(way: str, paused: threading.Event, client: Client) -> Iterator[Options]:
    """End a call after the event."""
    token = CancelToken()
    action = client.close if way == "close" else token.cancel

    def act() -> None:
        paused.wait(LONG)
        action()

    thread = threading.Thread(target=act)
    if way != "timeout":
        thread.start()
    try:
        yield {"timeout": 1.0} if way == "timeout" else {"cancel": token}
    finally:
        if way != "timeout":
            thread.join()


def test_a_token_that_was_cancelled_before(tmp_path: Path) -> None:
    token = CancelToken()
    assert not token.is_cancelled
    token.cancel()
    with Layout(tmp_path) as layout, pytest.raises(Cancelled, match="before the call"):
        layout.check("x", cancel=token)
    assert repr(token) == "<CancelToken cancelled>"


@pytest.mark.daemon
def test_a_process_that_was_too_slow_says_what_it_wrote(prepared: Client) -> None:
    script = ["sh", "-c", "echo out; echo err >&2; sleep 1000"]
    with pytest.raises(DeadlineExceeded) as caught:
        prepared.run("cancelled/runs:1", script, timeout=1.0)
    assert (caught.value.stdout, caught.value.stderr) == (b"out\n", b"err\n")
    with _sleeping(prepared, "slow") as container:
        with pytest.raises(DeadlineExceeded) as caught:
            container.exec(script, timeout=0.5)
        assert (caught.value.stdout, caught.value.stderr) == (b"out\n", b"err\n")
        token = CancelToken()
        threading.Timer(0.1, token.cancel).start()
        with pytest.raises(Cancelled):
            container.wait(cancel=token)
        assert container.status == "running"
        with pytest.raises(Cancelled):
            prepared.wait_any([container], cancel=token)
    with pytest.raises(NotFound):
        prepared.load_container(container.id)


@pytest.mark.daemon
def test_close_within_a_call(prepared: Client, source: tuple[str, Path]) -> None:
    """The call is cancelled and cleans up, and then the connections are closed."""

    def progress(event: ProgressEvent) -> None:
        prepared.close()

    with pytest.raises(Cancelled, match="because the client was closed"):
        prepared.push(f"{source[0]}-2", "cancelled/runs:1", progress=progress)
    with pytest.raises(Cancelled, match="closed"):
        prepared.version()

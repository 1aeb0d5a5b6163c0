"""The main job, from nothing to a container's output: ``tox -e demo``.

Finds containerd on the PATH or fetches it, starts a private daemon and a private registry, makes
an image, pushes it, pulls it with containerd_lite, and runs it.  Without root, or where no daemon
can be had, the image goes into a folder instead (``containerd_lite.Layout``).

Nothing stays behind but the cache of Debian's packages, interrupted or not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

sys.path.append(str(Path(__file__).resolve().parents[1]))

from containerd_lite import Client, ContainerdError, Layout, ProgressEvent, load
from tests.harness import Unavailable, debian, debris, images
from tests.harness.daemon import SUITES, Daemon, Programs
from tests.harness.daemon import find as find_daemon
from tests.harness.registry import Registry

# Now, so that no step pays for it, and for whoever gives up rights before main().
load()

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SCRIPT = 'echo "hello from $0, process $$"; echo "this is stderr" >&2; exit 3'
COMMAND = ["sh", "-c", SCRIPT, "busybox"]
NO_OUTPUT_SECONDS = 60.0
#: What the pipeline's stages are worth telling; the others follow each other too quickly.
SHOWN = frozenset(("resolved", "downloading", "downloaded", "exists", "unpacked", "retrying"))


class Interrupts:
    """The first SIGINT, SIGTERM or SIGHUP ends the job; those that follow change nothing."""

    def __init__(self) -> None:
        self.caught = 0
        self._is_over = False
        for number in SIGNALS:
            signal.signal(number, self._catch)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if not self._is_over:
            self._is_over = True
            self.caught = number
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """Let nothing disturb the clean-up.  (SIG_IGN would be passed on to every child.)"""
        self._is_over = True

    def check(self) -> None:
        """Raise again what was raised where nobody could pass it on (a ``__del__``)."""
        if self.caught:
            raise KeyboardInterrupt


class Steps:
    """Tells on stdout what is done, and how long each step took."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        self._times: list[tuple[str, float]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self._interrupts.check()
        say(f"\n{len(self._times) + 1}. {title}")
        begin = time.monotonic()
        yield
        self._times.append((title, time.monotonic() - begin))
        say(f"   {self._times[-1][1]:.2f} s")

    def summary(self) -> None:
        say("\nTimes")
        for title, seconds in (*self._times, ("In all", sum(s for _, s in self._times))):
            say(f"   {title:<44} {seconds:7.2f} s")


def say(line: str) -> None:
    print(line, flush=True)


class Progress:
    """Shows what a pull comes to: a line for each stage, and for each further tenth of a blob."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, int]] = {}

    def __call__(self, event: ProgressEvent) -> None:
        tenth = event.offset * 10 // event.total if event.total else 0
        if event.stage not in SHOWN or self._last.get(event.name) == (event.stage, tenth):
            return
        self._last[event.name] = (event.stage, tenth)
        name = event.name[:19] if event.name.startswith("sha256:") else event.name
        size = f"  {event.offset:>9,} of {event.total:,} bytes" if event.offset else ""
        say(f"   {event.stage:<12} {name}{size}")


def first_line(reason: Exception) -> str:
    return str(reason).splitlines()[0].rstrip(":")


def show_output(exit_code: int | None, stdout: bytes, stderr: bytes) -> None:
    for name, data in (("stdout", stdout), ("stderr", stderr)):
        for line in data.decode("utf-8", "replace").splitlines():
            say(f"   {name} | {line}")
    say(f"   exit code {exit_code}")
    if exit_code != 3:
        raise ContainerdError(f"the command should have ended with 3, not {exit_code}")


def have(name: str) -> debian.Program:
    """Return a program that there is no doing without."""
    try:
        return debian.program(name, suite="bookworm")
    except Unavailable as reason:
        raise Unavailable(f"{name}: {reason}") from reason


def find_programs(steps: Steps) -> Programs | None:
    """Find or fetch what the job runs; where containerd cannot be had, one line says why."""
    with steps.step("Find the programs, or fetch Debian's"):
        if not debian.fetched():
            say(f"   The cache {debian.cache()} is empty: this may take some minutes.")
        programs = None
        try:
            programs = find_daemon(SUITES[0], prefer_path=True)
        except Unavailable as reason:
            say(f"   No containerd ({first_line(reason)}): the image goes into a folder instead.")
        found = [programs.containerd, programs.runc] if programs else []
        found += [have("docker-registry"), have("busybox")]
        for program in found:
            say(f"   {program.path}")
    return programs


def start_daemon(steps: Steps, stack: ExitStack) -> Daemon | None:
    """Start a containerd; where it does not, one line says why."""
    with steps.step("Start a private containerd"):
        try:
            daemon = stack.enter_context(Daemon(prefer_path=True))
        except Unavailable as reason:
            print(reason, file=sys.stderr)
            say(f"   No containerd ({first_line(reason)}): the image goes into a folder instead.")
            return None
        say(f"   containerd {daemon.version} at {daemon.address}\n   namespace {daemon.namespace}")
        return daemon


def push_image(steps: Steps, stack: ExitStack) -> str:
    """Make the image and put it into a registry; returns its reference."""
    with steps.step("Start a private registry"):
        registry = stack.enter_context(Registry())
        say(f"   {registry.url}")
    with steps.step("Make a busybox image and push it"):
        image = images.busybox(cmd=COMMAND)
        reference = images.push(image, registry.host, "library/busybox", "latest")
        say(f"   {reference}\n   {image.digest}")
    return reference


def on_daemon(steps: Steps, daemon: Daemon, reference: str) -> None:
    with Client(daemon.address, namespace=daemon.namespace) as client:
        with steps.step("Pull it and unpack it"):
            image = client.pull(reference, progress=Progress())
            say(f"   {image.name}\n   {image.target.digest}")
        with steps.step("Run it in a container"):
            done = client.run(image, timeout=NO_OUTPUT_SECONDS)
            show_output(done.exit_code, done.stdout, done.stderr)


def in_layout(steps: Steps, folder: Path, reference: str) -> None:
    layout = Layout(folder / "layout")
    with steps.step("Pull it into a folder"):
        image = layout.pull(reference, progress=Progress())
        say(f"   {image.name}\n   {image.target.digest}\n   {layout.path}")
    with steps.step("Run its program, outside of any container"):
        program = unpack_busybox(layout, folder)
        argv = [str(program), *COMMAND]
        done = subprocess.run(argv, capture_output=True, timeout=NO_OUTPUT_SECONDS)
        show_output(done.returncode, done.stdout, done.stderr)


def unpack_busybox(layout: Layout, folder: Path) -> Path:
    """Take the one executable out of the image's layer."""
    for info in layout.content_store.walk():
        with layout.content_store.reader(info.digest) as blob:
            if blob.read(2) != b"\x1f\x8b":
                continue
            blob.seek(0)
            with tarfile.open(fileobj=blob, mode="r:gz") as layer:
                member = layer.extractfile("bin/busybox")
                assert member is not None
                program = folder / "busybox"
                program.write_bytes(member.read())
                program.chmod(0o755)
                return program
    raise ContainerdError("the image has no layer with a busybox")


@contextmanager
def temporary(interrupts: Interrupts) -> Iterator[Path]:
    """A folder for the job; at the end all goes that this process made, whatever was half-made."""
    try:
        with suppress(OSError):
            debian.cache().mkdir(parents=True, exist_ok=True)
        folder = debris.make_folder()
        if not os.access(debian.cache(), os.W_OK):  # a user without a home: nothing is kept
            os.environ[debian.CACHE_VARIABLE] = str(folder / "cache")
        yield folder
    finally:
        interrupts.ignore()
        debris.sweep()


def job(interrupts: Interrupts) -> None:
    steps = Steps(interrupts)
    with temporary(interrupts) as folder:
        with ExitStack() as stack:
            daemon = start_daemon(steps, stack) if find_programs(steps) else None
            reference = push_image(steps, stack)
            if daemon is None:
                in_layout(steps, folder, reference)
            else:
                on_daemon(steps, daemon, reference)
            interrupts.check()
            interrupts.ignore()
            say("\nNow all of it is removed again.")
        steps.summary()


def main() -> int:
    interrupts = Interrupts()
    try:
        job(interrupts)
    except KeyboardInterrupt:
        return end("Interrupted: all of it was removed again.", 128 + interrupts.caught)
    except BrokenPipeError:
        return end("", 1)
    except Unavailable as reason:
        return end(f"The demo lacks something that it cannot do without:\n{reason}", 1)
    except ContainerdError as error:
        return end(f"{type(error).__name__}: {error}", 1)
    return 0


def end(words: str, code: int) -> int:
    """Say the last words, if anybody listens still."""
    for number in SIGNALS:  # while the interpreter winds up, it handles none itself
        signal.signal(number, signal.SIG_IGN)
    try:
        say(f"\n{words}")
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    raise SystemExit(main())

"""The README's main job, from nothing to a container's output: ``tox -e demo``.

The demo finds containerd on the PATH, or fetches it. It starts a private daemon and a private
registry, makes an image, pushes it, pulls it with containerd_lite, and runs it. Without root, or
without a daemon, it pulls the image into a folder instead (``containerd_lite.Layout``).

At the end, or when it is interrupted, it removes everything except the cache of Debian's packages.
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
from tests.harness import Unavailable, cache, debian, debris, images
from tests.harness.daemon import Daemon
from tests.harness.generations import Programs, newest
from tests.harness.generations import find as find_daemon
from tests.harness.registry import Registry

# Load all modules now: the times of the steps exclude it, and a caller may give up its rights
# before main().
load()

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SCRIPT = 'echo "hello from $0, process $$"; echo "this is stderr" >&2; exit 3'
COMMAND = ["sh", "-c", SCRIPT, "busybox"]
NO_OUTPUT_SECONDS = 60.0
#: The stages of a pull that are shown. The others follow each other too quickly.
SHOWN = frozenset(("resolved", "downloading", "downloaded", "exists", "unpacked", "retrying"))


class Interrupts:
    """Ends the job at the first SIGINT, SIGTERM or SIGHUP, and ignores later ones."""

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
        """Ignore interrupts during the clean-up, but not by SIG_IGN, which children inherit."""
        self._is_over = True

    def check(self) -> None:
        """Raise an interrupt again that Python could not pass on (from a ``__del__``)."""
        if self.caught:
            raise KeyboardInterrupt


class Steps:
    """Prints each step and how long it took."""

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
    """Prints the progress of a pull: a line for each stage, and for each tenth of a blob."""

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
        raise ContainerdError(f"the command exited with {exit_code} instead of 3")


def required_program(name: str) -> debian.Program:
    """Return a program that the demo needs; `Unavailable` names it."""
    try:
        return debian.program(name, suite="bookworm")
    except Unavailable as reason:
        raise Unavailable(f"{name}: {reason}") from reason


def find_programs(steps: Steps) -> Programs | None:
    """Find or fetch the programs. If containerd is unavailable, print a line that says why."""
    with steps.step("Find the programs, or fetch Debian's"):
        if not debian.fetched():
            say(f"   The cache {cache.folder()} is empty: this may take some minutes.")
        programs = None
        try:
            programs = find_daemon(newest(prefer_path=True), prefer_path=True)
        except Unavailable as reason:
            say(f"   No containerd ({first_line(reason)}): the image goes into a folder instead.")
        paths = [programs.containerd, programs.runc] if programs else []
        paths += [required_program("docker-registry"), required_program("busybox")]
        for program in paths:
            say(f"   {program.path}")
    return programs


def start_daemon(steps: Steps, stack: ExitStack) -> Daemon | None:
    """Start containerd. If it does not start, print a line that says why."""
    with steps.step("Start a private containerd"):
        try:
            daemon = stack.enter_context(Daemon(newest(prefer_path=True), prefer_path=True))
        except Unavailable as reason:
            print(reason, file=sys.stderr)
            say(f"   No containerd ({first_line(reason)}): the image goes into a folder instead.")
            return None
        say(f"   containerd {daemon.version} at {daemon.address}\n   namespace {daemon.namespace}")
        return daemon


def push_image(steps: Steps, stack: ExitStack) -> str:
    """Make the image and push it to a registry; return its reference."""
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
    with steps.step("Run its program outside a container"):
        program = unpack_busybox(layout, folder)
        argv = [str(program), *COMMAND]
        done = subprocess.run(argv, capture_output=True, timeout=NO_OUTPUT_SECONDS)
        show_output(done.returncode, done.stdout, done.stderr)


def unpack_busybox(layout: Layout, folder: Path) -> Path:
    """Extract the only executable from the image's layer."""
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
    raise ContainerdError("no layer of the image contains busybox")


@contextmanager
def temporary(interrupts: Interrupts) -> Iterator[Path]:
    """Yield a folder for the job. At the end, remove all that this process made, even in part."""
    try:
        with suppress(OSError):
            cache.folder().mkdir(parents=True, exist_ok=True)
        folder = debris.make_folder()
        if not os.access(cache.folder(), os.W_OK):  # for a user without a home, keep no cache
            os.environ[cache.VARIABLE] = str(folder / "cache")
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
            say("\nRemoving everything.")
        steps.summary()


def main() -> int:
    interrupts = Interrupts()
    try:
        job(interrupts)
    except KeyboardInterrupt:
        return end("Interrupted. Everything was removed.", 128 + interrupts.caught)
    except BrokenPipeError:
        return end("", 1)
    except Unavailable as reason:
        return end(f"The demo needs a program that this machine cannot have:\n{reason}", 1)
    except ContainerdError as error:
        return end(f"{type(error).__name__}: {error}", 1)
    return end("", 0)


def end(message: str, code: int) -> int:
    """Print a last message, unless stdout is closed; return the exit code."""
    for number in SIGNALS:  # the interpreter runs no handlers while it exits
        signal.signal(number, signal.SIG_IGN)
    try:
        if message:
            say(f"\n{message}")
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    raise SystemExit(main())

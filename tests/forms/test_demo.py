"""The demo does its job, says what is missing, and leaves nothing behind, interrupted or not."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.conftest import Count
from tests.harness import Unavailable, debian, debris
from tests.harness import cache as programs
from tests.harness.generations import find, newest
from tests.harness.leaks import traces

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.turns(2)]

ROOT = Path(__file__).resolve().parents[2]
ARGV = [sys.executable, "-u", str(ROOT / "tests" / "demo.py")]
STEPS = 6
LINES = 36

#: What the demo looks for on the PATH.
HIDDEN = {"containerd", "containerd-shim-runc-v2", "ctr", "docker-registry", "runc"}

#: Nobody may be unable to read the interpreter or this tree: so all is imported before.
AS_NOBODY = """
import os, sys
sys.path.append(sys.argv[1])
import encodings.idna, gzip
from tests import demo
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
raise SystemExit(demo.main())
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A short folder for all that the demo makes, of which nothing may stay."""
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    folder.chmod(0o777)
    fifos = debris.fifos(folder)
    yield folder
    left = [*traces(folder, "-"), *(path.name for path in folder.iterdir())]
    shutil.rmtree(folder)
    assert left == [str(folder)]
    assert debris.fifos(folder) - fifos == set()


@pytest.fixture
def required() -> None:
    """Skips where the demo cannot do its whole job."""
    try:
        find(newest())
        debian.program("docker-registry")
    except Unavailable as reason:
        pytest.skip(str(reason))


def environment(place: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONTAINERD_")}
    kept |= {name: value for name, value in os.environ.items() if name == programs.VARIABLE}
    return {**kept, "TMPDIR": str(place), **more}


def run(env: Mapping[str, str], argv: Sequence[str] = ARGV) -> tuple[int, str]:
    done = subprocess.run(argv, env=env, capture_output=True, timeout=170, cwd="/")
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, done.stdout.decode()


def left_of(said: str) -> list[str]:
    """What is on the machine of the namespace that the demo named, if it came that far."""
    found = re.search(r"^   namespace (\w+)$", said, re.M)
    return traces(Path("/nonexistent"), found.group(1)) if found else []


@pytest.mark.usefixtures("required")
def test_from_nothing_to_output(place: Path) -> None:
    code, said = run(environment(place), [ARGV[0], "-W", "error", *ARGV[1:]])
    assert code == 0, said
    assert "   stdout | hello from busybox, process 1\n" in said
    assert "   exit code 3\n" in said
    assert re.findall(r"^(\d)\. ", said, re.M) == [str(n + 1) for n in range(STEPS)]
    assert len(re.findall(r"^   .*\d\.\d\d s$", said, re.M)) == 2 * STEPS + 1
    assert left_of(said) == []


def interrupted(place: Path, pattern: str, skip: int, *signals: int) -> tuple[int, str]:
    """Run the demo, and send it signals after the line numbered ``skip`` of those that match."""
    said = ""
    child = subprocess.Popen(  # without -W error: an interrupt may part any open from its close
        ARGV,
        env=environment(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with child:
        assert child.stdout is not None
        for line in child.stdout:
            said += line
            if re.match(pattern, line):
                if skip == 0:
                    for number in signals:
                        child.send_signal(number)
                skip -= 1
    assert "Traceback" not in said
    assert left_of(said) == []
    return child.returncode, said


@pytest.mark.turns(3)
@pytest.mark.usefixtures("required")
@pytest.mark.parametrize("signals", ["INT", "TERM", "INT INT TERM"])
@pytest.mark.parametrize("step", range(STEPS))
def test_interrupted_at_a_step(place: Path, step: int, signals: str) -> None:
    numbers = [signal.Signals[f"SIG{name}"] for name in signals.split()]
    code, said = interrupted(place, r"\d\. ", step, *numbers)
    assert code == 128 + numbers[0], said
    assert "Interrupted" in said


@pytest.mark.usefixtures("required")
def test_interrupted_after_any_line(place: Path, count: Count) -> None:
    for line in [*range(0, LINES, count(9, 1))] * count(1, 10):
        code, said = interrupted(place, "", line, signal.SIGINT, signal.SIGINT)
        assert code in (0, 130), said
        assert [path.name for path in place.iterdir()] == []


def copy_packages(place: Path) -> Path:
    """Make a cache folder in ``place`` that has only the registry and busybox; return it."""
    cache = place / "cache"
    for package in ("docker-registry", "busybox-static"):
        for source in (programs.folder() / "packages" / "bookworm").glob(f"{package}_*"):
            shutil.copytree(source, cache / "packages" / "bookworm" / source.name)
    return cache


@pytest.mark.usefixtures("required")
def test_without_root_it_fills_a_folder(place: Path) -> None:
    cache = copy_packages(place)
    env = environment(place, CONTAINERD_LITE_CACHE=str(cache))
    code, said = run(env, [*ARGV[:-1], "-c", AS_NOBODY, str(ROOT)])
    shutil.rmtree(cache)
    assert code == 0, said
    (line,) = [line for line in said.splitlines() if "No containerd" in line]
    assert "needs root" in line
    assert "   stdout | hello from busybox" in said
    assert "   exit code 3\n" in said


@pytest.fixture
def no_debian(place: Path) -> dict[str, str]:
    """A machine without the programs, whose apt names no archive, and with nothing in the cache."""
    (place / "apt.conf").write_text(
        'Dir::Etc::main "/dev/null"; Dir::Etc::parts "/dev/null"; Dir::State "/dev/null";\n'
        'Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "/dev/null";\n'
    )
    for name in ("cache", "bin"):
        (place / name).mkdir()
    for program in [*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()]:
        link = place / "bin" / program.name
        if program.name not in HIDDEN and not link.is_symlink():
            link.symlink_to(program)
    return {
        "APT_CONFIG": str(place / "apt.conf"),
        "CONTAINERD_LITE_CACHE": str(place / "cache"),
        "PATH": str(place / "bin"),
    }


def forget(place: Path) -> None:
    """Take away what ``no_debian`` made."""
    for name in ("cache", "bin"):
        shutil.rmtree(place / name)
    (place / "apt.conf").unlink()


def test_without_anything_it_says_what_is_missing(place: Path, no_debian: dict[str, str]) -> None:
    code, said = run(environment(place, **no_debian))
    forget(place)
    assert code == 1
    assert "No containerd (this machine's apt names no Debian archive" in said
    assert "docker-registry: this machine's apt names no Debian archive" in said


@pytest.mark.usefixtures("required")
def test_without_a_daemon_it_fills_a_folder(place: Path, no_debian: dict[str, str]) -> None:
    copy_packages(place)
    code, said = run(environment(place, **no_debian))
    forget(place)
    assert code == 0, said
    assert "the image goes into a folder instead" in said
    assert "   exit code 3\n" in said

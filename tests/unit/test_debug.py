"""Debug output: off unless asked for, under the package's own name, and steps with their times."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import containerd_lite
from containerd_lite import debug
from containerd_lite.debug import LoggedStep
from containerd_lite.errors import NotFound

LOGGER = logging.getLogger("containerd_lite.images")

#: A pull that fails for nobody listens there: what says so are the loggers of registry and images.
PULL = """
import sys, logging
sys.path.insert(0, sys.argv[1])
from {package} import Layout
from {package}.errors import ContainerdError
{before}
for _ in range(2):
    try:
        Layout(sys.argv[2]).pull("127.0.0.1:1/app:1")
    except ContainerdError:
        pass
"""


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    yield
    debug.switch_off()


def pull(
    folder: Path, said: str | None, *, package: str = "containerd_lite", before: str = ""
) -> list[str]:
    """The lines on stderr of a process of its own, in which the variable is ``said``."""
    (source,) = containerd_lite.__path__
    place = folder / package.replace(".", "/")
    if not place.exists():
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
    code = PULL.format(package=package, before=before)
    argv = [sys.executable, "-W", "error", "-c", code, str(folder), str(folder / "layout")]
    environment = {} if said is None else {"CONTAINERD_LITE_DEBUG": said}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stdout) == (0, "")
    return done.stderr.splitlines()


@pytest.mark.parametrize("said", [None, "", "0", "false"])
def test_nothing_is_written_unless_it_is_asked_for(tmp_path: Path, said: str | None) -> None:
    assert pull(tmp_path, said) == []


def test_the_variable_switches_all_loggers_on_once(tmp_path: Path) -> None:
    """To stderr alone: a handler of the root logger does not write it a second time."""
    lines = pull(tmp_path, "1", before="logging.basicConfig(level=logging.DEBUG)")
    own = [line for line in lines if "containerd_lite." in line]
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3} containerd_lite\.\w+", line) for line in own)
    assert len([line for line in own if "127.0.0.1:1/app:1: failed in" in line]) == 2
    assert any("containerd_lite.registry: " in line and "HEAD" in line for line in own)


def test_the_variable_names_loggers(tmp_path: Path) -> None:
    lines = pull(tmp_path, " registry , wire")
    assert lines
    assert all(" containerd_lite.registry: " in line for line in lines)


def test_an_unknown_logger_is_named_and_harms_nothing(tmp_path: Path) -> None:
    lines = pull(tmp_path, "registries,images")
    assert "unknown logger 'registries'; use some of images, registry," in lines[0]
    assert len(lines) > 1


def test_a_vendored_package_has_loggers_under_its_own_name(tmp_path: Path) -> None:
    lines = pull(tmp_path, "registry", package="tool.parts.ctd")
    assert lines
    assert all(" tool.parts.ctd.registry: " in line for line in lines)


def test_a_program_may_use_the_loggers_by_itself(tmp_path: Path) -> None:
    before = (
        "logging.basicConfig(format='%(name)s')\n"
        "logging.getLogger('containerd_lite.registry').setLevel('DEBUG')"
    )
    assert set(pull(tmp_path, None, before=before)) == {"containerd_lite.registry"}


def test_switched_on_and_off(capsys: pytest.CaptureFixture[str]) -> None:
    debug.switch_on(["images"])
    debug.switch_on(["images", "wire"])
    with LoggedStep(LOGGER, "one"):
        pass
    logging.getLogger("containerd_lite.runtime").debug("off")
    begin, line = capsys.readouterr().err.splitlines()
    assert begin.endswith(" containerd_lite.images: one ...")
    assert re.fullmatch(r"[\d:.]{12} containerd_lite.images: one: done in \d+\.\d ms", line)
    debug.switch_off()
    LOGGER.debug("two")
    assert capsys.readouterr().err == ""
    assert logging.getLogger("containerd_lite").propagate


def test_switching_off_leaves_what_the_program_set() -> None:
    other = logging.getLogger("containerd_lite.registry")
    other.setLevel(logging.INFO)
    try:
        debug.switch_on(["images"])
        assert (LOGGER.level, other.level) == (logging.DEBUG, logging.INFO)
        debug.switch_off()
        assert (LOGGER.level, other.level) == (logging.NOTSET, logging.INFO)
    finally:
        other.setLevel(logging.NOTSET)


class _Unprintable:
    def __str__(self) -> str:
        raise AssertionError("formatted, though the logger is off")


def test_nothing_is_formatted_for_a_logger_that_is_off() -> None:
    with LoggedStep(LOGGER, "pull %s", _Unprintable()):
        pass


def test_a_step_says_how_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER.name)
    with LoggedStep(LOGGER, "pull %s", "a") as step:
        step.result = "here"
    with pytest.raises(NotFound), LoggedStep(LOGGER, "pull %s", "b"):
        raise NotFound("there is no b")
    with pytest.raises(ValueError, match="secret"), LoggedStep(LOGGER, "pull %s", "c"):
        raise ValueError("what a peer sent, perhaps a secret")
    found = [re.sub(r"\d+\.\d ms", "T", record.getMessage()) for record in caplog.records]
    assert found == [
        "pull a ...",
        "pull a: here in T",
        "pull b ...",
        "pull b: failed in T: NotFound: there is no b",
        "pull c ...",
        "pull c: failed in T: ValueError",
    ]

"""docs/options.md shows the comments of the options: `python -m tests.unit.test_options_page`."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from containerd_lite.cli import container_options
from containerd_lite.cli.program import main
from containerd_lite.runtime.spec import option_help, options

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"
HEAD = """\
# Options of containers and processes

`run`, `popen`, `new_container` and `exec` take these options as keyword arguments. An option with
the value `None` counts as not given. The names in parentheses are the options of `containerd-lite
run` and, for processes, of `containerd-lite exec`; `--allow-new-privileges` sets
`no_new_privileges` to false. In Python, `help(Client.run)` shows the same text, and editors
complete the names. `containerd-lite run --help` shows the text of the options that it has.

This page is made from the comments in `containerd_lite/runtime/spec/options.py`.
"""
SECTIONS = {
    "Output: `run` and `exec`": options.OutputOptions,
    "Processes: `run`, `popen`, `new_container` and `exec`": options.ProcessOptions,
    "Containers: `run`, `popen` and `new_container`": options.SpecOptions,
    "Snapshots and records: `run`, `popen` and `new_container`": options.ContainerOptions,
}


def flags() -> dict[str, str]:
    """The option of the command line for each option of the library."""
    parser = argparse.ArgumentParser(add_help=False)
    container_options.add_process(parser)
    container_options.add_container(parser)
    return {action.dest: action.option_strings[-1] for action in parser._actions}


def page() -> str:
    explained, named = option_help.option_comments(), flags()
    wrap = textwrap.TextWrapper(100, "", "  ", break_long_words=False, break_on_hyphens=False)
    parts = [HEAD]
    for title, kind in SECTIONS.items():
        lines = [f"## {title}\n"]
        for name in kind.__annotations__:
            flag = f" (`{named[name]}`)" if name in named else ""
            lines.append(wrap.fill(f"- `{name}`{flag}: {explained[name].replace('``', '`')}"))
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def test_the_page_shows_the_comments() -> None:
    assert PAGE.read_text() == page(), "write it: python -m tests.unit.test_options_page"


def test_the_command_line_has_no_options_of_its_own() -> None:
    known = set().union(*(kind.__annotations__ for kind in SECTIONS.values()))
    assert flags().keys() <= known
    named = {*container_options._PROCESS, *container_options._CONTAINER}
    assert flags().keys() == named


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("run", [*container_options._PROCESS, *container_options._CONTAINER]),
        ("exec", container_options._PROCESS),
    ],
)
def test_the_help_of_commands_shows_the_comments(
    command: str,
    names: Sequence[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    out, explained = " ".join(capsys.readouterr().out.split()), option_help.option_comments()
    for name in names:
        pattern = r"\S.{0,60}".join(map(re.escape, re.split(r"``.+?``", explained[name])))
        assert re.search(f"{flags()[name]} .{{0,60}}{pattern}", out), name
    assert "in the form of --memory; -1" in out or command == "exec"
    assert "`" not in out


if __name__ == "__main__":
    PAGE.write_text(page())

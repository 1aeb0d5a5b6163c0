"""docs/options.md shows the comments of the options: `python -m tests.unit.test_options_page`."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from containerd_lite.cli import container_options
from containerd_lite.runtime.spec import option_help, options

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"
HEAD = """\
# Options of containers and processes

`run`, `popen`, `new_container` and `exec` take these options as keyword arguments. An option with
the value `None` counts as not given. The names in parentheses are the options of `containerd-lite
run` and, for processes, of `containerd-lite exec`; `--allow-new-privileges` sets
`no_new_privileges` to false. In Python, `help(Client.run)` shows the same text, and editors
complete the names.

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
    explained, named = option_help._explanations(), flags()
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


if __name__ == "__main__":
    PAGE.write_text(page())

"""Remedies on the command line name options, not the arguments of the library."""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

import containerd_lite
from containerd_lite.arguments import check_types
from containerd_lite.cli import commands, main
from containerd_lite.cli.container_options import _CONTAINER, _PROCESS
from containerd_lite.cli.program import _COMMANDS
from containerd_lite.cli.remedies import for_command_line, message_for_command_line
from containerd_lite.errors import InvalidArgument
from containerd_lite.runtime.spec.specs import make_spec
from tests.unit.registry.scripted import Scripted, reply

pytestmark = pytest.mark.interpreter


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    getattr(commands, f"add_{command}")(parser)
    return parser


@pytest.mark.parametrize(
    ("command", "remedy", "shown"),
    [
        ("pull", "Pass platform= with a platform", "Pass --platform with a platform"),
        ("pull", "Pass all_platforms=True", "Pass --all-platforms"),
        ("pull", "Pass unpack=False", "Pass --no-unpack"),
        ("pull", "Pass realm_hosts=('a.b',), or wait", "Pass --realm-host a.b, or wait"),
        ("pull", "Raise timeout=", ""),
        ("run", "Give user= and groups=; a name", "Give --user and --group-add; a name"),
        ("run", 'Pass pull="always", or call x', "Pass --pull always, or call x"),
        ("run", "Give args=", "Give ARGS"),
        ("run", "Give image=, snapshot= or rootfs=", ""),
        ("run", "Delete the task; if it runs, use force=True", "Delete the task"),
        ("run", "X: pass credentials=Credentials(a, b), or run y login", "Run y login"),
        ("run", "Pass TLS(cert=...), or use another", "Use another"),
        ("run", "Write type=bind,src=/a,dst=/b", "Write type=bind,src=/a,dst=/b"),
        ("run", 'Write realm_hosts = ["a"] there', 'Write realm_hosts = ["a"] there'),
        ("run", "", ""),
    ],
)  # fmt: skip
def test_arguments_become_options(command: str, remedy: str, shown: str) -> None:
    assert for_command_line(remedy, parser_of(command)) == shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("cpus= excludes cpu_quota= and view=", "--cpus excludes --cpu-quota and view="),
        ("cpu_rt_runtime=2 is larger than cpu_rt_period=1",
         "--cpu-rt-runtime=2 is larger than --cpu-rt-period=1"),
        ("args cannot be 5", "ARGS cannot be 5"),
        ("image cannot be 'cap_add'", "image cannot be 'cap_add'"),
        ("'x' cannot be read: user: x", "'x' cannot be read: user: x"),
        ("/a/cpu_quota: x", "/a/cpu_quota: x"),
    ],
)  # fmt: skip
def test_messages_name_options(message: str, shown: str) -> None:
    parser = parser_of("run")
    assert message_for_command_line(InvalidArgument(message), parser) == shown
    of_daemon = InvalidArgument(message, operation="Tasks.Create")
    assert message_for_command_line(of_daemon, parser) == message


@pytest.mark.parametrize("name", [*_PROCESS, *_CONTAINER])
def test_each_wrong_option_is_named(name: str) -> None:
    options: Any = {name: object()}

    def check() -> None:
        check_types(options)
        make_spec("n", "id", None, ["x"], options)

    with pytest.raises(InvalidArgument) as caught:
        check()
    shown = message_for_command_line(caught.value, parser_of("run"))
    assert re.match("--[a-z-]+ (cannot be|is)", shown), shown


def text_of(node: ast.AST) -> str:
    """A text, with ``(x)`` for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) for value in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "(x)"


@lru_cache
def remedies() -> set[str]:
    found = set()
    for path in Path(containerd_lite.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            values: list[ast.expr] = []
            if isinstance(node, ast.Call):
                values = [word.value for word in node.keywords if word.arg == "remedy"]
            elif isinstance(node, ast.Assign) and "remedy" in ast.unparse(node.targets[0]).lower():
                values = [node.value]
            found |= {text_of(part) for value in values for part in ast.walk(value)}
    return found


@pytest.mark.parametrize("command", _COMMANDS)
def test_no_remedy_names_an_argument(command: str) -> None:
    texts, parser = remedies(), parser_of(command)
    assert len(texts) > 200
    named = re.compile(r"[a-z]=(?![a-z/])")
    assert sum(bool(named.search(text)) for text in texts) > 50
    for text in texts:
        assert not named.search(for_command_line(text, parser)), text


@pytest.mark.parametrize("command", ["version", "doctor"])
def test_a_missing_socket_names_the_address(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--address", f"{tmp_path}/x", command])
    said = capsys.readouterr()
    assert "set another address with $CONTAINERD_ADDRESS or --address\n" in said.out + said.err


def test_a_pull_names_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = "application/vnd.oci.image.index.v1+json"
    index = {"schemaVersion": 2, "mediaType": kind, "manifests": []}
    with Scripted() as server:
        body = json.dumps(index).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        server.on("HEAD", "/v2/a/manifests/1", reply(405))
        for name in ("1", digest):
            server.on("GET", f"/v2/a/manifests/{name}", reply(200, body, Content_Type=kind))
        assert main(["pull", "-q", f"{server.host}/a:1", "--to", f"{tmp_path}/x"]) == 3
    assert "Pass --platform with a platform that the image has" in capsys.readouterr().err

"""Methods show their options to ``inspect``, ``help`` and completion, and stay like functions."""

from __future__ import annotations

import compileall
import copy
import functools
import inspect
import pickle
import pydoc
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

import containerd_lite
from containerd_lite import Client, Container, Task
from containerd_lite.runtime.spec import option_help, options

pytestmark = pytest.mark.interpreter

METHODS: list[tuple[Callable[..., object], type]] = [
    (Client.run, options.RunOptions),
    (Client.popen, options.ContainerOptions),
    (Client.new_container, options.ContainerOptions),
    (Container.exec, options.ExecOptions),
    (Container.popen, options.ProcessOptions),
    (Task.exec, options.ProcessOptions),
]
#: Writes the options that the signature and the docstring of a method and the command line name.
REPORT = """
import contextlib, inspect, io
from containerd_lite.cli.program import main
from containerd_lite.runtime.verbs import ContainerVerbs
method = ContainerVerbs.run
assert "/site-packages/" not in inspect.getfile(method)
doc = method.__doc__
print("cpu_shares" in inspect.signature(method).parameters, doc and "    cpu_shares: " in doc)
shown = io.StringIO()
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(shown):
    main(["exec", "--help"])
print([text for text in ("Working directory", "docs/options.md") if text in shown.getvalue()])
"""


def names(kind: type) -> set[str]:
    return set(kind.__optional_keys__)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("method", "kind"), METHODS, ids=lambda value: value.__qualname__)
def test_each_option_is_shown(method: Callable[..., object], kind: type) -> None:
    parameters = inspect.signature(method).parameters
    added = [parameters[name] for name in names(kind)]
    assert {(each.kind, each.default) for each in added} == {(inspect.Parameter.KEYWORD_ONLY, None)}
    assert all(each.annotation.endswith("None") for each in added)
    assert not [each for each in parameters.values() if each.kind is each.VAR_KEYWORD]
    doc = pydoc.plain(pydoc.render_doc(method))
    entries = dict(re.findall(r"^ {8}(\w+): ((?:.+\n(?: {12}.+\n)*))", doc, re.MULTILINE))
    for name in names(kind):
        assert re.search(r"Default:\s", entries[name]), name
    assert max(map(len, inspect.cleandoc(method.__doc__ or "").splitlines())) <= 92


def test_bound_methods_show_the_options() -> None:
    with Client("/none") as client:
        assert "self" not in inspect.signature(client.run).parameters
        assert "memory" in inspect.signature(client.run).parameters
        assert "Memory limit in bytes" in pydoc.plain(pydoc.render_doc(client.run))
        assert "Memory limit in bytes" in (client.run.__doc__ or "")


def test_classes_show_the_options_of_their_methods() -> None:
    shown = pydoc.plain(pydoc.render_doc(Container))
    assert "cap_add: 'Sequence[str] | None' = None" in shown


def test_methods_stay_like_functions() -> None:
    method = cast(Any, Client.run)
    assert inspect.isfunction(method)
    assert inspect.isroutine(method)
    assert (method.__name__, method.__qualname__) == ("run", "ContainerVerbs.run")
    assert method.__module__ == "containerd_lite.runtime.verbs"
    assert (method.__kwdefaults__ or {})["pull"] == "never"
    assert repr(method).startswith("<function ContainerVerbs.run at ")
    assert pickle.loads(pickle.dumps(method)) is copy.deepcopy(method) is method
    assert "def run(" in inspect.getsource(method)
    with pytest.raises(AttributeError):
        _ = method.no_such
    with Client("/none") as client:
        bound: Any = client.run
        assert inspect.ismethod(bound)
        assert bound == client.run
        assert bound.__self__ is client
        again = pickle.loads(pickle.dumps(bound))
        assert again.__func__ is method
        with pytest.raises(TypeError, match="positional"):
            bound(*range(9))


def test_methods_can_be_wrapped_and_overridden() -> None:
    class Own(Client):
        def run(self, *args: Any, **keywords: Any) -> Any:
            return super().run(*args, **keywords)

    @functools.wraps(Client.run)
    def wrapper(*args: Any, **keywords: Any) -> Any:
        return Client.run(*args, **keywords)

    with Own("/none") as own:
        for call in (own.run, functools.partial(wrapper, own), functools.partial(Client.run, own)):
            with pytest.raises(containerd_lite.InvalidArgument, match=r"^pull=5 is not"):
                call("x", pull=5)  # type: ignore[call-overload]
    assert "memory" in inspect.signature(wrapper).parameters
    assert wrapper.__doc__ == Client.run.__doc__


def test_an_option_of_the_output_may_be_none(tmp_path: Path) -> None:
    with (
        Client(f"{tmp_path}/none") as client,
        pytest.raises(containerd_lite.SocketNotFound),
    ):
        client.run("x", detach=True, capture=None, max_output=None, stdout=None)


def package_copy(folder: Path) -> Path:
    (source,) = containerd_lite.__path__
    shutil.copytree(source, folder / "containerd_lite", ignore=shutil.ignore_patterns("*cache*"))
    return folder


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("folder", "True True\n['Working directory']"),
        ("zip", "True True\n['Working directory']"),
        ("compiled", "True False\n['docs/options.md']"),
        ("-OO", "True None\n['Working directory']"),
    ],
)
def test_other_forms_of_the_package(form: str, said: str, tmp_path: Path) -> None:
    folder = package_copy(tmp_path / "copy")
    if form == "zip":
        with zipfile.ZipFile(tmp_path / "copy.zip", "w") as archive:
            for path in folder.rglob("*"):
                archive.write(path, path.relative_to(folder))
        shutil.rmtree(folder)
        folder = tmp_path / "copy.zip"
    elif form == "compiled":
        compileall.compile_dir(folder, quiet=2, legacy=True)
        for path in folder.rglob("*.py"):
            path.unlink()
    flags = [form] if form == "-OO" else []
    program = f"import sys; sys.path.insert(0, {str(folder)!r}){REPORT}"
    argv = [sys.executable, *flags, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.stdout.strip(), done.stderr) == (said, "")


def test_jedi_completes_options() -> None:
    jedi = pytest.importorskip("jedi", reason="jedi is not installed")
    with Client("/none") as client:
        found = jedi.Interpreter("client.run('x', memory_s", [{"client": client}]).complete()
    assert [each.name for each in found] == ["memory_swap=", "memory_swappiness="]


def test_each_comment_belongs_to_one_option() -> None:
    kinds = (options.RunOptions, options.ExecOptions)
    explained = option_help.option_comments()
    assert explained.keys() == set().union(*map(names, kinds))

"""The house: each room imports only what its row allows, and nothing grows too large."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerd_lite import preload

pytestmark = pytest.mark.source

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "containerd_lite"
FILES = sorted(PACKAGE.rglob("*.py"))
BESIDE = [
    path
    for folder in ("benchmarks", "descriptors", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]

EVERYBODY = {
    "arguments",
    "child",
    "connecting",
    "deadline",
    "debug",
    "errors",
    "interrupt",
    "lazy",
    "limits",
    "locks",
    "lookup",
    "operation",
    "pipes",
    "printable",
    "progress",
    "records",
    "system",
    "undo",
    "unread",
    "version",
    "workers",
}
_CLIENT = {
    "runtime",
    "images",
    "services",
    "registry",
    "store",
    "transport",
    "trust",
    "schema",
    "oci",
}
_FRONT = {"client", "layout", *_CLIENT}
ROWS: dict[str, set[str]] = {
    "wire": set(),
    "schema": set(),
    "oci": set(),
    "transport": {"wire"},
    "trust": {"oci"},
    "services": {"transport", "schema", "oci"},
    "registry": {"trust", "oci"},
    "store": {"services", "oci"},
    "images": {"store", "services", "registry", "trust", "oci"},
    "runtime": {"images", "store", "services", "oci"},
    "client": _CLIENT,
    "layout": _CLIENT,
    "preload": {"progress_adapters", *_FRONT},
    "aio": _FRONT,
    "fleet": _FRONT,
    "testing": _FRONT,
    "progress_adapters": set(),
    "cli": {"aio", "fleet", "testing", "progress_adapters", *_FRONT},
    "__init__": {"preload", "progress_adapters", *_FRONT},
    "__main__": {"cli"},
    **{name: set() for name in EVERYBODY},
}
FOREIGN = {
    "h2": {"wire"},
    "hpack": {"wire"},
    "google": {"schema"},
    "urllib3": {"registry"},
    "cryptography": {"trust"},
    "nacl": {"trust"},
    "rfc3161_client": {"trust"},
    "yaml": {"runtime", "trust"},
    "rich": {"progress_adapters"},
    "tqdm": {"progress_adapters"},
    "compression": {"store"},
    "backports": {"store"},
    "tomllib": {"cli", "registry", "trust"},
    "tomli": {"cli", "registry", "trust"},
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (0, module) for each absolute import of a file, (1, room) for each within the house."""
    here = ("", *path.relative_to(PACKAGE).parts[:-1])
    tree = ast.parse(path.read_text())
    tests = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    typing = [node for node in tests if ast.unparse(node.test) == "TYPE_CHECKING"]
    unused = {id(part) for node in typing for part in node.body}  # when the program runs
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            if not (id(node) in unused and node.module == "typing_extensions"):
                yield 0, node.module or ""
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= len(here), "an import from outside the package"
            base = ".".join((*here[1 : len(here) - node.level + 1], *filter(None, [node.module])))
            names = [base] if base else [alias.name for alias in node.names]
            yield from ((1, name.split(".")[0]) for name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_row_allows(path: Path) -> None:
    own = room(path)
    found = set(imports(path))
    assert not {name for inside, name in found if inside} - {own} - EVERYBODY - ROWS[own]
    for name in (name for inside, name in found if not inside):
        top = name.split(".")[0]
        assert top != PACKAGE.name, "imports inside the package are relative"
        assert top in FOREIGN or top in sys.stdlib_module_names, f"nobody may import {top}"
        assert own in FOREIGN.get(top, {own}), f"only {FOREIGN[top]} may import {top}"
        assert name != "importlib.metadata"


def files_imported(path: Path) -> set[Path]:
    """The files of the house that a file imports: at its top, in functions, for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = node.module.split(".") if node.module else []
            place = path.parents[node.level - 1].joinpath(*parts)
            for alias in node.names:
                candidates = (
                    place / f"{alias.name}.py",
                    place / alias.name / "__init__.py",
                    place.with_suffix(".py"),
                    place / "__init__.py",
                )
                found.add(next(one for one in candidates if one.exists()))
    return found - {path}


def test_no_file_imports_what_imports_it() -> None:
    """Within a room, too, and by whatever way round: each file can be read before its users."""
    arrows = {path: files_imported(path) for path in FILES}
    while True:  # drop files that import none of the rest, or that none of the rest imports
        imported = set().union(*arrows.values())
        circle = {a: b & arrows.keys() for a, b in arrows.items() if b & arrows.keys()}
        circle = {path: targets for path, targets in circle.items() if path in imported}
        if circle == arrows:
            break
        arrows = circle
    assert not arrows, "\n".join(
        f"{path.relative_to(PACKAGE)} imports {target.relative_to(PACKAGE)}"
        for path, targets in arrows.items()
        for target in sorted(targets)
    )


def lazy_table(path: Path) -> dict[str, list[str]] | None:
    """The modules of a package that are loaded when they are first used, and their names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_names":
            table: dict[str, list[str]] = ast.literal_eval(node.args[1])
            return table
    return None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_loaded_late_is_what_type_checkers_see(path: Path) -> None:
    """Else the tests above would not see what a package loads when it is first used."""
    table = lazy_table(path)
    if table is None:
        # The other one asks for modules of others: which zstd there is.
        may_import = path.relative_to(PACKAGE).parts in (
            ("lazy.py",),
            ("preload.py",),
            ("store", "layers.py"),
        )
        assert may_import or "import_module" not in path.read_text()
        return
    seen: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module in table:
            seen.setdefault(node.module, []).extend(alias.name for alias in node.names)
    assert {m: sorted(names) for m, names in table.items()} == {
        m: sorted(names) for m, names in seen.items()
    }
    modules = {module.split(".")[0] for module in table}
    names = [name for names in table.values() for name in names]
    assert not modules & set(names), "importing the module would hide the name"
    assert len(set(names)) == len(names)


def test_third_parties_are_imported_by_name_only() -> None:
    """``import h2.connection`` would bind ``h2``, which a vendoring tool cannot rewrite."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                dotted = [alias.name for alias in node.names if "." in alias.name]
                foreign = [name for name in dotted if name.split(".")[0] in FOREIGN]
                assert not foreign, f"{path}: from {foreign[0]} import …"


@pytest.mark.parametrize("path", [*FILES, *BESIDE], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_grows_too_large(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 650
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = lines_of(node) - lines_of(docstring_of(node))
            assert length <= 60, f"{node.name} has {length} lines beside its docstring"


def docstring_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt | None:
    return function.body[0] if ast.get_docstring(function) is not None else None


def lines_of(node: ast.stmt | None) -> int:
    return 0 if node is None else (node.end_lineno or 0) - node.lineno + 1


def test_the_rows_say_what_a_module_may_not_do_and_its_docstring_need_not() -> None:
    formula = re.compile(r"what (lives|may not live) here|what may not:", re.IGNORECASE)
    assert not [str(path) for path in FILES if formula.search(path.read_text())]


def test_a_package_in_an_archive_has_no_files() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Name) and node.id == "__file__"), path


def test_only_the_command_line_prints() -> None:
    for path in FILES:
        if room(path) not in ("cli", "__main__"):
            for node in ast.walk(ast.parse(path.read_text())):
                assert not (isinstance(node, ast.Name) and node.id == "print"), path


def test_pools_of_threads_are_those_that_an_interrupt_leaves_nothing_of() -> None:
    for path in FILES:
        if room(path) != "workers":
            assert "ThreadPoolExecutor" not in path.read_text(), f"{path}: make it of Workers"


def test_the_lanes_have_the_compiler_of_the_sets() -> None:
    source = (ROOT / "descriptors" / "compile.py").read_text()
    (line,) = [line for line in source.splitlines() if line.startswith("PROTOC_REQUIREMENT")]
    assert (
        line.split('"')[1] in (ROOT / "tests" / "requirements" / "all.txt").read_text().splitlines()
    )


def imports_in_functions() -> dict[str, str]:
    """Where a function imports something, and what: the module as ``import_module`` takes it."""
    found = {}
    for path in FILES:
        folder = path.relative_to(PACKAGE).parts[:-1]
        tree = ast.parse(path.read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for node in (inner for function in functions for inner in ast.walk(function)):
            where = f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                found[where] = node.names[0].name
            elif isinstance(node, ast.ImportFrom) and node.level:
                base = folder[: len(folder) - node.level + 1]
                found[where] = "." + ".".join((*base, node.module or ""))
            elif isinstance(node, ast.ImportFrom):
                found[where] = node.module or ""
    return found


def test_few_functions_import_something() -> None:
    """Each says why, beside it or above; families are loaded by the tables of packages."""
    found = imports_in_functions()
    assert len(found) <= 29, "\n".join(f"{where} {what}" for where, what in found.items())


def test_what_functions_import_can_be_loaded_before() -> None:
    late = set(imports_in_functions().values())
    by_programs = {".layout", "rich.console", "rich.progress", "tqdm"}  # where there is a screen
    assert late - by_programs <= set(preload._IN_FUNCTIONS)
    assert {name for name in preload._IN_FUNCTIONS if name.startswith(".")} <= late


def test_no_two_modules_bear_one_name() -> None:
    """But for names that the field gives: of services, of commands, of what a room stands on."""
    seen: dict[str, Path] = {}
    for path in FILES:
        parts = path.relative_to(PACKAGE).parts
        is_given = path.stem in ("__init__", "verbs", "base")
        if is_given or parts[0] == "services" or parts[:2] == ("cli", "commands"):
            continue
        assert path.stem not in seen, f"{path} and {seen[path.stem]}"
        seen[path.stem] = path


#: Classes that the field itself has twice, such as the mounts of snapshots and of runtime specs.
_TWICE = {
    "Mount",
    "Stream",
    *("CPUStat", "MemoryStat", "Metrics", "NetworkStat", "PidsStat", "RdmaEntry", "RdmaStat"),
}


def test_no_two_classes_bear_one_name() -> None:
    seen: dict[str, Path] = {}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name not in _TWICE:
                assert node.name not in seen, f"{node.name}: {path} and {seen[node.name]}"
                seen[node.name] = path


def test_calls_with_many_arguments_name_them() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert len(node.args) < 6, f"{path}:{node.lineno}: name them from the fourth on"


def test_a_room_has_few_files() -> None:
    for folder in {path.parent for path in FILES}:
        files = [path for path in FILES if path.parent == folder and path.stem != "__init__"]
        # services/ has a file for each of containerd's.
        most = {"images": 16, "runtime": 18, "services": 64}.get(folder.name, 32)
        assert len(files) <= most, folder


#: Paths in the pages for contributors, relative to the repository or to the package.
_PATH_IN_TEXT = re.compile(r"`((?:[\w.]+/)*[\w.]+(?:/|\.py|\.md|\.ini))`")
_PAGES = ("CONTRIBUTING.md", "docs/architecture.md")


@pytest.mark.parametrize("page", _PAGES)
def test_pages_for_contributors_name_what_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    for name in _PATH_IN_TEXT.findall(text):
        places = (ROOT.glob(name), PACKAGE.rglob(name), (ROOT / "tests").rglob(name))
        assert any(map(list, places)), f"{page} names {name}, which is not there"


def test_the_page_on_architecture_has_every_room_with_its_row() -> None:
    rows: dict[str, str] = {}
    table = (ROOT / "docs/architecture.md").read_text().partition("### ")[0]
    for line in table.splitlines():
        if line.startswith("| `"):
            names, _, allowed = line.strip("| ").split(" | ")
            for name in re.findall(r"`([\w.]+)/?`", names):
                rows[name.removesuffix(".py")] = allowed
    rooms = {room(path) for path in FILES} - EVERYBODY - {"__init__", "__main__"}
    assert rows.keys() == rooms
    above: set[str] = set()
    for name, allowed in rows.items():
        named = set(re.findall(r"`(\w+)`", allowed))
        told = above - named if allowed.startswith("all of the above but ") else named
        # The rows know rooms that are yet to come, and the table has Client and Layout in one row.
        assert told - {"client", "layout"} == ROWS[name] & rooms - {"client", "layout"}, name
        above.add(name)


def test_the_page_on_architecture_names_what_every_file_may_import() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    (part,) = re.findall(r"(Every file may import .*?)\n\n", text, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", part)) - {"__init__"} == EVERYBODY

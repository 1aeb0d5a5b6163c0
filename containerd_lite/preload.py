"""``load`` imports parts of the package before their first use."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from importlib import import_module
from typing import Literal, get_args

from .errors import FailedPrecondition, InvalidArgument
from .lazy import TABLES

#: A part of the package that a program can load.
Family = Literal["services", "registry", "images", "runtime", "trust"]
#: The sub-packages of each family, including the sub-packages that the family needs.
_PACKAGES: Mapping[Family, Sequence[str]] = {
    "services": ("oci", "schema", "services"),
    "registry": ("oci", "registry"),
    "images": ("oci", "schema", "services", "registry", "store", "images"),
    "runtime": ("oci", "schema", "services", "registry", "store", "images", "runtime"),
    "trust": (
        *("oci", "registry", "store", "trust", "images.signatures"),
        *("registry.signature_repository", "runtime.spec.yaml_file"),
    ),
}
#: The sub-packages and modules that only the family ``trust`` loads. They need optional packages.
_OPTIONAL = (
    *("trust", "images.signatures", "registry.signature_repository"),
    "runtime.spec.yaml_file",
)
#: The modules of ``Client`` and ``Layout``, and of the progress callbacks.
_MAIN_MODULES = ("client", "layout", "progress_adapters")
#: Modules that are imported inside functions. Some of these modules can be missing.
_IN_FUNCTIONS = (
    ".images.pull.convert_schema1",
    ".registry.logins.helpers",
    ".runtime.checkpoint",
    ".services.metrics",
    ".transport.tcp",
    ".trust.evidence",
    ".trust.key_files",
    ".trust.trust_root",
    "base64",
    "csv",
    "dataclasses",
    "difflib",
    "google.protobuf.descriptor_pb2",
    "hashlib",
    "logging",
    "ssl",
    "tomli",
    "tomllib",
    "urllib.parse",
    # The standard library imports this module when the program first uses the codec ``idna``.
    "encodings.idna",
)
#: The modules of ``_IN_FUNCTIONS`` that only the family ``trust`` needs.
_OF_TRUST = (".trust.evidence", ".trust.key_files", ".trust.trust_root")


def load(*families: Family) -> None:
    """Import parts of the package, and read the descriptor sets, before their first use.

    A program calls this function before it drops privileges, changes its root or forks. Without
    this call, the program could later be unable to read the files of the package.

    Args:
        families: The parts that the program will use. ``"images"`` stands for the image methods of
            ``Client`` and ``Layout``. ``"runtime"`` stands for the container methods of ``Client``.
            ``"trust"`` stands for policies and signers; modules whose optional packages are not
            installed are left out. Each part includes the parts that it needs. Default: all parts
            but ``"trust"``, because few programs use it, and it loads compiled packages.

    Raises:
        InvalidArgument: A family is unknown.
    """
    known = get_args(Family)
    for family in families:
        if family not in known:
            raise InvalidArgument(
                f"family {family!r} is unknown", remedy=f"Use some of {', '.join(known)}"
            )
    chosen = set(families or known) - (set() if families else {"trust"})
    for name in _MAIN_MODULES:
        import_module(f".{name}", __package__)
    for name in _IN_FUNCTIONS:
        if name not in _OF_TRUST or "trust" in chosen:
            with suppress(ImportError, FailedPrecondition):
                import_module(name, __package__)
    wanted = {name for family in chosen for name in _PACKAGES[family]}
    _load_tables(_full(wanted), without=_full(set(_OPTIONAL) - wanted))
    pool = sys.modules.get(f"{__package__}.schema.pool")
    if pool is not None:
        pool.CONTAINERD.load_all()


def _full(names: Set[str]) -> Set[str]:
    return {f"{__package__}.{name}" for name in names}


def _load_tables(parents: Set[str], without: Set[str]) -> None:
    """Import all modules in the tables of the packages ``parents`` and of their sub-packages."""
    for parent in parents:
        with suppress(FailedPrecondition):  # an optional package is not installed
            import_module(parent)
    loaded: set[str] = set()
    # The import of a module can add tables to ``TABLES``, even tables of other packages.
    while packages := [
        name
        for name in TABLES.keys() - loaded
        if _is_within(name, parents) and not _is_within(name, without)
    ]:
        for package in packages:
            loaded.add(package)
            for module in TABLES[package]:
                if _is_within(f"{package}.{module}", without):
                    continue
                with suppress(FailedPrecondition):  # an optional package is not installed
                    import_module(f".{module}", package)


def _is_within(package: str, parents: Set[str]) -> bool:
    return any(package == parent or package.startswith(f"{parent}.") for parent in parents)

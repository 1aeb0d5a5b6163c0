"""Checks whether the daemon's image verifier plugin judges the images that the daemon pulls.

The plugin accepts every image if its folder is missing or empty, and skips programs beyond a limit.
The CRI pulls past it with some settings.

Source: containerd's pkg/imageverifier/bindir/bindir.go, core/transfer/local/pull.go, and
CheckLocalImagePullConfigs in internal/cri/config/config.go.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import FailedPrecondition
from ..services.deprecations import PREFIX
from ..services.since import release_of
from ..system import open_regular
from .daemon_config import IMAGES, process_of, read_plugin_settings, table_of
from .findings import Finding, State

if TYPE_CHECKING:
    from ..client import Client

_T = TypeVar("_T")

_CHECK, _CRI_CHECK = "image verifiers", "image verifiers and the CRI"
_PLUGIN = "io.containerd.image-verifier.v1.bindir"
_TRANSFER = "io.containerd.transfer.v1.local"
_DEFAULT_FOLDER = "/opt/containerd/image-verifier/bin"
_DEFAULT_MOST = 10
#: The release that brought the plugin, and the release since which the CRI pulls by the transfer
#: service, which asks the plugin.
_SINCE, _CRI_SINCE = (2, 0), (2, 1)
#: The settings with which the CRI does not pull by the transfer service, and their harmless values.
_FORCING: Mapping[str, object] = {
    "use_local_image_pull": False,
    "disable_snapshot_annotations": True,
    "discard_unpacked_layers": False,
    "max_concurrent_downloads": 3,
    "image_pull_with_sync_fs": False,
}
#: Tables of the CRI's section ``registry`` with the same effect. The daemon reports them as
#: deprecated.
_FORCING_REGISTRY = ("mirrors", "configs", "auths")
_CRI_REMEDY = (
    f'Remove them from plugins."{IMAGES}". Set max_concurrent_downloads in '
    f'plugins."{_TRANSFER}", and registries in a hosts.toml'
)
_OWN_NAME = "containerd-lite-verify"
#: The texts of which the program has one, or a script that runs the program.
_OWN_TEXTS = (_OWN_NAME.encode(), b"containerd_lite.cli.verifier")
_NOT_OWN = f"; none of them is {_OWN_NAME}"
_MAX_SCRIPT = 64 << 10
_MOST_SHOWN = 20


def check_image_verifiers(client: Client) -> Iterator[Finding]:
    """Say which programs judge the images that the daemon pulls, and which pulls go past them."""
    release = release_of(client.version().version)
    if release < _SINCE:
        return
    plugins = client.introspection_service.plugins()
    usable = {f"{plugin.type}.{plugin.id}" for plugin in plugins if not plugin.error}
    try:
        process = process_of(client)
        settings = read_plugin_settings(process)
    except FailedPrecondition as error:
        why = "".join(f"; {each}" for each in _reported(client) if IMAGES in usable)
        yield Finding(_CHECK, "ok", f"unknown, because {error.message}{why}", error.remedy)
        return
    section = table_of(settings, _PLUGIN)
    bin_dir = _setting(section, "bin_dir", _DEFAULT_FOLDER)
    folder = process / "cwd" / bin_dir
    most = _setting(section, "max_verifiers", _DEFAULT_MOST)
    try:
        names = sorted(os.listdir(folder), key=os.fsencode) if bin_dir else []
    except FileNotFoundError:
        names = []
    except OSError as error:
        text = f"{folder}: {error.strerror}, so the daemon refuses every image"
        yield Finding(_CHECK, "warning", text, "Let bin_dir be a folder")
        return
    is_loaded = _PLUGIN in usable
    if not is_loaded and _TRANSFER not in usable:
        return  # the daemon pulls nothing itself, which other checks report
    if failure := _none_called(folder, names, most, is_loaded=is_loaded):
        # Without the section and the folder, the administrator does not expect verdicts.
        state: State = "warning" if _PLUGIN in settings or folder.exists() else "ok"
        text, remedy = failure
        yield Finding(_CHECK, state, f"{text}, so the daemon accepts every image", remedy)
        return
    yield from _check_programs(folder, names, most)
    if IMAGES in usable:
        yield from _check_cri(table_of(settings, IMAGES), release)


def _none_called(
    folder: Path, names: Sequence[str], most: int, *, is_loaded: bool
) -> tuple[str, str] | None:
    """Return why the daemon runs no program, and what to do; ``None`` if it runs some."""
    if not is_loaded:
        return f"the daemon has not loaded {_PLUGIN}", "Remove it from disabled_plugins"
    if not names:
        remedy = f"To judge images, put a program that runs containerd-lite-verify into {folder}"
        return f"{folder} does not exist or is empty", remedy
    if most == 0:
        return "max_verifiers is 0", f'Raise max_verifiers in plugins."{_PLUGIN}"'
    return None


def _check_programs(folder: Path, names: Sequence[str], most: int) -> Iterator[Finding]:
    called = names if most < 0 else names[:most]
    own = "" if any(map(_is_own, (folder / name for name in called))) else _NOT_OWN
    yield Finding(_CHECK, "ok", f"{_listed(called)} in {folder}{own}")
    if skipped := names[len(called) :]:
        text = f"the daemon skips {_listed(skipped)}, because max_verifiers is {most}"
        remedy = f'Raise max_verifiers in plugins."{_PLUGIN}"'
        yield Finding("image verifiers skipped", "warning", text, remedy)
    broken = [name for name in called if not _is_program(folder / name)]
    if broken:
        text = f"{_listed(broken)} cannot be executed, so the daemon refuses every image"
        remedy = f"Remove what is not a program from {folder}"
        yield Finding("image verifiers that fail", "warning", text, remedy)


def _check_cri(images: Mapping[str, Any], release: tuple[int, ...]) -> Iterator[Finding]:
    if release < _CRI_SINCE:
        text = "before containerd 2.1, the CRI pulls past the image verifiers"
        yield Finding(_CRI_CHECK, "warning", text, "Upgrade to containerd 2.1 or newer")
        return
    forcing = [
        f"{name} = {json.dumps(images[name], default=str)}"
        for name, harmless in _FORCING.items()
        if name in images and images[name] != harmless
    ]
    registry = table_of(images, "registry")
    forcing += [f"registry.{name}" for name in _FORCING_REGISTRY if registry.get(name)]
    if forcing:
        text = f"the CRI pulls past the image verifiers, because of {', '.join(forcing)}"
        yield Finding(_CRI_CHECK, "warning", text, _CRI_REMEDY)


def _reported(client: Client) -> Iterator[str]:
    """Yield what the daemon reports itself about pulls past the verifiers."""
    deprecated = {each.id.removeprefix(PREFIX) for each in client.server().deprecations}
    for name in _FORCING_REGISTRY:
        if f"cri-registry-{name}" in deprecated:
            yield f"the CRI pulls past image verifiers, because of registry.{name}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more


def _setting(section: Mapping[str, Any], name: str, default: _T) -> _T:
    """Return a setting, or the default if the setting is missing or has another type."""
    value = section.get(name, default)
    return value if isinstance(value, type(default)) else default


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _is_own(path: Path) -> bool:
    """Return whether a file is ``containerd-lite-verify``, or a script that runs it."""
    if os.path.basename(os.path.realpath(path)) == _OWN_NAME:
        return True
    try:
        with open_regular(path) as file:
            body = file.read(_MAX_SCRIPT)
    except OSError:
        return False
    return any(text in body for text in _OWN_TEXTS)

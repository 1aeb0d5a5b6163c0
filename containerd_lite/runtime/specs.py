"""A runtime spec from an image's config and a caller's options.

What lives here: the rules for args, environment, directory and user.  What may not: the default
document (``oci.spec`` has it), files of the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import InvalidArgument
from ..oci.config import ImageConfig
from ..oci.spec import PATH, Spec, default_spec
from .options import SpecOptions

#: Linux keeps ids in 32 bits, and runc reads them into a signed one (CVE-2024-40635).
_MAX_ID = (1 << 31) - 1


def make_spec(
    namespace: str,
    container_id: str,
    config: ImageConfig | None,
    args: Sequence[str] | None = None,
    options: SpecOptions | None = None,
) -> Spec:
    """The spec of a container; what is not given, the image's config says.

    ``args`` replaces the image's command and follows its entrypoint.

    Raises ``InvalidArgument`` where nothing says what to run, or who is to.
    """
    options = options or {}
    env, user = options.get("env"), options.get("user")
    command = [*(config.entrypoint if config else ()), *_command(config, args)]
    if not command:
        raise InvalidArgument(
            "neither the image nor the caller says what to run", remedy="Give args="
        )
    uid, gid = _ids((config.user if config else "") if user is None else user)
    image_cwd = config.working_dir if config else ""
    return default_spec(
        f"/{namespace}/{container_id}",
        args=command,
        env=_environment(config.env if config else (), env or {}),
        cwd=options.get("cwd") or image_cwd or "/",
        uid=uid,
        gid=gid,
    )


def _command(config: ImageConfig | None, args: Sequence[str] | None) -> Sequence[str]:
    if args is None:
        return config.cmd if config else ()
    if isinstance(args, str):
        raise InvalidArgument(f"args is the string {args!r}", remedy="Give a list of strings")
    return args


def _environment(image: Iterable[str], given: Mapping[str, str]) -> list[str]:
    """The default PATH, then the image's, then the caller's; the last one of a name counts."""
    entries = dict(entry.partition("=")[::2] for entry in (PATH, *image))
    entries.update(given)
    for name, value in entries.items():
        if not name or "=" in name or "\0" in name + value:
            raise InvalidArgument(f"{name!r} cannot be an environment variable")
    return [f"{name}={value}" for name, value in entries.items()]


def _ids(user: str) -> tuple[int, int]:
    """``uid`` and ``gid`` of ``""``, ``root``, ``uid`` or ``uid:gid``."""
    if user in ("", "root"):
        return 0, 0
    uid, colon, gid = user.partition(":")
    return _id(uid, user), _id(gid, user) if colon else 0


def _id(text: str, user: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= _MAX_ID):
        raise InvalidArgument(
            f"user {user!r} is not made of numbers up to {_MAX_ID}",
            remedy="Give user= as uid or uid:gid; names are not looked up in the image",
        )
    return int(text)

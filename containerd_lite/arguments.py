"""Checks the types of the values that callers pass.

An argument that many methods have takes the same values in all of them, so ``check_types`` finds
what is valid by the name of the argument.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Iterable, Mapping

from .errors import InvalidArgument
from .limits import refused

#: Python's own file classes. Other classes may have ``read``, but leave ``readable`` false.
_FILES = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.BytesIO)


def check_types(values: Mapping[str, object]) -> None:
    """Check the arguments that this module knows. ``None`` means that an argument is not given.

    Args:
        values: The values of the arguments by name. Other arguments are not checked.

    Raises:
        InvalidArgument: A value has the wrong type.
    """
    for name, value in values.items():
        if value is not None and name in _KINDS:
            is_valid, wanted = _KINDS[name]
            if not is_valid(value):
                if name in _SECRET:
                    raise InvalidArgument(
                        f"{name} cannot be of the type {type(value).__name__}",
                        remedy=f"Pass {wanted}",
                    )
                raise refused(name, value, wanted)


def check_instance(name: str, value: object, kind: type, wanted: str) -> None:
    """Check the class of an argument that must be given.

    Args:
        name: The name of the argument.
        value: The value of the argument.
        kind: The class that the value must have.
        wanted: What the argument accepts.

    Raises:
        InvalidArgument: The value is not an instance of ``kind``.
    """
    if not isinstance(value, kind):
        raise refused(name, value, wanted)


def path(name: str, value: object) -> str:
    """Return the path in an argument.

    Raises:
        InvalidArgument: The value is not a string or an ``os.PathLike`` of strings, or has a NUL.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or "\0" in text:
        raise refused(name, value, "a path as a string or as pathlib.Path")
    return text


def view_of(name: str, value: object) -> memoryview:
    """Return a view of the bytes in an argument.

    Raises:
        InvalidArgument: The value is not a bytes-like object.
    """
    try:
        return memoryview(value)  # type: ignore[arg-type]
    except TypeError:
        raise refused(name, value, "bytes") from None


def is_binary(value: object, method: str) -> bool:
    """Return whether ``value`` is an open binary file that has a method, such as ``"read"``."""
    if isinstance(value, io.IOBase) and (value.closed or isinstance(value, io.TextIOBase)):
        return False
    if isinstance(value, _FILES):
        return value.readable() if method == "read" else value.writable()
    return callable(getattr(value, method, None))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def is_path(value: object) -> bool:
    """Return whether ``value`` has the type of a path."""
    return isinstance(value, str | os.PathLike)


def _is_extensions(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(_has("type_url"), value.values()))


def _is_list(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | os.PathLike)


def _is_list_of(is_item: Callable[[object], bool]) -> Callable[[object], bool]:
    """Return a function that says whether a value is a list of valid items.

    The items of an iterator are not checked, because they can be read only once.
    """
    return lambda value: (
        _is_list(value) and (not isinstance(value, Collection) or all(map(is_item, value)))
    )


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_labels(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, (*value.keys(), *value.values())))


def _has(*names: str) -> Callable[[object], bool]:
    """Return a function that says whether an object has one of the attributes.

    A class is not an object of itself: ``CancelToken`` is not a token, but ``CancelToken()`` is.
    """
    return lambda value: not isinstance(value, type) and any(hasattr(value, name) for name in names)


def _is_platform(value: object) -> bool:
    return _is_text(value) or (isinstance(value, Collection) and all(map(_is_text, value)))


def _is_credentials(value: object) -> bool:
    is_pair = isinstance(value, tuple) and len(value) == 2 and all(map(_is_text, value))
    return is_pair or callable(value) or hasattr(value, "identity_token")


_TEXTS = (
    *("ref", "snapshotter", "runtime", "namespace", "address"),
    *("sandboxer", "sandbox", "snapshot", "restart", "restart_log"),
    *("host", "proxy", "server_name", "username", "password", "identity_token"),
    *("topic", "container"),
)
_FLAGS = (
    *("plain_http", "all_platforms", "all_metadata", "attestations", "referrers", "sparse"),
    *("unpack", "discard_layers", "convert_schema1", "resume", "skip_missing"),
    *("skip_docker_manifest", "reconnect", "check", "detach", "remove", "start", "force"),
    *("image_labels", "view", "capture", "terminal", "trust", "rw"),
)
#: Arguments whose values can contain a secret, so error messages do not show them.
_SECRET = ("credentials", "proxy", "username", "password", "identity_token")
#: For each argument: a function that says whether a value is valid, and what the argument accepts.
_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(_TEXTS, (_is_text, "a string")),
    **dict.fromkeys(
        ("progress", "wrap_handler", "stream", "edit", "translate_name"), (callable, "a function")
    ),
    "labels": (_is_labels, "a mapping of strings to strings, such as {'name': 'value'}"),
    "platform": (_is_platform, "a platform such as 'linux/arm64', or a list of platforms"),
    "resolver": (
        _has("resolve", "pusher", "hosts_dirs"),
        "a resolver, such as images.RegistryResolver",
    ),
    "streams": (_has("stdio"), "streams, such as an object of runtime.io"),
    "channel": (_has("unary"), "a Channel"),
    "registry": (_has("hosts_dirs"), "a RegistryOptions"),
    **dict.fromkeys(_FLAGS, (_is_bool, "True or False")),
    "cancel": (_has("is_cancelled"), "a CancelToken"),
    "deadline": (_has("remaining"), "a Deadline"),
    **dict.fromkeys(("rootfs", "cert", "key"), (is_path, "a path")),
    **dict.fromkeys(("hosts_dirs", "proxy_ca"), (_is_list_of(is_path), "a list of paths")),
    "realm_hosts": (_is_list_of(_is_text), "a list of host names"),
    "filters": (_is_list_of(_is_text), "filters as strings, such as 'id==web'"),
    **dict.fromkeys(("dns", "dns_search", "dns_options"), (_is_list, "a list of strings")),
    "extra_hosts": (_is_labels, "a mapping of host names to addresses"),
    "ports": (_is_list, "a list of ports, such as ['8080:80']"),
    "tls": (_has("skip_verify"), "a TlsFiles"),
    "credentials": (
        _is_credentials,
        "a user name and a password, Credentials, or a function that returns them for a host",
    ),
    "runtime_options": (_has("items", "type_url"), "a mapping of options, or an AnyValue"),
    "extensions": (_is_extensions, "a mapping of names to objects of the class AnyValue"),
}

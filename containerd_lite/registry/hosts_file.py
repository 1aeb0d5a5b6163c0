"""Reads the hosts of a registry from ``hosts.toml`` or from Docker's certificate folders.

See containerd's docs/hosts.md and core/remotes/docker/config/hosts.go.

If containerd cannot parse a file, it logs the error, and continues without the file. In this
module, an invalid file is an error: without the file, requests would bypass the configured mirrors
and certificate authorities. No error quotes a value, because any value may be a secret for a
header.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from posixpath import normpath
from typing import NoReturn

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..oci.document import Document
from ..printable import quoted
from ..records import record, replace
from ..system import open_regular
from .destinations import Url
from .hosts import CAPABILITIES, Host, TlsFiles, own_host
from .realms import parse_realm_hosts

StrPath = str | os.PathLike[str]

#: Largest file in bytes. Real files have a few kilobytes.
_MAX_FILE = 64 << 10
#: Largest number of dots in a line. The time that the TOML parser needs for a key grows with the
#: square of the number of the key's parts: a single key in 64 KiB took 11 s.
_MAX_DOTS = 256
#: For each key of a table, the form of the entry. Remedies quote this form.
_FORMS = {
    "server": 'server = "https://registry.example:5000"',
    "host": '[host."https://mirror.example:5000"]',
    "capabilities": 'capabilities = ["pull", "resolve", "push", "referrers"], or some of the four',
    "ca": 'ca = "ca.pem", or a list of files',
    "client": 'client = "both.pem", a list of files, or a list of pairs, [["c.cert", "c.key"]]',
    "skip_verify": "skip_verify = true",
    "header": 'a table "header" with name = "value" or name = ["value", "value"], in ASCII',
    "override_path": "override_path = true",
    "dial_timeout": 'dial_timeout = "10s", or "1m30s", or "500ms"',
    "realm_hosts": 'realm_hosts = ["auth.registry.example"], with names of hosts only',
}
_REMEDY = "Correct the file; containerd's docs/hosts.md describes the form of hosts.toml"
#: The position in a message of the TOML parser. The rest of the message may quote the file.
_POSITION = lazy_pattern(r"at line [0-9]+, column [0-9]+|at end of document")

#: The name of a header (RFC 9110, section 5.6.2).
_HEADER_NAME = lazy_pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: The value of a header.
_HEADER_VALUE = lazy_pattern(r"[\t -~]*")
#: Names of headers that frame a request. A file must not set these headers.
_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "trailer"})

#: Go's units of time in seconds (time.ParseDuration). Unicode has two characters for "micro".
#: Folders in which administrators configure registries for containerd and Docker.
HOSTS_DIRS = ("/etc/containerd/certs.d", "/etc/docker/certs.d")
_UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0}
_UNITS |= {"m": 60.0, "h": 3600.0}
_QUANTITY = rf"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)({'|'.join(_UNITS)})"
_DURATION_PART = lazy_pattern(_QUANTITY)
_DURATION = lazy_pattern(rf"\+?(?:{_QUANTITY})+")
#: Largest ``dial_timeout`` in seconds. Sockets do not support arbitrarily long timeouts.
_MAX_DIAL_TIMEOUT = 3600.0


def find_hosts(
    namespace: str,
    folders: Sequence[str | os.PathLike[str]] = (),
    plain_http: bool | None = None,
) -> tuple[Host, ...]:
    """Return the hosts to try for a registry's content, in order. The registry itself is last.

    Args:
        namespace: The registry's name as it appears in references (``docker.io``,
            ``127.0.0.1:5000``, ``[::1]:5000``).
        folders: Folders like ``/etc/containerd/certs.d``. The client searches these folders in
            order until it finds a folder for the registry or a ``_default`` folder.
        plain_http: Whether to use HTTP without TLS for the registry itself. A scheme in a file
            overrides this argument. Default: as in ``own_host``.

    Raises:
        InvalidArgument: ``namespace`` is not the host of a registry, or a file is invalid. The
            message names the file and the key.
    """
    own = own_host(namespace, plain_http)
    if namespace in (os.curdir, os.pardir):
        raise InvalidArgument(f"{quoted(namespace)} is not the host of a registry")
    names = _folder_names(namespace)
    for path in (Path(folder).absolute() / name for folder in folders for name in names):
        if _exists(path):
            body = _read(path / "hosts.toml")
            if body:
                return _HostsFile(path / "hosts.toml", namespace, plain_http).hosts(body)
            return (own_host(namespace, plain_http, _certificates(path)),)
    return (own,)


def _folder_names(namespace: str) -> tuple[str, ...]:
    """Return the possible names of a registry's folder, in order of preference.

    ``_default`` is the folder for registries that do not have a folder of their own.
    """
    host, colon, port = namespace.rpartition(":")
    ported = (f"{host}_{port}_",) if colon and not port.endswith("]") else ()
    return (*ported, namespace, "_default")


@contextmanager
def _translated_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file system into InvalidArgument."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: the path contains a NUL
        reason = error.strerror if isinstance(error, OSError) else "it is not a valid path"
        raise InvalidArgument(
            f"{path} cannot be read ({reason})",
            remedy="Make this path readable for the user, or remove the folder from hosts_dirs",
        ) from error


def _exists(path: Path) -> bool:
    """Return whether a file or folder exists."""
    with _translated_errors(path), suppress(FileNotFoundError, NotADirectoryError):
        path.stat()
        return True
    return False


def _read(path: Path) -> bytes:
    """Return the content of a file, or ``b""`` if the file does not exist."""
    body = b""
    with _translated_errors(path), suppress(FileNotFoundError), open_regular(path) as file:
        body = file.read(_MAX_FILE + 1)
    if len(body) > _MAX_FILE:
        raise InvalidArgument(f"{path} has more than the {_MAX_FILE} bytes allowed", remedy=_REMEDY)
    if max(line.count(b".") for line in body.split(b"\n")) > _MAX_DOTS:
        raise InvalidArgument(
            f"{path} has a line with more than the {_MAX_DOTS} dots allowed", remedy=_REMEDY
        )
    return body


def _certificates(folder: Path) -> TlsFiles | None:
    """Return the TLS files in a folder of Docker's ``certs.d``, or ``None`` if no file is there.

    ``*.crt`` files contain certificates of authorities. Pairs of ``*.cert`` and ``*.key`` files
    contain client certificates and their keys.
    """
    with _translated_errors(folder):
        files = sorted(path for path in folder.iterdir() if not path.is_dir())
    for path in files:
        partner = {".cert": ".key", ".key": ".cert"}.get(path.suffix)
        if partner and path.with_suffix(partner) not in files:
            raise InvalidArgument(
                f"{path} needs the file {path.stem}{partner} in the same folder",
                remedy=f"Add {path.stem}{partner} to {folder}, or remove {path.name}",
            )
    ca = tuple(path for path in files if path.suffix == ".crt")
    client = tuple((path, path.with_suffix(".key")) for path in files if path.suffix == ".cert")
    return TlsFiles(ca, client) if ca or client else None


class _Table(Document):
    """One table of a ``hosts.toml``. Errors about a table quote no value."""

    __slots__ = ()

    def _refuse(self, name: str, wanted: str, value: object) -> NoReturn:
        self.refuse(name, f"is not {wanted}")

    def refuse(self, name: str, why: str) -> NoReturn:
        """Raise InvalidArgument for the value of the key ``name``."""
        raise InvalidArgument(f"{self.what}: {name} {why}", remedy=f"Write {_FORMS[name]}")

    def inner(self, name: str) -> dict[str, object]:
        """Return the table under the key ``name``, or an empty table if the key is absent."""
        value = self.fields.get(name, {})
        if not isinstance(value, dict):
            self.refuse(name, "is not a table")
        return value


@record(frozen=True)
class _HostsFile:
    """One ``hosts.toml``, and the registry for which it is read."""

    path: Path
    namespace: str
    plain_http: bool | None

    def hosts(self, body: bytes) -> tuple[Host, ...]:
        """Return the mirrors in ``body``, followed by the registry. Raises InvalidArgument."""
        try:
            root = self._table(_parse(body, self.path), str(self.path))
            tables = enumerate(root.inner("host").items(), 1)
            mirrors = [self._mirror(root, position, *entry) for position, entry in tables]
            return (*mirrors, self._server(root))
        except RecursionError:
            raise InvalidArgument(f"{self.path} is nested too deeply", remedy=_REMEDY) from None
        except InvalidArgument as error:
            error.remedy = error.remedy or _REMEDY
            raise

    def _table(self, fields: dict[str, object], what: str) -> _Table:
        """Return a table. Raises InvalidArgument if a key has the wrong case."""
        table = _Table(fields, what)
        # containerd accepts upper and lower case in a table's keys, and ignores unknown keys.
        table.check_case(_FORMS)
        return table

    def _mirror(self, root: _Table, position: int, url: str, fields: object) -> Host:
        """Return the mirror at ``url``. Errors do not quote ``url`` if it may contain a secret."""
        name = f"number {position}" if set("@?#") & set(url) else quoted(url)
        if not isinstance(fields, dict):
            root.refuse("host", f"{name} is not a table")
        return self._host(self._table(fields, f"{self.path}: host {name}"), "host", url)

    def _server(self, root: _Table) -> Host:
        """Return the host of the registry itself, as the root table describes it."""
        url = root.text("server")
        if url:
            return self._host(root, "server", url)
        # As in containerd, a file without ``server`` cannot change the registry's path or
        # capabilities.
        own = own_host(self.namespace, self.plain_http, _tls_files(root, self.path.parent))
        return replace(self._host(root, "server", str(own.base)), capabilities=CAPABILITIES)

    def _host(self, table: _Table, name: str, url: str) -> Host:
        """Return the host at ``url`` with the settings of ``table``.

        Errors about ``url`` contain ``name``, which is the key of ``url`` in the file.
        """
        tls = _tls_files(table, self.path.parent)
        return Host(
            self.namespace,
            self._base(table, name, url, tls),
            _capabilities(table),
            tls=tls or TlsFiles(),
            headers=_headers(table),
            realm_hosts=_realm_hosts(table),
            dial_timeout=_dial_timeout(table),
        )

    def _base(self, table: _Table, name: str, url: str, tls: TlsFiles | None) -> Url:
        """Return the URL of the API's root. The scheme and ``/v2`` are optional in ``url``."""
        head, mark, rest = url.partition("://")
        address = (rest if mark else head).partition("/")[0]
        if "@" in address:
            table.refuse(name, "is a URL with a user name; the URL must not contain credentials")
        if "?" in url or "#" in url:
            table.refuse(name, "is a URL with a query or a fragment, which are not allowed")
        plain_http = self.plain_http if address == self.namespace else None
        try:
            own = own_host(address, plain_http, tls).base
            base = Url.parse(url if mark else f"{own.scheme}://{url}")
        except InvalidArgument:
            base = None
        # The error is raised outside the ``except`` block. Inside the block, the caught error would
        # become the context of the raised error.
        if base is None:
            table.refuse(name, "is not an http or https URL")
        path = normpath(f"/{base.target.strip('/')}").rstrip("/")
        if not table.flag("override_path") and not path.endswith("/v2"):
            path += "/v2"
        return replace(base, target=f"{path}/")


def _parse(body: bytes, path: Path) -> dict[str, object]:
    """Parse TOML. An error contains the position, but does not quote the file."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]
    try:
        fields: dict[str, object] = tomllib.loads(body.decode("utf-8"))
    except ValueError as error:
        position = _POSITION.search(str(error))
        found = f" ({position[0]})" if position else ""
        raise InvalidArgument(f"{path} is not valid TOML{found}") from None
    return fields


def _capabilities(table: _Table) -> frozenset[str]:
    found = frozenset(text.lower() for text in table.texts("capabilities"))
    if found - CAPABILITIES:
        table.refuse("capabilities", "has an unknown value")
    return found or CAPABILITIES


def _tls_files(table: _Table, folder: Path) -> TlsFiles | None:
    """Return the TLS settings of a table, or ``None`` if the table has no key for TLS.

    Relative paths are relative to ``folder``.
    """
    if not any(map(table.has, ("ca", "client", "skip_verify"))):
        return None
    ca = _texts(table.fields.get("ca", []))
    client = table.fields.get("client", [])
    pairs = [client] if isinstance(client, str) else client
    if ca is None:
        table.refuse("ca", "is neither a string nor a list of strings")
    if not isinstance(pairs, list):
        table.refuse("client", "is neither a string nor a list")
    return TlsFiles(
        tuple(_file(table, "ca", text, folder) for text in ca),
        tuple(_pair(table, pair, folder) for pair in pairs),
        table.flag("skip_verify"),
    )


def _pair(table: _Table, pair: object, folder: Path) -> tuple[Path, Path | None]:
    """Return the certificate file and the key file.

    The key file is ``None`` if its name is missing or empty.
    """
    names = _texts(pair)
    if names is None or (isinstance(pair, list) and len(names) != 2):
        table.refuse("client", "has an entry that is neither a file nor a pair of files")
    cert, key = (*names, "")[:2]
    path = _file(table, "client", cert, folder)
    return path, _file(table, "client", key, folder) if key else None


def _file(table: _Table, name: str, text: str, folder: Path) -> Path:
    # A text with several lines is not a file name. It may be the content of a PEM file.
    if not text or any(character < " " for character in text):
        table.refuse(name, "is not the name of a file")
    return folder / text


def _texts(value: object) -> list[str] | None:
    """Return a string or a list of strings as a list, and any other value as ``None``."""
    values = value if isinstance(value, list) else [value]
    texts = [text for text in values if isinstance(text, str)]
    return texts if len(texts) == len(values) else None


def _headers(table: _Table) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for name, value in table.inner("header").items():
        if not _HEADER_NAME.fullmatch(name):
            table.refuse("header", "has a key that is not the name of an HTTP header")
        if name.lower() in _FRAMING:
            table.refuse("header", f"has the key {quoted(name)}, which only the client may set")
        texts = _texts(value)
        if texts is None:
            table.refuse(
                "header",
                f"has a value for {quoted(name)} that is neither a string nor a list of strings",
            )
        if not all(map(_HEADER_VALUE.fullmatch, texts)):
            table.refuse("header", f"has a value for {quoted(name)} that is not printable ASCII")
        found += [(name, text) for text in texts]
    return tuple(found)


def _realm_hosts(table: _Table) -> frozenset[str]:
    """Return the further token servers of a host. containerd ignores this key."""
    texts = table.texts("realm_hosts")
    with suppress(InvalidArgument):
        return parse_realm_hosts(texts)
    table.refuse("realm_hosts", "has an entry that is not the name of a host")


def _dial_timeout(table: _Table) -> float | None:
    """Return ``dial_timeout`` in seconds, or ``None`` if the key is absent or 0.

    In containerd, 0 means no limit.
    """
    text = table.text("dial_timeout")
    if text not in ("", "0") and not _DURATION.fullmatch(text):
        table.refuse("dial_timeout", "is not a duration")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))
    return min(seconds, _MAX_DIAL_TIMEOUT) or None

"""TLS contexts for connections to a registry or a proxy, made from the user's certificate files."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from urllib3.util.ssl_ import create_urllib3_context

from ..errors import InvalidArgument
from ..system import file_version, open_regular
from .hosts import TlsFiles

#: Largest file in bytes. The certificates of all public authorities have 200 kB.
_MAX_FILE = 4 << 20


class Contexts:
    """The TLS contexts for one origin, and for other origins to which it refers. Thread-safe.

    All settings apply to the origin itself. For other origins (redirects, token realms), even on
    another port of the same host, only the certificate authorities apply. The client sends no
    certificate to other origins, and always verifies their certificates. Each context is made when
    it is first needed.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def pool_arguments(self, own: bool) -> dict[str, object]:
        """Return the keyword arguments of a urllib3 pool.

        ``own`` says whether the pool is for the origin itself. Raises InvalidArgument if a file
        cannot be used.
        """
        # A new context reads the system's certificates, so each context is made only once.
        with self._lock:
            if own not in self._contexts:
                self._contexts[own] = _context(self._files if own else TlsFiles(ca=self._files.ca))
            context = self._contexts[own]
        if own and self._files.skip_verify:
            return {"ssl_context": context, "cert_reqs": "CERT_NONE", "assert_hostname": False}
        # The context already requires verification, but urllib3 1.26 also needs this argument.
        return {"ssl_context": context, "cert_reqs": "CERT_REQUIRED"}


class ProxyContexts:
    """The TLS contexts for an https proxy. They always verify the proxy's certificate.

    No TLS setting of a registry applies to a proxy. Each context is made when it is first needed.

    Args:
        ca: Files with certificates of authorities that are trusted in addition to the system's
            authorities.
    """

    def __init__(self, ca: Iterable[Path] = ()) -> None:
        self._ca = tuple(ca)
        self._contexts = Contexts(TlsFiles(ca=self._ca))

    @cached_property
    def tunnel(self) -> ssl.SSLContext:
        """The context for a tunnel. It also compares the host name."""
        context = ssl.create_default_context()
        _load_authorities(context, self._ca)
        return context

    def pool_arguments(self) -> dict[str, object]:
        """Return the keyword arguments of a urllib3 pool whose requests the proxy forwards."""
        return self._contexts.pool_arguments(own=False)


def file_versions(files: TlsFiles, proxy_ca: Iterable[Path] = ()) -> tuple[object, ...]:
    """Return a value that differs if the contexts for these settings would differ.

    It depends on the state of each file, and of the system's certificate authorities.
    """
    system = ssl.get_default_verify_paths()
    pairs = (path for pair in files.client for path in pair)
    paths = (*files.ca, *pairs, *proxy_ca, system.cafile, system.capath)
    return tuple(file_version(path) for path in paths if path is not None)


def _context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities and the authorities in ``files``.

    The context comes from urllib3, because urllib3 1.26 compares host names itself. If the context
    compared host names, too, urllib3 1.26 would fail for IP addresses.
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    if files.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.load_default_certs()
    _load_authorities(context, files.ca)
    for certificate, key in files.client:
        _load_pair(context, certificate, key)
    return context


def _load_authorities(context: ssl.SSLContext, ca: Iterable[Path]) -> None:
    """Add certificates of authorities to the context. Raises InvalidArgument."""
    for path in ca:
        try:
            _check_file(path)
            context.load_verify_locations(cafile=path)
        except OSError as error:  # including ssl.SSLError
            raise InvalidArgument(f"cannot load PEM certificates from {path}") from error


def _check_file(path: Path) -> None:
    """Raise OSError or InvalidArgument for a file that OpenSSL could read without an end."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size > _MAX_FILE:
        raise InvalidArgument(f"{path} has more than the {_MAX_FILE} bytes allowed")


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Add a client certificate and its key to the context. Raises InvalidArgument."""

    def no_password() -> str:
        raise InvalidArgument(
            f"the key of {certificate} is encrypted", remedy="Use a key without a password"
        )

    try:
        for path in (certificate, key or certificate):
            _check_file(path)
        context.load_cert_chain(certificate, key, no_password)
    except OSError as error:
        files = certificate if key is None else f"{certificate} and {key}"
        raise InvalidArgument(f"cannot load a PEM certificate and its key from {files}") from error

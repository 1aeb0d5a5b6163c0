"""``RegistryOptions``: how clients, layouts and verbs reach registries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from .. import limits
from ..arguments import check_types
from ..errors import InvalidArgument
from ..records import field, record, replace
from .credentials import Credentials, CredentialSource, default_credentials
from .hosts import TlsFiles
from .hosts_file import HOSTS_DIRS, StrPath
from .proxies import Proxies

#: Credentials as callers pass them: a pair of user name and password, ``Credentials``, or a
#: function that returns the ``Credentials`` for a host.
RegistryCredentials: TypeAlias = (
    "tuple[str, str] | Credentials | Callable[[str], Credentials | None]"
)
_R = TypeVar("_R")


@record(frozen=True)
class RegistryOptions:
    """How to reach registries. The ``repr`` shows no secrets.

    Attributes:
        credentials: The credentials for all registries: ``("user", "password")``, ``Credentials``,
            or a function that returns the credentials for a host. ``None`` means anonymous access.
            Default: the credentials with which the user has logged in.
        plain_http: Whether to use HTTP without TLS. Default: for loopback addresses only.
        hosts_dirs: Folders that are searched for ``hosts.toml``. Default: containerd's and
            Docker's folders in ``/etc``.
        tls: TLS files for the registries. (The ``tls`` of ``Client`` is for the daemon.)
        proxy: The URL of a proxy. ``""`` means no proxy. Default: the environment's proxy.
        max_rate: The maximum number of bytes per second, for each registry. Default: no limit.
        connections: How many connections fetch the parts of a large blob in parallel.

    Raises:
        InvalidArgument: A value has the wrong type, or a number is too small.
    """

    credentials: RegistryCredentials | None = field(default=default_credentials, repr=False)
    plain_http: bool | None = None
    hosts_dirs: Sequence[StrPath] = HOSTS_DIRS
    tls: TlsFiles | None = None
    proxy: str | None = field(default=None, repr=False)
    max_rate: float | None = None
    connections: int = 1

    def __post_init__(self) -> None:
        check_types(vars(self))
        limits.rate("max_rate", self.max_rate, least=1)
        limits.parallel("connections", self.connections)
        _ = self.source  # checks a pair
        Proxies(self.proxy)  # checks the URL

    @property
    def source(self) -> Credentials | CredentialSource | None:
        """The credentials, in a form that ``Registry`` accepts."""
        if isinstance(self.credentials, tuple):
            return Credentials(*self.credentials)
        return self.credentials

    @property
    def source_function(self) -> CredentialSource:
        """A function that returns the credentials for a host."""
        source = self.source
        return source if callable(source) else lambda host: source

    @property
    def needs_client(self) -> bool:
        """Whether only this process can follow the options, not the daemon's Transfer service."""
        return self != RegistryOptions(self.credentials, self.plain_http)


def choose_registry(
    default: RegistryOptions | None,
    *,
    resolver: _R | None,
    registry: RegistryOptions | None,
    credentials: RegistryCredentials | None,
    plain_http: bool | None,
) -> _R | RegistryOptions | None:
    """Return the resolver of a verb, or the options to make one.

    Args:
        default: The options of the client or layout.
        resolver: The verb's argument. It excludes the other arguments.
        registry: The verb's argument. It replaces ``default``.
        credentials: The verb's argument. It replaces the credentials in the options.
        plain_http: The verb's argument. It replaces ``plain_http`` in the options.

    Raises:
        InvalidArgument: ``resolver`` is combined with another argument, or a type is wrong.
    """
    check_types({"registry": registry, "credentials": credentials, "plain_http": plain_http})
    chosen = default if registry is None else registry
    if resolver is not None:
        if registry is not None or credentials is not None or plain_http is not None:
            raise InvalidArgument(
                "resolver= excludes registry=, credentials= and plain_http=",
                remedy="Leave these arguments out, or pass them to RegistryResolver",
            )
        return resolver
    if credentials is not None:
        chosen = replace(chosen or RegistryOptions(), credentials=credentials)
    if plain_http is not None:
        chosen = replace(chosen or RegistryOptions(), plain_http=plain_http)
    return chosen


def only_for_client(resolver: object) -> dict[str, object]:
    """Return what the Transfer service does not support of the result of ``choose_registry``.

    The service takes only credentials and ``plain_http``.
    """
    if isinstance(resolver, RegistryOptions):
        return {"resolver": None, "registry": resolver.needs_client}
    return {"resolver": resolver, "registry": None}


def for_daemon(resolver: object) -> tuple[CredentialSource | None, bool | None]:
    """Return the credentials and ``plain_http`` for the Transfer service."""
    if isinstance(resolver, RegistryOptions):
        return resolver.source_function, resolver.plain_http
    return None, None

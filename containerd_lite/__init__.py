"""A containerd client in pure Python.

Importing this package starts no thread, adds no log handler and registers nothing. Each name is
loaded at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import Aborted as Aborted
from .errors import AlreadyExists as AlreadyExists
from .errors import Cancelled as Cancelled
from .errors import Conflict as Conflict
from .errors import ConnectionLost as ConnectionLost
from .errors import ConnectionRefused as ConnectionRefused
from .errors import ContainerdError as ContainerdError
from .errors import DataLoss as DataLoss
from .errors import DeadlineExceeded as DeadlineExceeded
from .errors import DiffIDMismatch as DiffIDMismatch
from .errors import DigestMismatch as DigestMismatch
from .errors import FailedPrecondition as FailedPrecondition
from .errors import Internal as Internal
from .errors import InvalidArgument as InvalidArgument
from .errors import NoMatchingPlatform as NoMatchingPlatform
from .errors import NotFound as NotFound
from .errors import NotModified as NotModified
from .errors import OutOfRange as OutOfRange
from .errors import PermissionDenied as PermissionDenied
from .errors import ProcessFailed as ProcessFailed
from .errors import ProtocolError as ProtocolError
from .errors import RegistryError as RegistryError
from .errors import RegistryNotFound as RegistryNotFound
from .errors import RegistryUnauthorized as RegistryUnauthorized
from .errors import RegistryUnavailable as RegistryUnavailable
from .errors import ResourceExhausted as ResourceExhausted
from .errors import SignatureError as SignatureError
from .errors import SignaturesUnavailable as SignaturesUnavailable
from .errors import SizeMismatch as SizeMismatch
from .errors import SocketNotFound as SocketNotFound
from .errors import SocketPermissionDenied as SocketPermissionDenied
from .errors import Unauthenticated as Unauthenticated
from .errors import Unavailable as Unavailable
from .errors import Unimplemented as Unimplemented
from .errors import Unknown as Unknown
from .errors import Unsigned as Unsigned
from .errors import Untrusted as Untrusted
from .lazy import lazy_names
from .version import VERSION

if TYPE_CHECKING:
    from .client import Client as Client
    from .images.image import Image as Image
    from .images.via import Via as Via
    from .layout import Layout as Layout
    from .oci.reference import Reference as Reference
    from .operation import CancelToken as CancelToken
    from .preload import Family as Family
    from .preload import load as load
    from .progress import Overall as Overall
    from .progress import ProgressEvent as ProgressEvent
    from .progress import Stage as Stage
    from .progress_adapters import log_progress as log_progress
    from .progress_adapters import rich_progress as rich_progress
    from .progress_adapters import tqdm_progress as tqdm_progress
    from .records import to_dict as to_dict
    from .registry.credentials import Credentials as Credentials
    from .registry.logins.account import login as login
    from .registry.logins.account import logout as logout
    from .registry.registry import Registry as Registry
    from .registry.registry_access import RegistryOptions as RegistryOptions
    from .runtime.container import Container as Container
    from .runtime.container import DetachedContainer as DetachedContainer
    from .runtime.io import DEVNULL as DEVNULL
    from .runtime.io import INHERIT as INHERIT
    from .runtime.io import PIPE as PIPE
    from .runtime.io import STDOUT as STDOUT
    from .runtime.io import BinaryLogger as BinaryLogger
    from .runtime.io import LogFile as LogFile
    from .runtime.io import NullIO as NullIO
    from .runtime.io import Terminal as Terminal
    from .runtime.kept.log_reader import LogLine as LogLine
    from .runtime.network import Network as Network
    from .runtime.network import PortMapping as PortMapping
    from .runtime.popen import Running as Running
    from .runtime.run import CompletedContainer as CompletedContainer
    from .runtime.run import CompletedProcess as CompletedProcess
    from .runtime.spec.options import ContainerOptions as ContainerOptions
    from .runtime.spec.options import RunOptions as RunOptions
    from .runtime.summary import ContainerSummary as ContainerSummary
    from .runtime.task import Task as Task
    from .runtime.watch.started import ContainerState as ContainerState
    from .services.event_types import Event as Event
    from .services.event_types import Gap as Gap
    from .services.event_types import TaskExit as TaskExit
    from .services.filters import Filter as Filter
    from .services.snapshots import SnapshotKind as SnapshotKind
    from .services.tasks import Exit as Exit
    from .services.tasks import TaskState as TaskState
    from .transport.channel import Channel as Channel
    from .transport.tls import TLS as TLS

__version__ = VERSION
__all__ = [
    "DEVNULL",
    "INHERIT",
    "PIPE",
    "STDOUT",
    "TLS",
    "Aborted",
    "AlreadyExists",
    "BinaryLogger",
    "CancelToken",
    "Cancelled",
    "Channel",
    "Client",
    "CompletedContainer",
    "CompletedProcess",
    "Conflict",
    "ConnectionLost",
    "ConnectionRefused",
    "Container",
    "ContainerOptions",
    "ContainerState",
    "ContainerSummary",
    "ContainerdError",
    "Credentials",
    "DataLoss",
    "DeadlineExceeded",
    "DetachedContainer",
    "DiffIDMismatch",
    "DigestMismatch",
    "Event",
    "Exit",
    "FailedPrecondition",
    "Family",
    "Filter",
    "Gap",
    "Image",
    "Internal",
    "InvalidArgument",
    "Layout",
    "LogFile",
    "LogLine",
    "Network",
    "NoMatchingPlatform",
    "NotFound",
    "NotModified",
    "NullIO",
    "OutOfRange",
    "Overall",
    "PermissionDenied",
    "PortMapping",
    "ProcessFailed",
    "ProgressEvent",
    "ProtocolError",
    "Reference",
    "Registry",
    "RegistryError",
    "RegistryNotFound",
    "RegistryOptions",
    "RegistryUnauthorized",
    "RegistryUnavailable",
    "ResourceExhausted",
    "RunOptions",
    "Running",
    "SignatureError",
    "SignaturesUnavailable",
    "SizeMismatch",
    "SnapshotKind",
    "SocketNotFound",
    "SocketPermissionDenied",
    "Stage",
    "Task",
    "TaskExit",
    "TaskState",
    "Terminal",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "Unsigned",
    "Untrusted",
    "Via",
    "__version__",
    "load",
    "log_progress",
    "login",
    "logout",
    "rich_progress",
    "to_dict",
    "tqdm_progress",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "client": ["Client"],
        "images.image": ["Image"],
        "registry.registry_access": ["RegistryOptions"],
        "images.via": ["Via"],
        "layout": ["Layout"],
        "oci.reference": ["Reference"],
        "operation": ["CancelToken"],
        "preload": ["Family", "load"],
        "progress": ["Overall", "ProgressEvent", "Stage"],
        "progress_adapters": ["log_progress", "rich_progress", "tqdm_progress"],
        "records": ["to_dict"],
        "registry.credentials": ["Credentials"],
        "registry.logins.account": ["login", "logout"],
        "registry.registry": ["Registry"],
        "runtime.container": ["Container", "DetachedContainer"],
        "runtime.io": [
            "DEVNULL",
            "INHERIT",
            "PIPE",
            "STDOUT",
            "BinaryLogger",
            "LogFile",
            "NullIO",
            "Terminal",
        ],
        "runtime.kept.log_reader": ["LogLine"],
        "runtime.network": ["Network", "PortMapping"],
        "runtime.popen": ["Running"],
        "runtime.run": ["CompletedContainer", "CompletedProcess"],
        "runtime.spec.options": ["ContainerOptions", "RunOptions"],
        "runtime.summary": ["ContainerSummary"],
        "runtime.task": ["Task"],
        "runtime.watch.started": ["ContainerState"],
        "services.event_types": ["Event", "Gap", "TaskExit"],
        "services.filters": ["Filter"],
        "services.snapshots": ["SnapshotKind"],
        "services.tasks": ["Exit", "TaskState"],
        "transport.channel": ["Channel"],
        "transport.tls": ["TLS"],
    },
)

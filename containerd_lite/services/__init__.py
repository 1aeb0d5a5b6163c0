"""The daemon's gRPC services.

Each service is a class with a typed method for each RPC. The records that these methods take and
return are dataclasses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from ._types import AnyValue as AnyValue
    from ._types import Mount as Mount
    from .capabilities import Capabilities as Capabilities
    from .capabilities import capabilities_of as capabilities_of
    from .containers import ContainerService as ContainerService
    from .content import ContentService as ContentService
    from .diff import DiffService as DiffService
    from .events import EventService as EventService
    from .health import HealthService as HealthService
    from .images import ImageService as ImageService
    from .introspection import IntrospectionService as IntrospectionService
    from .introspection import Server as Server
    from .lease_keeping import keeping as keeping
    from .leases import LeaseService as LeaseService
    from .mounts import MountService as MountService
    from .namespaces import NamespaceService as NamespaceService
    from .raw import RawService as RawService
    from .raw import Stub as Stub
    from .sandboxes import SandboxController as SandboxController
    from .sandboxes import SandboxStore as SandboxStore
    from .snapshots import SnapshotService as SnapshotService
    from .streaming import StreamingService as StreamingService
    from .subscription import EventStream as EventStream
    from .tasks import TaskService as TaskService
    from .temporary_mounts import temp_mount as temp_mount
    from .transfer import TransferService as TransferService
    from .version import Version as Version
    from .version import VersionService as VersionService

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "_types": ["AnyValue", "Mount"],
        "capabilities": ["Capabilities", "capabilities_of"],
        "containers": ["ContainerService"],
        "content": ["ContentService"],
        "diff": ["DiffService"],
        "events": ["EventService"],
        "health": ["HealthService"],
        "images": ["ImageService"],
        "introspection": ["IntrospectionService", "Server"],
        "lease_keeping": ["keeping"],
        "leases": ["LeaseService"],
        "mounts": ["MountService"],
        "namespaces": ["NamespaceService"],
        "raw": ["RawService", "Stub"],
        "sandboxes": ["SandboxController", "SandboxStore"],
        "snapshots": ["SnapshotService"],
        "streaming": ["StreamingService"],
        "subscription": ["EventStream"],
        "tasks": ["TaskService"],
        "temporary_mounts": ["temp_mount"],
        "transfer": ["TransferService"],
        "version": ["Version", "VersionService"],
    },
)

"""Images in archives: import and export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .archive_requests import ExportRequest as ExportRequest
    from .archive_requests import ImportRequest as ImportRequest
    from .exporter import export_archive as export_archive
    from .importer import import_archive as import_archive

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "exporter": ["export_archive"],
        "importer": ["import_archive"],
        "archive_requests": ["ExportRequest", "ImportRequest"],
    },
)

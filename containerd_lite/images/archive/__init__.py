"""Images in archives: import and export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .exporter import export_archive as export_archive
    from .importer import import_archive as import_archive
    from .request import ExportRequest as ExportRequest
    from .request import ImportRequest as ImportRequest

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "exporter": ["export_archive"],
        "importer": ["import_archive"],
        "request": ["ExportRequest", "ImportRequest"],
    },
)

"""Makes the runtime specs of containers from options, and explains the options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .option_help import doc_with_options as doc_with_options
    from .option_help import option_comments as option_comments
    from .option_help import signature_with_options as signature_with_options
    from .yaml_file import parse_yaml as parse_yaml

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "option_help": ["doc_with_options", "option_comments", "signature_with_options"],
        "yaml_file": ["parse_yaml"],
    },
)

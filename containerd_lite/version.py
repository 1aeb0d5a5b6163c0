"""The version of this package, as a constant that a vendored copy has, too."""

VERSION = "0.1.0"
USER_AGENT = f"containerd-lite/{VERSION}"

"""The runtime spec of a container, from its image's config and a caller's options."""

"""Making the runtime spec of a container from its image's config and the caller's options."""

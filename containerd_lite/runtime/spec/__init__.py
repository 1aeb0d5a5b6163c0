"""Functions that make a container's runtime spec from the image's config and the options."""

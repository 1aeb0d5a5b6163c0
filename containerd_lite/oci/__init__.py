"""Pure values of the OCI image and distribution specs.

What lives here: digests, descriptors, media types, manifests, image configs, references and
platforms, as frozen dataclasses that pickle.  What may not: IO of any kind.
"""

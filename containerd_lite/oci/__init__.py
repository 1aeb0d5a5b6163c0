"""Pure values of the OCI image, distribution and runtime specs.

The modules do no I/O. They define digests, descriptors, media types, manifests, image configs,
references and platforms, as frozen dataclasses that can be pickled.
"""

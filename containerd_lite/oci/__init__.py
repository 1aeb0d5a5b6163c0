"""Pure values of the OCI image, distribution and runtime specs.

The modules define digests, descriptors, media types, manifests, image configs, references,
platforms and the runtime spec. The records are frozen dataclasses that can be pickled. No module
does I/O.
"""

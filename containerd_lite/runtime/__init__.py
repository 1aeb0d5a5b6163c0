"""Containers and their processes on a daemon.

What lives here: ``verbs`` (what a client does with them), ``options`` and ``specs`` (what may be
asked of one, as a spec), ``users`` (who its process is), ``container`` and ``containers``,
``process`` and ``task``, ``io`` (streams), ``popen`` and ``run``, ``network`` (CNI),
``checkpoint``, ``sandbox``, and ``logs``, ``stats`` and ``top`` to look at what runs.  What may
not: registries.
"""

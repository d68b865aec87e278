"""The figures of the report. Each function takes numbers and returns a matplotlib figure.

Two colours mean the same on the whole page: ``plain`` and ``se``. The colours ``k0`` to ``k9`` tell
classes apart. What a figure shows is also in its label, for screen readers.
"""

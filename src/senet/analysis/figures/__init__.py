"""The figures of the report. Each function takes numbers and returns a matplotlib figure.

Two colours mean the same on the whole page: ``plain`` and ``se``. Classes are told apart by ``k0``
to ``k9``. What a figure shows is also in its label, for readers who hear the page.
"""

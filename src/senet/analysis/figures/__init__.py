"""The pictures of the report. Each function takes numbers and returns a picture.

Two colours mean the same on the whole page: ``plain`` and ``se``. Classes are told apart by ``k0``
to ``k9``. What a picture shows is also in its label, for readers who hear the page.
"""

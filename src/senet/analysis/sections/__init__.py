"""The sections of the report: each a function of the subject, giving what the page shows.

A section is a mapping that ``report.html.j2`` lays out. One that has nothing to say yet is
``None``, and the page leaves it out.
"""

from typing import Any

Section = dict[str, Any]

"""The sections of the report: functions of the subject that return what the page shows.

A section is a mapping that ``report.html.j2`` lays out. A section with nothing to say yet is
``None``, and the page leaves it out.
"""

from typing import Any

Section = dict[str, Any]

"""What labelled images are like, before anybody trains on them: :mod:`senet.survey.survey`.

The page is :mod:`senet.survey.page`.
"""

from senet.survey.page import require_ours, write
from senet.survey.survey import Survey, survey

__all__ = ["Survey", "require_ours", "survey", "write"]

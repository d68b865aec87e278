"""What a run has shown: statistics, the gates, and the report.

Import what you need from its module, such as :func:`senet.analysis.report.write`: the page needs
scipy, matplotlib and jinja2; recording gates needs none of them.
"""

"""The command line: parses, calls, prints.

======================  ============================================================================
``app.py``              the program: how errors are shown, and how it ends
``options.py``          options shared by several commands
``config.py``           from the words of a command to a configuration
``early.py``            what can be refused before PyTorch is loaded
``show.py``             how text and tables are printed, at any width
``progress.py``         the bar of a command that goes through many images
``tables.py``           tables of networks, weights, and this machine
``results.py``          tables of the results of trainings and trained networks
``train.py``            ``compare``, ``train``
``data.py``             ``data``
``predict.py``          ``predict``
``use.py``              ``evaluate``, ``embed``, ``report``
``explain.py``          ``explain``
``operate.py``          ``accelerate``, ``insert``, ``fold``
``look.py``             ``models``, ``weights``, ``summary``, ``doctor``
======================  ============================================================================

A command imports what it needs when it runs, and checks its arguments first, so that neither
``senet --help`` nor the report of a mistyped word waits for PyTorch.
"""

from senet.cli import data, explain, look, operate, predict, train, use
from senet.cli.app import app
from senet.cli.options import LOOK, MAIN, OPERATE

for command, panel in (
    (train.compare, MAIN),
    (train.train, MAIN),
    (data.data, MAIN),
    (use.evaluate, MAIN),
    (predict.predict, MAIN),
    (use.embed, MAIN),
    (use.report, MAIN),
    (explain.explain, MAIN),
    (operate.accelerate, OPERATE),
    (operate.insert, OPERATE),
    (operate.fold, OPERATE),
    (look.models, LOOK),
    (look.weights, LOOK),
    (look.summary, LOOK),
    (look.doctor, LOOK),
):
    app.command(rich_help_panel=panel)(command)

__all__ = ["app"]

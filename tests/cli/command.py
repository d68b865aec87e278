"""How tests run a command, and read what it says."""

import re

from typer.testing import CliRunner

from senet.cli import app

TINY = ["--model", "se_resnet8_cifar", "--set", "widths=8,8,16", "--set", "reduction=4"]


def senet(*words, code=0):
    """Run a command in this process; ``code`` is how it must end."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def said(result):
    """What a message says, wherever it was wrapped or boxed."""
    return re.sub(r"[\s│]+", " ", result.output)

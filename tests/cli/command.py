"""Helpers that run a command, and read what it prints."""

import re

from typer.testing import CliRunner

from senet.cli import app

TINY = ["--model", "se_resnet8_cifar", "--set", "widths=8,8,16", "--set", "reduction=4"]


def senet(*words, code=0):
    """Run a command in this process; ``code`` is the exit code that it must have."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def said(result):
    """Return what a message says, however it was wrapped or boxed."""
    return re.sub(r"[\s│]+", " ", result.output)

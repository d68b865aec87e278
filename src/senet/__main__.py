"""``python -m senet`` is ``senet``."""

from senet.cli import app

if __name__ == "__main__":
    app(prog_name="python -m senet")

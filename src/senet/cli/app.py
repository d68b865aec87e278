"""The program: its options, how it shows errors, and its exit codes."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from senet.cli.show import say

FAILED = 1
INTERRUPTED = 130


class Commands(TyperGroup):
    """The commands; an error of the library becomes one message and the right exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            say("", str(stop) or "Interrupted.")
            raise typer.Exit(getattr(stop, "exit_code", INTERRUPTED)) from None
        except BrokenPipeError:  # the reader has stopped, as `head` does
            raise
        except (typer.Exit, typer.Abort, _USAGE):
            raise
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            say("error", _message(error))
            raise typer.Exit(FAILED) from None


# What typer raises for a wrong use of a command, and shows itself.
_USAGE: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)

# What our own code raises for users, with the remedy in the message.
_EXPECTED = (ValueError, OSError, ArithmeticError, ImportError)


def _message(error: Exception) -> str:
    if not isinstance(error, _EXPECTED):
        what = (str(error).strip() or "no reason is given").splitlines()[0]
        return (
            f"{type(error).__name__}: {what}. senet did not expect this: run it again as "
            "`senet --debug COMMAND ...` to see where it comes from, and report it"
        )
    if isinstance(error, ImportError):
        return f"{error}. `senet doctor` says what is missing"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


app = typer.Typer(
    name="senet",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from senet import __version__

        typer.echo(f"senet {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", envvar="SENET_DEBUG", help="Show where in the code an error occurred."
        ),
    ] = False,
) -> None:
    """Squeeze-and-excitation networks: train them, compare them with their plain twins, use them.

    [bold]The same network with and without SE, on bundled images, in a few minutes:[/bold]

      senet compare

    [bold]Your own photos, in one folder for each class:[/bold]

      senet train --data photos --out runs/photos
      senet evaluate runs/photos
      senet predict runs/photos new/*.jpg
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without × or … shows ? instead of failing
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    warnings.showwarning = _show_warning
    _prepare()


def _prepare() -> None:
    """Set this process up for large feature maps, and for sharing its machine with others."""
    from senet.memory import keep_memory
    from senet.spin import spin_briefly

    spin_briefly()
    keep_memory()


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    say("warning", str(message))

"""How the images of weights are taken: as their record says, as a user says, or as is usual."""

from __future__ import annotations

import warnings

from senet.foreign import timm_preprocessing
from senet.preprocessing import ASKED, Preprocessing, as_asked, read_asked


def asked_preprocessing(
    text: str, usual: Preprocessing, recorded: Preprocessing | None = None, name: str = "the file"
) -> Preprocessing:
    """Return the preprocessing that a user names.

    Args:
        text: ``mean=…,std=…,size=…``, whose other fields are ``usual``; or ``timm:NAME``, for all
            that timm says of its network.
        usual: the preprocessing without it.
        recorded: what the weights themselves say; the two must agree.
        name: the weights, for messages.

    Raises:
        ValueError: if it cannot be read, does not fit the channels, or is not what is recorded.
        ImportError: if timm is asked and not installed.
    """
    if text.startswith("timm:"):
        asked = timm_preprocessing(text.removeprefix("timm:")).of_channels(usual.channels)
    else:
        asked = as_asked(read_asked(text), recorded or usual)
    if recorded is not None and asked != recorded:
        raise ValueError(
            f"{name} records how its images are taken ({_of_interest(recorded)}), and preprocessing "
            f"{text!r} is another ({_of_interest(asked)}): leave it out"
        )
    return asked


def say_guessed(name: str, guess: Preprocessing) -> None:
    """Warn that nobody has said how the images of some weights were normalized."""
    warnings.warn(
        f"{name} does not say how its images were normalized: guessed is {guess}. If its source says "
        f"otherwise, add --preprocessing {ASKED}: a wrong guess costs much accuracy",
        stacklevel=3,
    )


def _of_interest(one: Preprocessing) -> str:
    return f"{one}, crop={one.crop:g}, {one.interpolation}"

"""Run folders for all tests here."""

from tests.runs.written import (  # noqa: F401
    family,
    family_of_one_seed,
    one_seed,
    source,
    three_seeds,
)

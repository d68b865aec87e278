"""Measurements, their records, and the tables of the documents made from them."""

from pathlib import Path

DEVELOPMENT_DATA = Path(__file__).parent.parent.parent / "shared" / "data"
"""CIFAR and published weights, which developers have beside the checkout and users do not."""

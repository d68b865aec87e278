"""Measurements, their records, and the tables that the documents make of them."""

from pathlib import Path

DEVELOPMENT_DATA = Path(__file__).parent.parent.parent / "shared" / "data"
"""CIFAR and published weights, which developers have beside the checkout, and users have not."""

"""Weights: where they are found, what files say of them, and how they get into a network."""

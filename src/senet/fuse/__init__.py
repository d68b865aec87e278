"""Acceleration of networks without changing their results: tails on the streaming passes."""

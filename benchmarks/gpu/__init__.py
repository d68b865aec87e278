"""Evidence from a GPU within a quarter of an hour: ``make gpu-evidence``.

There are three parts, of five stages: the tests of the kernels that matter most; how fast the
passes, the tails and whole networks are; and trainings with and without SE in the time that is
left. docs/results.md shows the results.
"""

"""Evidence from a GPU, in one command: ``make gpu-evidence``, or ``python -m benchmarks.gpu``.

There are five stages, which can also run alone: the tests of the kernels, the passes against a copy
of memory, the tails, whole networks, and trainings with and without SE. Each ends within its
minutes, keeps what it has finished, and continues from there when called again. docs/results.md
shows the results.
"""

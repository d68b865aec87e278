"""Evidence from a GPU, in one command: ``make gpu-evidence``, or ``python -m benchmarks.gpu``.

Five stages, each also by itself: the tests of the kernels, the passes against a copy of memory,
the tails, whole networks, and trainings with and without SE. Each ends within its minutes, keeps
what it has finished, and goes on from there when it is called again. docs/results.md shows what
came out.
"""

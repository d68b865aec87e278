"""Does SE help? CIFAR-10 and CIFAR-100, a small network with and without SE, on a processor.

``make evidence`` trains what is missing, one training after another, at the lowest priority, and
leaves a record of each; ``make evidence-pause`` stops it at once, and the same command goes on.
"""

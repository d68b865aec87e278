"""Time the passes, the tails and whole networks: ``python -m benchmarks`` (``make bench``).

Whatever is compared is measured within one run, in turn, by medians. Keep the machine quiet. The
record goes to ``benchmarks/results``; the tables in docs/free-se.md are made from it.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks import record
from benchmarks.models import networks
from benchmarks.ops import tails


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch (2)")
    parser.add_argument("--repeats", type=int, default=9, help="rounds; the median is kept (9)")
    parser.add_argument("--only", choices=["tails", "networks"], help="one part; not recorded")
    options = parser.parse_args()
    record.keep_memory("benchmarks")
    torch.set_num_threads(options.threads)
    environment = record.environment()
    print(environment)
    parts = {"tails": tails.table, "networks": networks.table}
    chosen = [options.only] if options.only else list(parts)
    tables = {name: parts[name](options.repeats) for name in chosen}
    if not options.only:
        print(record.write("cpu", tables, environment))


if __name__ == "__main__":
    main()

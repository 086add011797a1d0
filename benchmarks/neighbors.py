"""Neighbour search against faiss-cpu's exact flat index: seconds of each, interleaved in one run, and their ratio.

    .venv-bench/bin/python -m benchmarks.neighbors [--samples 500] [--images 50000] [--pixels 3072] [--pairs 7]

Both search for the two nearest of `images` random images on one core; faiss keeps the distances of the products, ours
come from the differences. Printed: the median of the pairs' ratios, with its spread, and whether both found the same.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by faiss and torch when they load

import faiss
import torch

from benchmarks.table import Row, spread
from scaling.memorization.neighbors import nearest


def seconds(search: Callable[[], object]) -> float:
    start = time.perf_counter()
    search()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"samples": 500, "images": 50_000, "pixels": 3072, "pairs": 7}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    rng = torch.Generator().manual_seed(0)
    samples = torch.rand(asked.samples, asked.pixels, generator=rng) * 2 - 1
    images = torch.rand(asked.images, asked.pixels, generator=rng) * 2 - 1
    index = faiss.IndexFlatL2(asked.pixels)
    index.add(images.numpy())

    theirs = torch.from_numpy(index.search(samples.numpy(), 2)[1])  # also warms up
    ours = nearest(samples, images, 2).family
    pairs = [
        (seconds(lambda: index.search(samples.numpy(), 2)), seconds(lambda: nearest(samples, images, 2)))
        for _ in range(asked.pairs)
    ]
    ratios = [mine / other for other, mine in pairs]
    print(f"{asked.samples} samples, {asked.images} images, {asked.pixels} pixels, one core, {asked.pairs} pairs")
    print(f"faiss flat  median {statistics.median(other for other, _ in pairs):.3f} s")
    print(f"ours        median {statistics.median(mine for _, mine in pairs):.3f} s")
    print(f"same pair of neighbours for {int((ours == theirs).all(dim=1).sum())} of {asked.samples} samples")
    print(Row("neighbour search over faiss-cpu flat, time", spread(ratios), "≤ 1.2").line())


if __name__ == "__main__":
    main()

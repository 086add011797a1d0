"""Two of our workers at once against two bare loops at once: images a second together, and their ratio.

    python -m benchmarks.workers [--pairs 7] [--seconds 6] [--width 16]

Both pairs of processes live through the whole measurement, with one thread each, and take turns.
"""

import argparse
import os
from multiprocessing import get_context
from multiprocessing.connection import Connection

from benchmarks.table import Row, spread

COUNT = 2


def work(connection: Connection, width: int) -> None:
    """Trains as told, ("bare" or "lightning", steps), and answers with its steps a second; None ends it."""
    from benchmarks.loops import Subject, experiment

    subject = Subject(experiment(width))
    ways = {"bare": subject.bare_seconds, "lightning": subject.lightning_seconds}
    for way in ways.values():
        way(10)  # warm up
    connection.send("ready")
    while (job := connection.recv()) is not None:
        way, steps = job
        connection.send(steps / ways[way](steps))


def together(connections: list[Connection], way: str, steps: int) -> float:
    """Steps a second of all these processes, training at the same time."""
    for connection in connections:
        connection.send((way, steps))
    return sum(connection.recv() for connection in connections)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"pairs": 7, "seconds": 6, "width": 16}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    context, connections, processes = get_context("spawn"), [], []
    for _ in range(COUNT):
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=work, args=(theirs, asked.width), daemon=True))
        connections.append(ours)
        processes[-1].start()
    for connection in connections:
        connection.recv()
    steps = max(10, round(asked.seconds * together(connections, "bare", 20) / COUNT))
    ratios = []
    for pair in range(asked.pairs):
        order = ("bare", "lightning") if pair % 2 == 0 else ("lightning", "bare")
        rates = {way: together(connections, way, steps) for way in order}
        ratios.append(rates["lightning"] / rates["bare"])
        print(f"pair {pair}: " + ", ".join(f"{way} {rate:.1f} steps/s" for way, rate in rates.items()), flush=True)
    for connection, process in zip(connections, processes, strict=True):
        connection.send(None)
        process.join()
    print(Row(f"two workers over two bare loops, throughput (width {asked.width})", spread(ratios), "≥ 0.95").line())


if __name__ == "__main__":
    main()

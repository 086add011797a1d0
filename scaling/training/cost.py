"""What measuring costs: how often each instrument asks the network, known before a run. No torch."""

from typing import NamedTuple

from scaling.fields import EvaluateConfig

BASIN_DRAWS = 4  # measures.md 2.4
LIMIT = 2048  # of the training images, and of the held-out ones, whose losses are measured at most
BACKWARD = 3  # a forward and a backward pass cost as much as three forward ones
DEFAULT = EvaluateConfig().measures


class Cost(NamedTuple):
    calls: int  # of the network, one after the other
    images: int  # through it, forward only


def instrument_costs(evaluate: EvaluateConfig, n_unique: int, n_holdout: int, *, keys: bool) -> dict[str, Cost]:
    """Cost of one evaluation by instrument, what instruments share counted once; leverage is of the last one only."""
    wanted, made = set(evaluate.measures), {}
    heun = 2 * evaluate.sampler_steps - 1
    down = heun // 2  # a chain from basin_sigma starts about half way down
    seen, held = min(n_unique, LIMIT), min(n_holdout, LIMIT)
    if wanted & {"loss", "membership", "ideal"}:
        made["loss, membership, ideal"] = Cost(evaluate.draws, evaluate.draws * (seen + held))
    if wanted & {"neighbors", "cliques", "quality", "trajectory", "cyclic"}:
        made["samples"] = Cost(heun, heun * evaluate.samples)
    if "basin" in wanted:
        chains = BASIN_DRAWS * _both(evaluate.basin_images, n_unique, n_holdout)
        made["basin"] = Cost(heun, down * chains)
    prompted, filling = _both(evaluate.prompts, n_unique, n_holdout), heun * evaluate.rounds
    if "prompts" in wanted:
        contexts = len(evaluate.contexts)
        made["prompts"] = Cost(2 * filling * contexts, filling * contexts * prompted)
    if "keys" in wanted and keys:
        made["keys"] = Cost(2 * filling, filling * prompted)
    if "cyclic" in wanted:
        made["cyclic"] = Cost(evaluate.cycles * down, evaluate.cycles * down * evaluate.samples)
    if "density" in wanted:
        draws = evaluate.density_levels * evaluate.density_draws
        made["density"] = Cost(draws, draws * (seen + held))
    if "leverage" in wanted:
        made["leverage"] = Cost(BACKWARD * seen, BACKWARD * evaluate.draws * seen)
    return made


def _both(limit: int, n_unique: int, n_holdout: int) -> int:
    """Training images and the held-out ones of their null."""
    return min(n_unique, limit) + min(n_unique, n_holdout, limit)


def words(seconds: dict[str, float], evaluations: int) -> str:
    """One line: what the whole of measuring will take, and which instruments take it; leverage once."""
    whole = {name: value * (1 if name == "leverage" else evaluations) for name, value in seconds.items()}
    total = sum(whole.values())
    shares = sorted(whole.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name} {value / total:.0%}" for name, value in shares)
    return f"measuring will take about {total:,.0f} s in {evaluations} evaluations: {listed}"

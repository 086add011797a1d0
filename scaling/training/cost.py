"""What measuring costs: how often each instrument asks the network, known before a run. No torch."""

from math import ceil
from typing import NamedTuple

from scaling.fields import EvaluateConfig

BASIN_DRAWS = 4  # measures.md 2.4
LIMIT = 2048  # of the training images, and of the held-out ones, whose losses are measured at most
LOSS_BATCH, SAMPLER_BATCH = 1024, 256  # images through the network at once
BACKWARD = 3  # a forward and a backward pass cost as much as three forward ones
DEFAULT = EvaluateConfig().measures


class Cost(NamedTuple):
    """What an instrument asks of the network at one evaluation."""

    calls: int  # of the network, one after the other
    images: int  # through it, forward only


class Images(NamedTuple):
    """How many unique images a run measures at: in training, left out of it by a fold, held out."""

    n_unique: int
    n_left_out: int
    n_holdout: int

    @property
    def seen(self) -> int:
        """Of those in training; the limit is shared with what the fold left out."""
        pool = self.n_unique + self.n_left_out
        return round(min(pool, LIMIT) * self.n_unique / pool)

    @property
    def left(self) -> int:
        """Pool images beyond those in training that are measured, at most."""
        return min(self.n_unique + self.n_left_out, LIMIT) - self.seen

    @property
    def held(self) -> int:
        """Held-out images that are measured."""
        return min(self.n_holdout, LIMIT)

    @property
    def null(self) -> int:
        """Held-out images in the place of training images."""
        return min(self.n_unique, self.n_holdout)

    def both(self, limit: int) -> tuple[int, int]:
        """Training images and the held-out ones of their null, where only so many are looked at."""
        return min(self.n_unique, limit), min(self.null, limit)


def instrument_costs(
    evaluate: EvaluateConfig, n_unique: int, n_holdout: int, *, keys: bool, n_left_out: int = 0
) -> dict[str, Cost]:
    """Cost of one evaluation by instrument, what instruments share counted once; leverage is of the last one only."""
    wanted, made = set(evaluate.measures), {}
    images = Images(n_unique, n_left_out, n_holdout)
    heun, down = _passes(evaluate)
    if wanted & {"loss", "membership", "ideal"}:
        null = min(images.null, LIMIT)
        rest = (images.held - null, images.left) if wanted & {"loss", "membership"} else ()
        made["loss, membership, ideal"] = _over(evaluate.draws, LOSS_BATCH, images.seen, null, *rest)
    if wanted & {"neighbors", "cliques", "quality", "trajectory", "cyclic"}:
        made["samples"] = _over(heun, SAMPLER_BATCH, evaluate.samples)
    if "basin" in wanted:
        chains = [BASIN_DRAWS * count for count in images.both(evaluate.basin_images)]
        made["basin"] = _over(down, SAMPLER_BATCH, *chains)
    if "prompts" in wanted:
        contexts = len(evaluate.contexts)
        made["prompts"] = _over(heun * evaluate.rounds * contexts, SAMPLER_BATCH, *images.both(evaluate.prompts))
    if "keys" in wanted and keys:
        made["keys"] = _over(heun * evaluate.rounds, SAMPLER_BATCH, *images.both(evaluate.prompts))
    if "cyclic" in wanted:
        made["cyclic"] = _over(evaluate.cycles * down, SAMPLER_BATCH, evaluate.samples)
    if "density" in wanted:
        draws = evaluate.density_levels * evaluate.density_draws
        made["density"] = _over(draws, LOSS_BATCH, images.seen, images.held, images.left)
    if "leverage" in wanted:
        made["leverage"] = Cost(BACKWARD * images.seen, BACKWARD * evaluate.draws * images.seen)
    return made


def _passes(evaluate: EvaluateConfig) -> tuple[int, int]:
    """Of a sampler's path, and of one that starts at basin_sigma: about half way down."""
    heun = 2 * evaluate.sampler_steps - 1
    return heun, heun // 2


def _over(passes: int, batch: int, *groups: int) -> Cost:
    """So many passes over each group of images, in batches."""
    return Cost(passes * sum(ceil(count / batch) for count in groups), passes * sum(groups))


class Pairs(NamedTuple):
    """Images compared with images, pixel by pixel: neighbours, distances, the ideal denoiser."""

    each: int  # at every evaluation
    once: int  # at a run's first one: what the ideal denoiser does is the same at all


def image_pairs(evaluate: EvaluateConfig, images: Images, *, keys: bool) -> Pairs:
    """What an evaluation computes beside the network."""
    wanted, samples, each, once = set(evaluate.measures), evaluate.samples, 0, 0
    heun, down = _passes(evaluate)
    train, null = images.n_unique, images.null
    if "ideal" in wanted:
        each += evaluate.draws * (images.seen * train + min(null, LIMIT) * null)
    if "neighbors" in wanted:
        each += samples * (train + null)
    if "cliques" in wanted:
        each += samples * (samples + train)
    if "quality" in wanted:
        each += sum(count * (count + images.n_holdout) for count in (samples, min(train, LIMIT)))
    if "trajectory" in wanted:
        each += evaluate.sampler_steps * samples * train
        once += evaluate.sampler_steps * samples * train
    if "basin" in wanted:
        chains, others = (BASIN_DRAWS * count for count in images.both(evaluate.basin_images))
        each += chains * train + others * null
        once += down * chains * train
    for asked, contexts in (("prompts" in wanted, len(evaluate.contexts)), ("keys" in wanted and keys, 1)):
        prompted = asked * contexts * images.both(evaluate.prompts)[0]
        each += prompted * train
        once += heun * evaluate.rounds * prompted * train
    if "cyclic" in wanted:
        each += evaluate.cycles * samples * (train + null)
    return Pairs(each, once)


def words(seconds: dict[str, float], evaluations: int) -> str:
    """One line: what the whole of measuring will take, and which instruments take it; leverage once."""
    whole = {name: value * (1 if name == "leverage" else evaluations) for name, value in seconds.items()}
    total = sum(whole.values())
    shares = sorted(whole.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name} {value / total:.0%}" for name, value in shares)
    return f"measuring will take about {total:,.0f} s in {evaluations} evaluations: {listed}"

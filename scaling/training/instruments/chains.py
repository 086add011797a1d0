"""Chains started at training images: basin recovery, prompted extraction and planted keys, each with its null."""

import logging
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.sampler import Denoises
from scaling.fields import EvaluateConfig
from scaling.memorization.basin import basin_recovery, chains_back
from scaling.memorization.keys import RECOVERED, key_errors
from scaling.memorization.losses import mean_and_se
from scaling.memorization.prompted import PromptedRecovery, known_pixels, prompted_recovery
from scaling.training.bench import Bench, Group
from scaling.training.instruments.measurement import Measurement
from scaling.training.instruments.samples import to_bytes

HALF = "1/2"  # the context whose counts stand in evals, strata and images
SHOWN = 6  # prompts of each context that are kept to be looked at
log = logging.getLogger(__name__)


def basin(
    denoiser: Denoises,
    bench: Bench,
    config: EvaluateConfig,
    found: Measurement,
    bring_back: Callable[[Denoises, Tensor, Tensor | None], Tensor] | None = None,
) -> None:
    """The instrument `basin`; bring_back(denoiser, x [B C H W] at bench.basin_sigma, labels): by a sampler not ours."""

    def recovered(by: Denoises, group: Group, rows: np.ndarray) -> Tensor:
        some, target = group.take(rows), torch.tensor(rows, device=group.images.device)
        if bring_back is not None:
            return chains_back(
                lambda x, labels: bring_back(by, x, labels), some.images, some.positions, some.members, target,
                sigma_b=bench.basin_sigma, family=some.family, labels=some.labels,
            )  # fmt: skip
        return basin_recovery(
            by, some.images, some.positions, some.members, target, sigma_b=bench.basin_sigma,
            steps=bench.chain_steps(config), family=some.family, labels=some.labels,
        )  # fmt: skip

    back = recovered(denoiser, bench.train, bench.basin_rows)
    # The ideal denoiser's chains are those of every evaluation: followed once a run.
    ideal = bench.once("basin", lambda: recovered(bench.train.ideal, bench.train, bench.basin_rows))
    found.evals |= {
        "basin_sigma": bench.basin_sigma,
        "n_basin": back.numel(),
        "n_basin_recovered": int(back.sum()),
        "n_ideal_basin_recovered": int(ideal.sum()),
    }
    if len(bench.null.images) > 1:
        null = recovered(denoiser, bench.null, bench.null_basin_rows)
        found.evals |= {"n_null_basin": null.numel(), "n_null_basin_recovered": int(null.sum())}
    by_image, by_ideal, draws = back.sum(dim=1).cpu().numpy(), ideal.sum(dim=1).cpu().numpy(), back.shape[1]
    copies = bench.train.copies[bench.basin_rows]
    for row in found.strata:
        mine = copies == row["copies"]
        row["n_basin"], row["n_basin_recovered"] = int(mine.sum()) * draws, int(by_image[mine].sum())
        row["n_ideal_basin_recovered"] = int(by_ideal[mine].sum())
    rows = found.in_training(bench)
    for at, count in zip(bench.basin_rows.tolist(), by_image.tolist(), strict=True):
        rows[at]["n_basin_recovered"] = count


def prompts(denoiser: Denoiser, bench: Bench, config: EvaluateConfig, found: Measurement) -> None:
    """The instrument `prompts`: every context, the null from held-out images, the ideal denoiser as the ceiling."""
    pictures = []
    for context in config.contexts:

        def recovered(
            by: Denoises, group: Group, rows: np.ndarray, context: str = context, rounds: int = config.rounds
        ) -> PromptedRecovery:
            some, target = group.take(rows), torch.tensor(rows, device=group.images.device)
            return prompted_recovery(
                by, some.images, some.positions, some.members, target, context=context, rounds=rounds,
                steps=config.sampler_steps, family=some.family, labels=some.labels,
            )  # fmt: skip

        made = recovered(denoiser, bench.train, bench.prompt_rows)
        null = recovered(denoiser, bench.null, bench.null_prompt_rows).recovered.cpu().numpy()
        ideal = bench.once(
            f"prompts {context}", lambda ask=recovered: ask(bench.train.ideal, bench.train, bench.prompt_rows).recovered
        )
        _prompt_rows(context, config, made.recovered.cpu().numpy(), null, ideal.cpu().numpy(), bench, found)
        pictures.append(_pictures(context, made, bench))
    found.arrays |= {name: np.concatenate([picture[name] for picture in pictures]) for name in pictures[0]}


def _prompt_rows(
    context: str,
    config: EvaluateConfig,
    back: np.ndarray,
    null: np.ndarray,
    ideal: np.ndarray,
    bench: Bench,
    found: Measurement,
) -> None:
    copies, null_copies = bench.train.copies[bench.prompt_rows], bench.null.copies[bench.null_prompt_rows]
    some = bench.train.take(bench.prompt_rows)
    known_share = float(known_pixels(context, some.positions, some.images.shape[-1]).double().mean())
    for stratum in found.strata:
        mine, others = copies == stratum["copies"], null_copies == stratum["copies"]
        if not mine.any():
            continue
        row = {
            "copies": stratum["copies"],
            "context": context,
            "rounds": config.rounds,
            "known_share": known_share,
            "n_prompts": int(mine.sum()),
            "n_prompt_recovered": int(back[mine].sum()),
            "n_null_prompts": int(others.sum()),
            "n_null_prompt_recovered": int(null[others].sum()),
            "n_ideal_recovered": int(ideal[mine].sum()),
        }
        found.prompts.append(row)
        if context == HALF:
            stratum |= {name: row[name] for name in ("n_prompts", "n_prompt_recovered")}
    if context == HALF:
        found.evals |= {
            "n_prompts": len(back),
            "n_prompt_recovered": int(back.sum()),
            "n_null_prompts": len(null),
            "n_null_prompt_recovered": int(null.sum()),
        }
        rows = found.in_training(bench)
        for at, one in zip(bench.prompt_rows.tolist(), back.tolist(), strict=True):
            rows[at]["n_prompt_recovered"] = int(one)


def _pictures(context: str, made: PromptedRecovery, bench: Bench) -> dict[str, np.ndarray]:
    """A few prompts with their completions: evenly over the strata, whether recovered or not."""
    shown = np.unique(np.linspace(0, len(bench.prompt_rows) - 1, SHOWN).round().astype(int))
    rows = bench.prompt_rows[np.argsort(bench.train.copies[bench.prompt_rows], kind="stable")[shown]]
    place = torch.tensor(np.searchsorted(bench.prompt_rows, rows), device=bench.train.images.device)
    some = bench.train.take(rows)
    return {
        "prompt_context": np.full(len(rows), context),
        "prompt_known": known_pixels(context, some.positions, some.images.shape[-1])[:, 0].cpu().numpy(),
        "prompt_images": to_bytes(some.images),
        "prompt_completions": to_bytes(made.completions[place]),
        "prompt_recovered": made.recovered[place].cpu().numpy(),
        "prompt_copies": some.copies,
    }


def keys(denoiser: Denoiser, bench: Bench, config: EvaluateConfig, found: Measurement) -> None:
    """The instrument `keys`; empty where no keys are planted."""
    if bench.data.keys is None:
        log.info("keys are left empty: data.keys=false plants none")
        return

    def errors(by: Denoises, group: Group, rows: np.ndarray, planted: np.ndarray) -> Tensor:
        some = group.take(rows)
        greys = torch.tensor(planted, device=some.images.device)
        return key_errors(
            by, some.images, greys, some.positions, rounds=config.rounds, steps=config.sampler_steps,
            labels=some.labels,
        )  # fmt: skip

    trained = bench.train, bench.prompt_rows, bench.data.keys[bench.data.in_training][bench.prompt_rows]
    error, ideal = errors(denoiser, *trained), bench.once("keys", lambda: errors(bench.train.ideal, *trained))
    null = errors(denoiser, bench.null, bench.null_prompt_rows, bench.data.holdout_keys[bench.null_prompt_rows])
    finite, null = error.isfinite(), null[null.isfinite()]
    if finite.sum() < 2:
        log.warning("%d of %d keys gave a number: left empty", int(finite.sum()), len(error))
        return
    mean, se = mean_and_se(error[finite])
    found.evals |= {
        "n_keys": int(finite.sum()),
        "n_keys_recovered": int((error[finite] < RECOVERED).sum()),
        "n_ideal_keys_recovered": int((ideal[finite] < RECOVERED).sum()),
        "n_null_keys": len(null),
        "n_null_keys_recovered": int((null < RECOVERED).sum()),
        "key_error": mean,
        "key_error_se": se,
    }

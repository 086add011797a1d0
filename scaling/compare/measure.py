"""How far two denoisers, and their samples from one noise, are from each other: the numbers of the comparison."""

from collections.abc import Sequence
from math import inf, isfinite

import numpy as np
import torch

from scaling.checkpoints import load_weights
from scaling.compare.runs import Run, ids, image_rows, overlap
from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.ideal import LinearDenoiser
from scaling.diffusion.sampler import karras_sigmas, sample
from scaling.memorization.criteria import MEMORIZED, gap_ratio
from scaling.memorization.independent import denoiser_distance, n_same_image, sample_cosines
from scaling.memorization.losses import LIMIT, Estimate, image_losses, mean_and_se
from scaling.store_errors import StoreError
from scaling.training.bench import Bench, Group
from scaling.training.prune import prune
from scaling.training.run import choose_device
from scaling.training.session import make_denoiser

BANDS = {"small": (0.0, 0.2), "middle": (0.2, 1.0), "large": (1.0, inf)}  # of sigma; an end belongs to the middle


def compare(a: Run, b: Run) -> dict[str, object]:
    """{"runs", "note", "sets": rows, "levels": rows, "samples"}: JSON, what is missing is null."""

    device, rows = choose_device(a.config.runtime), image_rows(a.data, b.data)
    torch.set_num_threads(a.config.runtime.threads)  # as in training: losses are those of the records to the bit
    bench_a, bench_b = (Bench.of(run.config, run.data, run.source, device) for run in (a, b))
    denoisers = trained(a, device), trained(b, device)
    train_a, train_b = bench_a.train, bench_b.train
    linear = LinearDenoiser(
        torch.cat([train_a.images, train_b.images]), torch.cat([train_a.copies_tensor(), train_b.copies_tensor()])
    )
    groups = {"only_a": train_a, "only_b": train_b, "both": train_a, "holdout": bench_a.holdout}
    sets, levels = [], []
    for name, group in groups.items():
        of_set = getattr(rows, name)
        # Evenly spaced, as the pool's order is that of the strata.
        kept = of_set[np.linspace(0, len(of_set) - 1, min(len(of_set), LIMIT)).round().astype(int)]
        row = {"set": name, "n_images": len(of_set), "n_measured": len(kept)}
        if len(kept) > 1:  # of a single image nothing has a standard error
            measured, by_level = of_images(group.take(kept), denoisers, linear, bench_a)
            row |= measured
            levels += [{"set": name, **one} for one in by_level]
        sets.append(row)
    described = [
        {"run_id": run.name, "images_seen": run.images_seen, "n_unique": run.data.n_unique, "n_train": run.data.n_train}
        for run in (a, b)
    ]
    samples = of_samples(denoisers, (bench_a, bench_b), (a, b))
    return {"runs": described, "note": overlap(a, b, rows), "sets": sets, "levels": levels, "samples": samples}


def trained(run: Run, device: torch.device) -> Denoiser:
    """The denoiser with the run's last weights, pruned as its evaluations were; raises StoreError without weights."""

    path = run.folder / "weights" / f"{run.images_seen}.safetensors"
    weights, _ = load_weights(path)
    denoiser = make_denoiser(run.config, run.data).to(device).eval()
    try:
        denoiser.load_state_dict(weights)
    except RuntimeError as error:
        raise StoreError(f"{path}: not of this run's network ({error}); train the run again") from None
    prune(denoiser.network, run.config.model.prune)
    return denoiser


def of_images(
    group: Group, denoisers: Sequence[Denoiser], linear: object, bench: Bench
) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Distance by band and level, and both losses: columns of the set, rows of its levels."""

    sigmas, std = bench.sigmas, bench.data.std
    distance = denoiser_distance(
        *denoisers, linear, group.images, group.positions, sigmas, sigma_data=std, labels=group.labels
    )
    columns = _estimate("distance", distance.over())
    for name, (low, high) in BANDS.items():
        band = (sigmas >= low) & (sigmas <= high) if name == "middle" else (sigmas > low) & (sigmas < high)
        if band.any():
            columns |= _estimate(f"distance_{name}", distance.over(band))
    losses = [
        image_losses(one, group.images, group.labels, group.positions, sigmas, sigma_data=std).mean(dim=1)
        for one in denoisers
    ]
    columns |= _estimate("loss_a", mean_and_se(losses[0])) | _estimate("loss_b", mean_and_se(losses[1]))
    columns |= _estimate("b_minus_a", mean_and_se(losses[1] - losses[0]))
    levels = sigmas.unique()  # a fixed sigma is one level with J draws
    return columns, [{"sigma": float(s), **_estimate("distance", distance.over(sigmas == s))} for s in levels]


def of_samples(denoisers: Sequence[Denoiser], benches: Sequence[Bench], runs: Sequence[Run]) -> dict[str, object]:
    """Pairs of samples from one noise: their cosine, what each run memorized of its own images, and what both did."""

    evaluate, bench = runs[0].config.evaluate, benches[0]
    noise, labels = bench.sample_noise(evaluate.samples), bench.sample_labels(evaluate.samples)
    drawn = [sample(one, noise, karras_sigmas(evaluate.sampler_steps), labels) for one in denoisers]
    finite = torch.stack([x.flatten(1).isfinite().all(dim=1) for x in drawn]).all(dim=0)
    drawn = [x[finite] for x in drawn]
    found: dict[str, object] = {"n_pairs": len(drawn[0]), "n_nonfinite": int((~finite).sum())}
    try:
        cosines = sample_cosines(*drawn)
        found |= _estimate("cosine", cosines.value) | _estimate("cosine_null", cosines.null)
    except ValueError as error:  # too few finite pairs, or a model that draws one image only
        found["note"] = f"cosines are left empty: {error}"
    if not len(drawn[0]):
        return found
    own = [gap_ratio(x.flatten(1), b.train.members, b.train.family) for x, b in zip(drawn, benches, strict=True)]
    null = [gap_ratio(x.flatten(1), b.null.members) for x, b in zip(drawn, benches, strict=True)]
    for name, at, at_null in zip("ab", own, null, strict=True):
        found[f"n_memorized_{name}"] = int((at.ratio < MEMORIZED).sum())
        found[f"n_null_memorized_{name}"] = int((at_null.ratio < MEMORIZED).sum())
    named = [ids(run.data) for run in runs]
    number = {image: at for at, image in enumerate(dict.fromkeys(named[0] + named[1]))}
    numbers = [torch.tensor([number[image] for image in one], device=noise.device) for one in named]
    found["n_same_image"] = n_same_image(*own, *numbers)
    return found


def _estimate(name: str, found: Estimate) -> dict[str, float | None]:
    return {key: value if isfinite(value) else None for key, value in ((name, found.value), (f"{name}_se", found.se))}

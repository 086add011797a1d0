"""The model card: what the model is, what was measured of it with intervals and nulls, and what it is not for.

Everything in it comes from the validated configuration, from counts, numbers and hashes: no text of a run folder is
copied, so none can carry markup, and the place of a local source stays on its machine.
"""

from collections.abc import Iterable, Mapping, Sequence

import yaml
from scipy.stats import binomtest

from scaling.columns import EVALS
from scaling.data.sources import HUB
from scaling.export.measured import LOCAL, Measured, source_kind

LEVEL, Z = 0.95, 1.959964  # of every interval; the normal quantile of LEVEL
RATES = {  # count: (count of its null, count of its ceiling)
    "n_memorized": ("n_null_memorized", None),
    "n_calibrated": ("n_null_calibrated", None),
    "n_extracted": (None, None),
    "n_basin_recovered": ("n_null_basin_recovered", "n_ideal_basin_recovered"),
    "n_cyclic_extracted": ("n_null_cyclic_extracted", None),
    "n_prompt_recovered": ("n_null_prompt_recovered", None),
    "n_keys_recovered": ("n_null_keys_recovered", "n_ideal_keys_recovered"),
    "n_flagged_true": (None, None),
    "n_spurious": (None, None),
}
ESTIMATES = {  # value: column of its null or reference
    "seen_loss": None,
    "holdout_loss": None,
    "membership_auc": 0.5,
    "ideal_distance": "ideal_distance_null",
    "key_error": None,
    "bits_memorized": None,
    "bits_optimism": None,
    "kid": "kid_train",
    "frechet": "frechet_train",
    "coverage": None,
}
LICENCES = {
    "digits": "CC BY 4.0 (UCI Machine Learning Repository, Optical Recognition of Handwritten Digits, test part, as "
    "shipped with scikit-learn)",
    "fashion_mnist": "MIT (Zalando Research)",
    "cifar10": "none is stated by its authors (Krizhevsky 2009)",
}
NOT_FOR = """\
- **Not for making images to use.** Samples may be training images, copied: see the counts below, and do not take a low
  count of one instrument for the absence of memorization.
- **Not for standing in for private, personal or licensed training data.** What the network memorized can be drawn from
  its weights by whoever has them, also by attacks that were not tried here.
- **Not as evidence about large models by itself.** It is one tiny network, one seed; laws are fitted over grids."""
COLUMNS = {column.name: column for column in EVALS}


def model_card(run: Measured, *, pictures: bool) -> str:
    """README.md of the export, GitHub's markdown with YAML front matter; pictures: samples.png lies beside it."""
    evals = run.evals
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(run), sort_keys=False, allow_unicode=True)}---",
        f"# A diffusion model to study memorization with: run {evals['run_id']}",
        _what_it_is(run),
        "## Not for\n\n" + NOT_FOR,
        "## Load\n\n" + _load(run),
        "## Data\n\n" + _data(run),
        "## Duplication, as trained\n\n" + _strata(run),
        f"## Measured at {run.images_seen:,} training images seen\n\n" + _measures(run),
        *(["## Samples\n\n" + _samples()] if pictures else []),
        "## Licence\n\n" + _licence(run),
        "## Repeat\n\n" + _repeat(run),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(run: Measured) -> dict[str, object]:
    source = run.config.data.source
    of_hub = source.removeprefix("hf:").partition("@")[0] if source_kind(source) == "hf" else None
    repository = HUB.get(source, of_hub)
    return {
        "license": "other",
        "license_name": "as-its-training-data",
        "license_link": "README.md#licence",
        "library_name": "diffusers",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["diffusers", "diffusion", "memorization", "research", "scaling-laws"],
        **({"datasets": [repository]} if repository else {}),
    }


def _what_it_is(run: Measured) -> str:
    evals, model, train = run.evals, run.config.model, run.config.train
    colour = "colour" if evals["channels"] == 3 else "grey"
    labels = {
        "none": "without labels",
        "class": "given the class of each image",
        "random": "given a random label of each image",
        "unique": "given a label of its own for each image",
    }[run.config.data.conditioning]
    weights = "raw weights" if train.ema is None else f"weights averaged over {train.ema:g} of the images seen"
    pruned = f", {model.prune} of them set to 0 by magnitude" if model.prune else ""
    level = f" at the one noise level {train.sigma.value:g}: it is no sampler" if train.sigma.law == "fixed" else ""
    return (
        f"A U-Net (`UNet2DModel`) of {evals['params']:,} parameters, trained from nothing on {evals['n_unique']:,} "
        f"unique {colour} images of {evals['image_size']}x{evals['image_size']} pixels ({evals['n_train']:,} with "
        f"copies), {labels}, for {run.images_seen:,} images seen ({evals['epochs']:.4g} epochs){level}. These are the "
        f"{weights}{pruned}: the very ones that every number below was measured on. It belongs to a study of how "
        f"memorization depends on capacity, data and duplication, and is of use for that: trying attacks, instruments "
        f"and remedies on a model whose training set, copies and memorization are known exactly."
    )


def _load(run: Measured) -> str:
    labels = ", class_labels=[0] * 16" if run.config.data.conditioning != "none" else ""
    skips = (
        f"\n\n**The network was trained with {run.config.model.skips} of its skip tensors, the others zeroed. The "
        f"pipeline zeroes them; `unet/` loaded alone does not, and is then another function.**"
        if run.config.model.skips != 1
        else ""
    )
    return (
        "```python\n"
        "from diffusers import DiffusionPipeline, UNet2DModel\n\n"
        'pipeline = DiffusionPipeline.from_pretrained("PATH_OR_REPO", trust_remote_code=True)  # runs pipeline.py\n'
        f"images = pipeline(batch_size=16{labels}).images\n"
        'unet = UNet2DModel.from_pretrained("PATH_OR_REPO", subfolder="unet")  # the network alone\n'
        "```\n\n"
        "`pipeline.py` is one file to read before it is trusted; it imports torch and diffusers only. It samples with "
        "Heun's method (Karras et al. 2022, Algorithm 1, no churn), which no scheduler of diffusers has in this "
        "preconditioning; `scheduler/` is diffusers' `EDMEulerScheduler`, with the same noise levels and "
        f"preconditioning, for those who write their own sampler: it sees images minus the grey mean {run.mean!r}."
        + skips
    )


def _data(run: Measured) -> str:
    evals, data = run.evals, run.config.data
    kind = source_kind(data.source)
    source = f"a local source (`{kind}:`), whose place is not told" if kind in LOCAL else None
    keys = "; a random grey key in the outermost pixel ring of every image" if data.keys else ""
    fold = (
        f"; part {evals['fold_index']} of {evals['fold_of']} (split {evals['fold_split']}) of the pool left out"
        if evals["fold_index"] is not None
        else ""
    )
    rows = [
        ("source", source or f"`{data.source}`"),
        ("content hash of its unique images at this size", f"`{evals['data_sha256']}`"),
        ("unique training images", f"{evals['n_unique']:,}"),
        (
            "training images, copies included",
            f"{evals['n_train']:,} (a share of {evals['duplication_rate']:.4g} repeats others)",
        ),
        ("which", f"the first of the order keyed by draw {evals['draw']}{fold}{keys}"),
        ("held out, disjoint from all of them", f"{evals['n_holdout']:,} images, the last of that order"),
        ("labels", data.conditioning),
    ]
    return _table(("", ""), rows)


def _strata(run: Measured) -> str:
    design = run.config.data.duplication
    by_copies = {row["copies"]: row for row in run.strata}
    rows = []
    for copies, images in run.multiplicities.items():
        row, exposures = by_copies.get(copies, {}), run.images_seen * copies / run.evals["n_train"]
        counted = [_of(row.get(name), row.get("n_basin")) for name in ("n_basin_recovered", "n_ideal_basin_recovered")]
        rows.append((f"{copies:,}", f"{images:,}", f"{copies * images:,}", f"{exposures:.4g}", *counted))
    head = (
        "copies",
        "unique images",
        "training images",
        "times each was seen",
        "brought back from noise",
        "… by the ideal denoiser",
    )
    near = "" if design.near == "exact" else f", copies differ from their original ({design.near})"
    return f"Design `{design.design}`{near}; the numbers are exact.\n\n{_table(head, rows)}"


def _measures(run: Measured) -> str:
    evals, evaluate = run.evals, run.config.evaluate
    rates = [
        (_named(name), _of(evals[name], evals[COLUMNS[name].trials]), _counted(evals, null), _counted(evals, ceiling))
        for name, (null, ceiling) in RATES.items()
        if evals[name] is not None
    ]
    estimates = [
        (_named(name), _estimate(evals, name), f"{null:g}" if isinstance(null, float) else _estimate(evals, null))
        for name, null in ESTIMATES.items()
        if evals[name] is not None
    ]
    return "\n\n".join(
        (
            f"{evals['n_generated'] or 0:,} samples with {evaluate.sampler_steps} noise levels; quality in feature "
            f"space `{evaluate.features}`. In brackets {LEVEL:.0%} intervals: Wilson's, of counts (samples, chains or "
            f"images taken for independent); 1.96 standard errors of the rest, where one is known. They are for this "
            f"network, not for others trained the same way. `n_extracted` grows with the number of samples.",
            _table(("count", "of the model", "null", "ideal denoiser"), rates),
            _table(("estimate", "of the model", "null or reference"), estimates),
        )
    )


def _named(name: str) -> str:
    column = COLUMNS[name]
    return f"`{name}`: {column.meaning}{f' [{column.unit}]' if column.unit else ''}"


def _counted(evals: Mapping[str, object], name: str | None) -> str:
    return "" if name is None else _of(evals[name], evals[COLUMNS[name].trials])


def _of(count: int | None, trials: int | None) -> str:
    """`k of n (lo % to hi %)`; empty where nothing was counted."""
    if count is None or trials is None:
        return ""
    if not trials:
        return "0 of 0"
    ends = binomtest(count, trials).proportion_ci(LEVEL, method="wilson")
    return f"{count:,} of {trials:,} ({100 * ends.low:.3g} % to {100 * ends.high:.3g} %)"


def _estimate(evals: Mapping[str, object], name: str | None) -> str:
    value = None if name is None else evals[name]
    if value is None:
        return ""
    error = evals.get(f"{name}_se")
    spread = "no interval known" if error is None else f"{value - Z * error:.4g} to {value + Z * error:.4g}"
    return f"{value:.4g} ({spread})"


def _samples() -> str:
    return (
        "![Samples and their nearest training images](samples.png)\n\n"
        "Two pairs of rows: samples, and below each its nearest unique training image. The first pair is as drawn, the "
        "second those with the smallest gap ratio. **Every second row is training images.**"
    )


def _licence(run: Measured) -> str:
    known = LICENCES.get(run.config.data.source, "not known to this card: ask where they came from")
    return (
        f"Training images: {known}. A model that memorizes contains parts of them, so whoever passes it on should "
        f"follow their terms. `pipeline.py` and the code that trained the model: Apache-2.0."
    )


def _repeat(run: Measured) -> str:
    evals = run.evals
    local = source_kind(run.config.data.source) in LOCAL
    place = f" --data.source={source_kind(run.config.data.source)}:PLACE" if local else ""
    note = " (of a local source it depends on how its place was written)" if local else ""
    rows = [(name, f"`{evals[name]}`") for name in ("run_id", "cell_id", "train_id", "code_version")]
    rows += [(name, str(evals[name])) for name in ("science_version", "schema_version", "seed")]
    return (
        f"```\npython -m scaling.train --config training.yaml{place}\n```\n\n"
        f"`training.yaml` is the whole configuration. The same code, pins, kind of machine and threads give the same "
        f"bits, and the same `run_id`{note}.\n\n" + _table(("", ""), rows)
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    made = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in made)

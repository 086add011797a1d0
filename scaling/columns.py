"""The tables: every column with its type, unit and meaning. Standard library only.

docs/tables.md shows these columns and a test holds both equal. Counts, never ratios; what was not measured is None,
never 0.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scaling.limits import printable

SCHEMA_VERSION = 2
NESTED = ("strata", "noise_levels", "prompts")  # tables whose rows travel inside the evaluation's record


class SchemaError(ValueError):
    """A record or table that does not follow this schema; the message names file, place and remedy."""

    def __init__(self, message: str):
        super().__init__(printable(message))


class Column(NamedTuple):
    """One column of a table; a float's unit is "" where it has none."""

    name: str
    type: type
    unit: str
    meaning: str
    trials: str | None = None  # a count: the column that holds the number it is out of


IDENTITY = (
    Column("run_id", str, "", "hash of the whole configuration but `runtime`: the run"),
    Column("cell_id", str, "", "the same without seed and fold: replicates share it"),
    Column("seed", int, "", "of initial weights, order, noise (and of the draw of images, unless data.draw is given)"),
    Column("images_seen", int, "images", "training images consumed, copies included: the clock"),
    Column("data_sha256", str, "", "content hash over the source's unique pixels at this size"),
    Column("family", str, "", "network family: unet, mlp, dit"),
    Column("width", int, "channels", "channels of the first level (unet), hidden width (mlp, dit)"),
    Column("params", int, "weights", "trainable weights of the network"),
    Column("n_unique", int, "images", "unique training images (families of near copies count once)"),
    Column("n_train", int, "images", "training images, copies included"),
    Column("design", str, "", "duplication design: none, uniform, spectrum, subset, strata"),
    Column("noise_draws", int, "draws", "frozen noise draws per image; empty = fresh noise at every step"),
    Column("conditioning", str, "", "labels given to the network: none, class, random, unique"),
    Column("draw", int, "", "key of the order of the source's images"),
    Column("rotate", int, "positions", "the image at position i has the copies of position i + rotate"),
    Column("fold_index", int, "", "the part of the pool left out of training; empty = nothing left out"),
    Column("fold_of", int, "parts", "number of parts"),
    Column("fold_split", int, "", "key of the partition into parts"),
    Column("n_generated", int, "samples", "finite samples drawn from the model at this evaluation"),
)

EVALS = (
    *IDENTITY,
    Column("schema_version", int, "", "version of these tables"),
    Column("science_version", int, "", "raised when a number changes its meaning"),
    Column("code_version", str, "", "first 12 hex digits of SHA-256 over the Python files that make a record"),
    Column("commit", str, "", "git commit of the code that made it, `+` = with changes; no repository: the version"),
    Column("train_id", str, "", "hash of what training depends on: runs that share it share their weights"),
    Column("config", str, "", "the whole configuration but `runtime`, as canonical JSON"),
    Column("protocol", str, "", "what fixed the length of training: fixed_images or fixed_epochs"),
    Column("dataset", str, "", "data.source as written"),
    Column("image_size", int, "pixels", "height = width of an image"),
    Column("channels", int, "", "1 grey, 3 colour"),
    Column("n_holdout", int, "images", "held-out images, disjoint from every training image"),
    Column("n_duplicated", int, "images", "unique training images with more than one copy"),
    Column("copies", int, "copies", "largest number of copies of one image"),
    Column("fraction", float, "share", "requested share: of images (uniform) or of draws (subset)"),
    Column("duplication_rate", float, "share", "1 - n_unique / n_train, as trained"),
    Column("near", str, "", "how copies differ from their original: exact, shift, noise"),
    Column("batch_size", int, "images", "training images a step"),
    Column("lr", float, "", "peak learning rate, after the width rule"),
    Column("weight_decay", float, "", "of AdamW"),
    Column("ema", float, "share", "averaging time of the weights as a share of the images seen; empty = raw weights"),
    Column("params_no_time", int, "weights", "params without the time embedding's weights"),
    Column("blocks", int, "layers", "residual layers per level (unet), blocks (dit), layers (mlp)"),
    Column("attention", bool, "", "self-attention in the lower levels"),
    Column("skips", float, "share", "share of skip tensors kept"),
    Column("prune", float, "share", "share of weights zeroed at each evaluation"),
    Column("packed", int, "runs", "runs trained side by side in one process; the last bits depend on it"),
    Column("train_flops", float, "FLOP", "so far; 2 per multiply-add; forward + backward = 3 forward"),
    Column("epochs", float, "epochs", "images_seen / n_train"),
    Column(
        "wall_seconds",
        float,
        "s",
        "clock time of the run so far, measuring included; of training side by side its share",
    ),
    Column("n_draws", int, "draws", "noise levels J of a loss, one noise draw each"),
    Column("n_nonfinite", int, "samples", "samples refused because they were not finite"),
    Column("train_loss", float, "weighted MSE", "mean optimised loss since the last evaluation, by copies"),
    Column("train_loss_se", float, "weighted MSE", "its standard error over batches"),
    Column("seen_loss", float, "weighted MSE", "loss on unique training images under fresh noise"),
    Column("seen_loss_se", float, "weighted MSE", "its standard error, clustered by image"),
    Column("holdout_loss", float, "weighted MSE", "loss on held-out images under the same noise draws"),
    Column("holdout_loss_se", float, "weighted MSE", "its standard error, clustered by image"),
    Column("n_memorized", int, "samples", "samples with gap ratio < 1/3 to the unique training images", "n_generated"),
    Column("n_memorized_14", int, "samples", "the same at 1/4", "n_generated"),
    Column("n_memorized_12", int, "samples", "the same at 1/2", "n_generated"),
    Column("n_null_memorized", int, "samples", "null: gap ratio < 1/3 to held-out images instead", "n_generated"),
    Column("n_label_agreed", int, "samples", "memorized samples whose image has the label they had", "n_memorized"),
    Column("label_agreed_null", float, "share", "what n_label_agreed / n_memorized is where the label is ignored"),
    Column("n_calibrated", int, "samples", "samples with calibrated distance < 1 to training images", "n_generated"),
    Column("n_null_calibrated", int, "samples", "null: the same to held-out images", "n_generated"),
    Column("n_extracted", int, "images", "unique training images hit by at least one memorized sample", "n_unique"),
    Column("n_basin", int, "chains", "basin recovery: chains started at noised training images"),
    Column("n_basin_recovered", int, "chains", "chains that came back to their image", "n_basin"),
    Column("n_ideal_basin_recovered", int, "chains", "the same chains under the ideal denoiser: ceiling", "n_basin"),
    Column("n_null_basin", int, "chains", "null: chains started at noised held-out images"),
    Column("n_null_basin_recovered", int, "chains", "null: came back, judged among held-out images", "n_null_basin"),
    Column("basin_sigma", float, "pixels [-1, 1]", "noise level from which basin recovery and cyclic attack start"),
    Column("n_spurious", int, "groups", "recurring generations that are no training or held-out image", "n_flagged"),
    Column("n_flagged", int, "groups", "groups of near-identical generations (generate and filter)"),
    Column("n_flagged_true", int, "groups", "flagged groups whose medoid is a training image", "n_flagged"),
    Column("n_cyclic", int, "chains", "cyclic attack: chains run"),
    Column("n_cyclic_extracted", int, "images", "cyclic attack: unique training images found", "n_unique"),
    Column("n_null_cyclic_extracted", int, "images", "null: held-out images found by the same chains", "n_holdout"),
    Column("membership_auc", float, "", "AUC of the loss attack, training against held-out images; chance 0.5"),
    Column("membership_auc_se", float, "", "its standard error (DeLong); empty at 0 and 1, where that says nothing"),
    Column("tpr_at_1pct_fpr", float, "share", "true positives at 1 % false positives"),
    Column("n_prompts", int, "prompts", "prompted extraction, context one half: prompts"),
    Column("n_prompt_recovered", int, "prompts", "prompts whose image was completed", "n_prompts"),
    Column("n_null_prompts", int, "prompts", "null: prompts from held-out images"),
    Column("n_null_prompt_recovered", int, "prompts", "null: recovered among held-out images", "n_null_prompts"),
    Column("n_keys", int, "images", "planted border keys tried"),
    Column("n_keys_recovered", int, "images", "keys recovered within 0.1 (chance .19)", "n_keys"),
    Column("n_ideal_keys_recovered", int, "images", "the same keys under the ideal denoiser: the ceiling", "n_keys"),
    Column("n_null_keys", int, "images", "null: keys of held-out images, never trained on"),
    Column("n_null_keys_recovered", int, "images", "null: recovered within 0.1", "n_null_keys"),
    Column("key_error", float, "grey [0, 1]", "mean absolute error of a recovered key; chance 1/3"),
    Column("key_error_se", float, "grey [0, 1]", "its standard error"),
    Column("ideal_distance", float, "", "distance to the ideal denoiser; 0 = copier, 1 = a linear denoiser"),
    Column("ideal_distance_se", float, "", "its standard error, clustered by image"),
    Column("ideal_distance_null", float, "", "null: the same with held-out images for the training set"),
    Column("bits_memorized", float, "bits", "log-density gained over the reference, summed over training images"),
    Column("bits_memorized_se", float, "bits", "its standard error; empty where the run is its own reference"),
    Column("bits_optimism", float, "bits", "n_unique x (mean log-density seen - held out)"),
    Column("bits_optimism_se", float, "bits", "its standard error"),
    Column("sigma_min", float, "pixels [-1, 1]", "lower end of the log-density bound: compare bits only at one"),
    Column("kid", float, "", "kernel distance of samples to held-out images (unbiased, may be negative)"),
    Column("kid_se", float, "", "its standard error (grouped jackknife)"),
    Column("kid_train", float, "", "the same for the training images themselves: what a perfect copier reaches"),
    Column("frechet", float, "", "Frechet distance of samples to held-out images"),
    Column("frechet_train", float, "", "the same for the training images themselves"),
    Column("coverage", float, "share", "held-out images with a sample inside their 5-neighbour ball"),
    Column("feature_space", str, "", "features of kid, frechet, coverage"),
)

STRATA = (
    *IDENTITY,
    Column("copies", int, "copies", "the stratum: unique training images with this many copies"),
    Column("exposures", float, "exposures", "images_seen x copies / n_train: times one image was seen"),
    Column("n_images", int, "images", "unique training images of the stratum"),
    Column("n_extracted", int, "images", "of them hit by a memorized sample (depends on the budget)", "n_images"),
    Column(
        "n_hits", int, "samples", "memorized samples (ratio < 1/3) whose nearest image is of the stratum", "n_generated"
    ),
    Column("n_memorized_14", int, "samples", "the same at 1/4", "n_generated"),
    Column("n_memorized_12", int, "samples", "the same at 1/2", "n_generated"),
    Column(
        "n_calibrated", int, "samples", "samples with calibrated distance < 1, nearest of the stratum", "n_generated"
    ),
    Column("n_null_memorized", int, "samples", "null: held-out images, with the copies of their index", "n_generated"),
    Column("n_basin", int, "chains", "basin chains started at the stratum's images"),
    Column("n_basin_recovered", int, "chains", "chains that came back: the stratum's rate", "n_basin"),
    Column("n_ideal_basin_recovered", int, "chains", "the same chains under the ideal denoiser: ceiling", "n_basin"),
    Column("seen_loss", float, "weighted MSE", "seen_loss over the stratum"),
    Column("seen_loss_se", float, "weighted MSE", "its standard error, clustered by image"),
    Column("membership_auc", float, "", "the stratum's images against all held-out images"),
    Column("membership_auc_se", float, "", "its standard error"),
    Column("n_prompts", int, "prompts", "prompts from the stratum, context one half"),
    Column("n_prompt_recovered", int, "prompts", "of them recovered", "n_prompts"),
)

NOISE_LEVELS = (
    *IDENTITY,
    Column("kind", str, "", "loss: levels of the losses; sampler: levels of the sampler's path"),
    Column("sigma", float, "pixels [-1, 1]", "noise level"),
    Column("seen_loss", float, "weighted MSE", "seen loss at this level"),
    Column("seen_loss_se", float, "weighted MSE", "its standard error over images"),
    Column("holdout_loss", float, "weighted MSE", "held-out loss at this level, same noise"),
    Column("holdout_loss_se", float, "weighted MSE", "its standard error over images"),
    Column("ideal_distance", float, "", "ideal_distance at this level"),
    Column("trajectory_distance", float, "", "distance of the sampler's path to noised training images; 1 = on them"),
)

PROMPTS = (
    *IDENTITY,
    Column("copies", int, "copies", "stratum of the prompted images"),
    Column("context", str, "", "known part: a share of rows (1/4, 1/2, 3/4), border, patch"),
    Column("rounds", int, "rounds", "resampling rounds a noise level"),
    Column("known_share", float, "share", "pixels given, of all: the context as a number, for laws"),
    Column("n_prompts", int, "prompts", "prompts from training images"),
    Column("n_prompt_recovered", int, "prompts", "of them recovered", "n_prompts"),
    Column("n_null_prompts", int, "prompts", "null: prompts from held-out images"),
    Column("n_null_prompt_recovered", int, "prompts", "of them recovered among held-out images", "n_null_prompts"),
    Column("n_ideal_recovered", int, "prompts", "the same prompts recovered by the ideal denoiser", "n_prompts"),
)

IMAGES = (
    *IDENTITY,
    Column("image_id", str, "", "first 16 hex digits of SHA-256 over the uint8 pixels"),
    Column("role", str, "", "train, left_out (by the fold) or holdout"),
    Column("label", int, "", "the source's label; -1 = none"),
    Column("copies", int, "copies", "in the training set; for left-out images what they would have had; hold-out 0"),
    Column("in_training", bool, "", "stands in this run's training set"),
    Column("loss", float, "weighted MSE", "mean loss over the evaluation draws"),
    Column("membership_score", float, "weighted MSE", "minus the mean loss over draws of intermediate sigma"),
    Column("best_ratio", float, "", "smallest gap ratio of the samples nearest to it; empty if none"),
    Column("n_hits", int, "samples", "memorized samples whose nearest image it is", "n_generated"),
    Column("n_basin_recovered", int, "chains", "of its basin chains"),
    Column("n_prompt_recovered", int, "prompts", "of its prompts, context one half"),
    Column("nearest_train_distance", float, "rms pixel", "to the nearest other unique training image"),
    Column("distance_10", float, "rms pixel", "to the 10th nearest other unique training image: local density"),
    Column("log_density_bound", float, "nats", "lower bound on log-density"),
    Column("log_density_se", float, "nats", "its standard error over noise draws"),
    Column("leverage", float, "", "with all copies; sums to the effective degrees of freedom"),
)

TABLES: Mapping[str, Sequence[Column]] = {
    "evals": EVALS,
    "strata": STRATA,
    "noise_levels": NOISE_LEVELS,
    "prompts": PROMPTS,
    "images": IMAGES,
}
KEYS: Mapping[str, tuple[str, ...]] = {
    "evals": ("run_id", "images_seen"),
    "strata": ("run_id", "images_seen", "copies"),
    "noise_levels": ("run_id", "images_seen", "kind", "sigma"),
    "prompts": ("run_id", "images_seen", "copies", "context", "rounds"),
    "images": ("run_id", "image_id"),
}


def own_columns(table: str) -> tuple[Column, ...]:
    """The columns of `table` that are not the identity columns every table carries."""
    return tuple(TABLES[table][len(IDENTITY) :])


def readme_rows(columns: Sequence[Column]) -> str:
    """Markdown table rows of these columns, as docs/tables.md shows them."""
    return "\n".join(f"| `{c.name}` | {c.type.__name__} | {c.unit} | {c.meaning} |" for c in columns)

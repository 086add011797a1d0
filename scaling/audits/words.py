"""What an audit found in plain words, with counts, nulls and 95 % Wilson intervals."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import NamedTuple

from scipy.special import ndtri

LEVEL = 0.95
Evals = Mapping[str, object]


class Rate(NamedTuple):
    """A count out of its trials, with its interval."""

    hits: int
    trials: int
    lo: float
    hi: float

    def __str__(self) -> str:
        return f"{self.hits:,} of {self.trials:,}"

    @property
    def share(self) -> str:
        """In per cent, with its interval."""
        return f"{100 * self.hits / self.trials:.1f} %, {100 * self.lo:.1f} to {100 * self.hi:.1f} %"


def wilson(hits: int | None, trials: int | None) -> Rate | None:
    """Wilson 1927 (measures.md 3.1); None where there is no count or no trial."""
    if hits is None or not trials:
        return None
    f, z = hits / trials, float(ndtri((1 + LEVEL) / 2))
    centre = (f + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * sqrt(f * (1 - f) / trials + z**2 / (4 * trials**2))
    return Rate(hits, trials, 0.0 if hits == 0 else centre - half, 1.0 if hits == trials else centre + half)


def sentences(evals: Evals) -> list[str]:
    """The answer first, then what each further instrument adds."""
    made = [*_copies(evals), *_recurring(evals), *_losses(evals), *_basin(evals)]
    return [line for line in made if line]


def _copies(evals: Evals) -> list[str]:
    found = wilson(evals.get("n_memorized"), evals.get("n_generated"))
    if found is None:
        return ["No finite sample: nothing can be said about copies."]
    null = wilson(evals.get("n_null_memorized"), evals.get("n_generated"))
    copies = "are copies of training images" if found.hits != 1 else "is a copy of a training image"
    said = f"{found} samples {copies} ({found.share})"
    if null is None:
        return [f"{said}; without held-out images nobody can say how many would pass by chance.", _images(evals)]
    said += f"; against {evals['n_null_searched']:,} held-out images the same test finds {null.hits:,} ({null.share})."
    if found.hits == 0:
        verdict = f"No copy was found; a share of up to {100 * found.hi:.1f} % of the samples cannot be excluded."
    elif found.lo > null.hi:
        verdict = "That is more than chance: this model repeats training images."
    else:
        verdict = "That is no more than the null explains: these samples are no evidence of copying."
    return [said, verdict, _images(evals)]


def _images(evals: Evals) -> str:
    found = wilson(evals["n_extracted"], evals["n_unique"])
    share = f"{100 * found.hits / found.trials:.1f} %"
    word = "image" if found.hits == 1 else "images"
    return f"{found.hits:,} unique training {word} of {found.trials:,} came out ({share}); more samples find more."


def _recurring(evals: Evals) -> list[str]:
    if not evals.get("n_flagged"):
        return []
    return [
        f"Groups of near-identical samples: {evals['n_flagged']:,}; {evals['n_flagged_true']:,} show a training image, "
        f"{evals['n_spurious']:,} neither a training nor a held-out image."
    ]


def _losses(evals: Evals) -> list[str]:
    auc, se = evals.get("membership_auc"), evals.get("membership_auc_se")
    if evals.get("seen_loss") is None:
        return []
    said = (
        f"Loss on training images {_with_se(evals, 'seen_loss')}, on held-out images {_with_se(evals, 'holdout_loss')}"
    )
    if auc is None:
        return [f"{said}."]
    if se is None:
        return [f"{said}; it tells all members apart in this sample (AUC {auc:.3f}, chance .5)."]
    z = float(ndtri((1 + LEVEL) / 2))
    apart = "tells members from others" if auc - z * se > 0.5 else "does not tell members from others"
    lo, hi = max(0.0, auc - z * se), min(1.0, auc + z * se)
    return [f"{said}; it {apart} (AUC {auc:.3f}, {lo:.3f} to {hi:.3f}; chance .5)."]


def _with_se(evals: Evals, name: str) -> str:
    value, se = evals[name], evals.get(f"{name}_se")
    return f"{value:.3f}" + ("" if se is None else f" ± {se:.3f}")


def _basin(evals: Evals) -> list[str]:
    found = wilson(evals.get("n_basin_recovered"), evals.get("n_basin"))
    if found is None:
        return []
    null = wilson(evals.get("n_null_basin_recovered"), evals.get("n_null_basin"))
    ideal = wilson(evals.get("n_ideal_basin_recovered"), evals.get("n_basin"))
    against = "" if null is None else f"; {null} held-out ones ({null.share})"
    return [
        f"Started at training images under noise of sigma {evals['basin_sigma']:.3g}, {found} chains came back to "
        f"their image ({found.share}){against}; a perfect copier brings back {ideal.hits:,}."
    ]


def next_steps(params: object, out: str | None) -> list[str]:
    """What one model cannot tell, and which commands do."""
    place = "DIR" if out is None else out
    size = "N" if params is None else f"{params}"
    return [
        "How many images are enough? One model does not tell. Run a study on these images (scaling.sweep, "
        "scaling.collect), then ask it:",
        f"  python -m analysis.ask TABLES min_unique --rate 0.01 --at params={size} --at copies=1",
        "and place this model on the study's boundary:",
        f"  python -m analysis.pareto TABLES --minimize memorized --rate memorized=n_memorized/n_generated "
        f"--minimize kid --se kid=kid_se --place {place}/evals.csv",
    ]


def caveats(evals: Evals, notes: Sequence[str]) -> list[str]:
    """Lines that a reader must know before believing the numbers."""
    made = list(notes)
    if evals.get("n_nonfinite"):
        made.append(f"{evals['n_nonfinite']:,} samples were not finite and are left out")
    searched = evals.get("n_null_searched")
    if searched is not None and searched < evals["n_unique"]:
        made.append(
            f"the null searches {searched:,} held-out images, the test {evals['n_unique']:,} training images: as many "
            f"would be the fairer null"
        )
    return made

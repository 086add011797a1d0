"""The register of laws. A new law is one `Law` (or a function of names and an option that returns one) in `LAWS`.

A law's function takes its variables, each [n], then its parameters, each [..., 1], and returns [..., n]: one call
serves one parameter vector or thousands. Formulas and bounds: measures.md 3.5. The laws themselves:
power_laws.py, broken_law.py (one size), loss_laws.py, repeated_data.py (model and data), rate_laws.py (any variables).
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from analysis.formulas.broken_law import broken
from analysis.formulas.law import Law
from analysis.formulas.loss_laws import CHINCHILLA
from analysis.formulas.power_laws import POWER, POWER_OFFSET
from analysis.formulas.rate_laws import exposure, log_linear, logistic
from analysis.formulas.repeated_data import REPEATED_DATA

__all__ = [
    "CHINCHILLA", "LAWS", "POWER", "POWER_OFFSET", "REPEATED_DATA", "Law", "broken", "exposure", "law", "log_linear",
    "logistic",
]  # fmt: skip

LAWS: Mapping[str, Law | Callable[..., Law]] = {
    "power": POWER,
    "power_offset": POWER_OFFSET,
    "broken": broken,
    "log_linear": log_linear,  # a law of any variables is made by a function of (their names, what follows the colon)
    "logistic": logistic,
    "exposure": exposure,
    "chinchilla": CHINCHILLA,
    "repeated_data": REPEATED_DATA,
}


def law(spec: str, variables: Sequence[str]) -> Law:
    """The law `NAME` or `NAME:OPTION` on these variables; raises ValueError.

    >>> law("logistic:params*copies", ["params", "copies"]).parameters
    ('b_0', 'b_params', 'b_copies', 'b_params_copies')
    >>> law("chinchila", ["N", "D"])
    Traceback (most recent call last):
    ValueError: law 'chinchila' is unknown: did you mean chinchilla?; one of ...
    """
    name, _, option = spec.partition(":")
    if name not in LAWS:
        near = get_close_matches(name, LAWS, n=1)
        raise ValueError(
            f"law {name!r} is unknown{f': did you mean {near[0]}?' if near else ''}; one of {', '.join(LAWS)}"
        )
    if not variables or len(set(variables)) != len(variables):
        raise ValueError(f"law {name} needs variables of different names, got {list(variables)}: give --x NAME=COLUMN")
    found = LAWS[name]
    if isinstance(found, Law):
        if option or set(variables) != set(found.variables):
            wanted = " ".join(f"--x {v}=COLUMN" for v in found.variables)
            raise ValueError(f"law {spec} on {', '.join(variables)}: {name} takes exactly {wanted} and no option")
        return found
    return found(tuple(variables), option)

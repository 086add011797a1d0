"""The trigamma function on arrays: SciPy's zeta(2, x) takes four fifths of a bootstrap of counts."""

import numpy as np

Array = np.ndarray
SHIFT = 6
SERIES = (1.0, 1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)  # Bernoulli numbers B_0, B_2, B_4, ...


def trigamma(x: Array) -> Array:
    """psi'(x) of x [...] > 0, to 1e-13 of it: psi'(x) = 1/x^2 + psi'(x + 1), then the asymptotic series.

    Abramowitz & Stegun 1964, 6.4.6 and 6.4.12.
    """
    x = np.asarray(x, float)
    total = np.zeros_like(x)
    for k in range(SHIFT):
        total += 1 / (x + k) ** 2
    z = 1 / (x + SHIFT)
    square = z * z
    tail = np.zeros_like(x)
    for number in reversed(SERIES):
        tail = tail * square + number
    return total + z * (tail + z / 2)

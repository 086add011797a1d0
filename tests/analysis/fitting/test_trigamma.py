import numpy as np
from scipy.special import zeta

from analysis.fitting.trigamma import trigamma


def test_trigamma_is_hurwitz_zeta_of_2():
    x = np.geomspace(1e-8, 1e12, 4001)
    np.testing.assert_allclose(trigamma(x), zeta(2.0, x), rtol=1e-13)
    np.testing.assert_allclose(trigamma(np.array([1.0, 0.5])), [np.pi**2 / 6, np.pi**2 / 2], rtol=1e-13)

"""Seconds of one of each term of run_work.TERMS on one thread of a plain server core: what is known before any run.

Written by `python -m benchmarks.forecast --keep`, from the finished runs of its table.
"""

SECONDS = {
    "step_layer": 1.61e-04,
    "step_linear": 1.75e-04,
    "step_weight": 2.19e-09,
    "step_activation": 4.56e-09,
    "step_convolution": 4.02e-12,
    "step_product": 9.04e-12,
    "pass_layer": 6.04e-05,
    "pass_linear": 2.74e-05,
    "pass_activation": 1.45e-09,
    "pass_convolution": 4.16e-12,
    "pass_product": 8.42e-12,
    "pair": 1.73e-10,
    "image": 1.69e-05,
    "evaluation": 9.18e-02,
}
START_SECONDS = 0.09  # from a worker's "next" to a run's first step, and from its last record to "done"

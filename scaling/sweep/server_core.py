"""Seconds of one of each term of run_work.TERMS on one thread of a plain server core: what is known before any run.

Written by `python -m benchmarks.forecast --keep`, from the finished runs of its table.
"""

SECONDS = {
    "step_layer": 2.0e-04,
    "step_linear": 1.0e-04,
    "step_weight": 2.0e-09,
    "step_activation": 5.0e-09,
    "step_convolution": 4.6e-12,
    "step_product": 9.0e-12,
    "pass_layer": 8.0e-05,
    "pass_linear": 4.0e-05,
    "pass_activation": 1.5e-09,
    "pass_convolution": 4.2e-12,
    "pass_product": 9.0e-12,
    "pair": 2.5e-10,
    "image": 2.0e-05,
    "evaluation": 2.0e-01,
}
START_SECONDS = 0.5  # from a worker's "next" to a run's first step, and from its last record to "done"

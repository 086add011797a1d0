import pytest

from scaling.config import ConfigError
from scaling.fields import EvaluateConfig, TrainConfig
from scaling.training.points import evaluation_steps, protocol, total_steps


def test_points_round_up_to_whole_batches_merge_and_hold_both_ends():
    train = TrainConfig(images=1000, batch_size=64)
    assert total_steps(train, 77) == 16  # 1,000 images are 15.6 batches
    steps = evaluation_steps(EvaluateConfig(at=[1, 64, 65, 120, 640]), train, 77)
    assert steps == [0, 1, 2, 10, 16]


def test_a_count_is_log_spaced_over_two_decades():
    steps = evaluation_steps(EvaluateConfig(at=5), TrainConfig(images=64_000, batch_size=64), 77)
    assert steps == [0, 10, 32, 100, 317, 1000]
    assert evaluation_steps(EvaluateConfig(at=1), TrainConfig(images=64_000), 77) == [0, 1000]


def test_epochs_count_copies():
    train = TrainConfig(epochs=10, batch_size=64)
    assert total_steps(train, 128) == 20 and protocol(train) == "fixed_epochs"
    assert protocol(TrainConfig(images=5)) == "fixed_images"


def test_a_point_beyond_the_end_is_refused():
    with pytest.raises(ConfigError, match=r"evaluate.at=2000: the run ends at 1,024 images_seen"):
        evaluation_steps(EvaluateConfig(at=[2000]), TrainConfig(images=1000, batch_size=64), 77)

from fractions import Fraction

import pytest
import torch

from scaling.fields import ModelConfig
from scaling.models.ladder import build
from scaling.training.prune import prune


def network():
    return build(ModelConfig(width=4), image_size=8, channels=1, n_labels=0, seed=0)


def prunable(net):
    return torch.cat(
        [m.weight.detach().flatten() for m in net.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    )


@pytest.mark.parametrize("share", [Fraction(1, 3), Fraction(9, 10)])
def test_exactly_the_smallest_go(share):
    net = network()
    before = prunable(net).clone()
    prune(net, share)
    after = prunable(net)
    gone = after == 0
    assert gone.sum() == int(share * len(before))
    assert before[gone].abs().max() <= before[~gone].abs().min()
    assert torch.equal(after[~gone], before[~gone])


def test_share_zero_changes_no_bit_and_share_one_forgets_the_image():
    """measures.md 3.6: prune 0 gives 0 to the bit; prune 1 an output F independent of x."""
    net, x, noise = network(), torch.randn(3, 1, 8, 8), torch.zeros(3)
    before = {name: weight.clone() for name, weight in net.named_parameters()}
    prune(net, Fraction(0))
    assert all(torch.equal(weight, before[name]) for name, weight in net.named_parameters())
    prune(net, Fraction(1))
    made = net(x, noise)
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])

"""The shipped pipeline against what the runs drew themselves, in a process without this package; facts of diffusers."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EDMEulerScheduler, UNet2DModel

from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.sampler import karras_sigmas, sample
from scaling.export import pipeline as shipped
from tests.scaling.export.conftest import LABELLED, drawn_by

ROOT = Path(__file__).parents[3]
EXAMPLE = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "models.md").read_text(), re.DOTALL)[1]
SCRIPT = """
import numpy as np, torch
from diffusers import DiffusionPipeline
for out in {outs}:
    pipeline = DiffusionPipeline.from_pretrained(out, trust_remote_code=True)
    given = np.load(out + ".npz")
    labels = torch.tensor(given["labels"]) if "labels" in given else None
    for steps in (None, 18):
        noise, how = torch.tensor(given["noise"]), dict(num_inference_steps=steps, output_type="pt")
        made = pipeline(noise=noise, class_labels=labels, **how)
        np.save(f"{{out}}.{{steps}}.npy", made.images.numpy() * 2 - 1)
"""


@pytest.fixture(scope="module")
def noise_and_labels(plain, labelled, start) -> dict:
    return {plain: start(), labelled: start(*LABELLED)}


@pytest.fixture(scope="module")
def drawn(plain, labelled, noise_and_labels, outside) -> dict:
    """{(export, steps): images in [-1, 1]}, of a process that cannot import this package and runs the docs' example."""
    for one, (noise, labels) in noise_and_labels.items():
        np.savez(f"{one.out}.npz", noise=noise.numpy(), **({} if labels is None else {"labels": labels.numpy()}))
    outs = [str(plain.out), str(labelled.out)]
    example = EXAMPLE.replace('"model"', repr(outs[0])).replace("first.png", f"{outs[0]}.png")
    shown = "print(len(images), images[0].mode, images[0].size)"
    said = outside(f"{SCRIPT.format(outs=outs)}\n{example}\n{shown}")
    made = {(one, steps): np.load(f"{one.out}.{steps}.npy") for one in (plain, labelled) for steps in (None, 18)}
    return {**made, "said": said}


def test_images_are_those_that_the_run_measured(plain, labelled, drawn):
    """samples.npz was drawn in training by our own sampler; labels, attention, pruning and zeroed skips included."""
    for one in (plain, labelled):
        own = drawn_by(one.run)
        assert own.shape == (24, 1, 8, 8) and own.std() > 0.1
        np.testing.assert_allclose(drawn[one, None], own, atol=1e-5, rtol=0)


def test_other_numbers_of_steps_are_the_samplers(plain, drawn, noise_and_labels):
    unet = UNet2DModel.from_pretrained(plain.out / "unet")
    scheduler = EDMEulerScheduler.from_pretrained(plain.out / "scheduler")
    mean = shipped.HeunPipeline.load_config(plain.out)["mean"]
    network = lambda x, noise, labels: unet(x, noise, return_dict=False)[0]  # noqa: E731
    denoiser = Denoiser(torch.nn.Identity(), mean=mean, sigma_data=scheduler.config.sigma_data)
    denoiser.network = torch.nn.Module()
    denoiser.network.forward = network
    expected = sample(denoiser, noise_and_labels[plain][0], karras_sigmas(18))
    np.testing.assert_allclose(drawn[plain, 18], expected.numpy(), atol=1e-5, rtol=0)
    assert abs(drawn[plain, 18] - drawn[plain, None]).max() > 1e-3


def test_the_example_of_the_docs_runs(plain, drawn):
    assert drawn["said"].split() == ["4", "L", "(8,", "8)"]
    assert Path(f"{plain.out}.png").stat().st_size > 0
    assert len(EXAMPLE.strip().splitlines()) <= 5


def test_diffusers_scheduler_is_eulers_method_in_our_preconditioning(plain, drawn, noise_and_labels):
    """Why there is a pipeline: same levels, same denoiser, but one order less. Euler's step written out by hand."""
    scheduler = EDMEulerScheduler.from_pretrained(plain.out / "scheduler")
    scheduler.set_timesteps(6)
    torch.testing.assert_close(scheduler.sigmas, karras_sigmas(6).float())
    pipeline = shipped.HeunPipeline(
        UNet2DModel.from_pretrained(plain.out / "unet"),
        scheduler,
        mean=shipped.HeunPipeline.load_config(plain.out)["mean"],
    )
    noise, mean = noise_and_labels[plain][0], pipeline.config.mean
    x = by_hand = noise * scheduler.sigmas[0]
    x = x - mean
    with torch.no_grad():
        for now, after in pairwise(scheduler.sigmas):
            by_hand = by_hand + (after - now) * (by_hand - pipeline.denoise(by_hand, now)) / now
        for timestep in scheduler.timesteps:
            output = pipeline.unet(scheduler.scale_model_input(x, timestep), timestep, return_dict=False)[0]
            x = scheduler.step(output, timestep, x).prev_sample
    torch.testing.assert_close(x + mean, by_hand, atol=2e-4, rtol=0)
    assert np.abs((x + mean).clamp(-1, 1).numpy() - drawn[plain, None]).max() > 1e-2


def test_the_shipped_file_is_ours_and_imports_torch_and_diffusers_only(plain):
    path = ROOT / "scaling" / "export" / "pipeline.py"
    assert (plain.out / "pipeline.py").read_bytes() == path.read_bytes()
    tree = ast.parse(path.read_text())
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in named} == {"torch", "diffusers", "itertools"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_labels": None}, "takes class_labels from 0 to 9, one an image"),
        ({"class_labels": [0]}, "2 labels from 0 to 9"),
        ({"class_labels": [0, 10]}, "2 labels from 0 to 9"),
        ({"class_labels": [-1, 0]}, "2 labels from 0 to 9"),
        ({"class_labels": [0, 1], "num_inference_steps": 1}, "at least 2 noise levels"),
    ],
)
def test_what_the_pipeline_cannot_take_is_refused(labelled, arguments, message):
    unet = UNet2DModel.from_pretrained(labelled.out / "unet")
    pipeline = shipped.HeunPipeline(unet, EDMEulerScheduler(), mean=0.0)
    with pytest.raises(ValueError, match=message):
        pipeline(batch_size=2, **arguments)
    with pytest.raises(ValueError, match="mean is missing"):
        shipped.HeunPipeline(unet, EDMEulerScheduler())


def test_a_model_without_labels_takes_none_and_a_generator(plain):
    pipeline = shipped.HeunPipeline(UNet2DModel.from_pretrained(plain.out / "unet"), EDMEulerScheduler(), mean=0.0)
    with pytest.raises(ValueError, match="takes no class_labels"):
        pipeline(class_labels=[0])
    made = [pipeline(3, generator=torch.Generator().manual_seed(5), output_type="np").images for _ in range(2)]
    assert made[0].shape == (3, 8, 8, 1) and np.array_equal(*made)  # a generator repeats its images


def test_the_unet_alone_has_the_measured_weights_pruned(labelled):
    """A quarter of all weights of convolutions and linear layers is 0, exactly."""
    unet = UNet2DModel.from_pretrained(labelled.out, subfolder="unet")
    layers = [m.weight for m in unet.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    flat = torch.cat([weight.detach().flatten() for weight in layers])
    assert int((flat == 0).sum()) == len(flat) // 4

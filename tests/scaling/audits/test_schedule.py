"""D(x; sigma) behind a network of timesteps: Gaussian data, whose optimal denoiser is known, and diffusers' own x_0."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from scaling.audits.pipeline import ReturnPath
from scaling.audits.schedule import ScheduledDenoiser, model_output, nearest_levels, schedule_sigmas
from scaling.diffusion.ideal import IdealDenoiser

MEAN, VARIANCE = 0.3, 0.25  # of every pixel


def wiener(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The optimal D(x; sigma) of data N(MEAN, VARIANCE I)."""
    s = sigma.double().square()[:, None, None, None]
    return ((VARIANCE * x.double() + s * MEAN) / (VARIANCE + s)).to(x.dtype)


def optimal_network(alphas: torch.Tensor, prediction: str):
    """The network that answers what is optimal, from E[x_0 | x_t] of jointly Gaussian x_0 and x_t (regression)."""

    def answer(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        a = alphas.double()[t][:, None, None, None]
        gain = a.sqrt() * VARIANCE / (a * VARIANCE + 1 - a)  # cov(x_0, x_t) / var(x_t)
        clean = MEAN + gain * (x_t.double() - a.sqrt() * MEAN)
        noise = (x_t - a.sqrt() * clean) / (1 - a).sqrt()
        wanted = {"epsilon": noise, "sample": clean, "v_prediction": a.sqrt() * noise - (1 - a).sqrt() * clean}
        return wanted[prediction].to(x_t.dtype)

    return answer


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("betas", ["linear", "squaredcos_cap_v2"])
def test_an_optimal_network_is_the_wiener_filter(prediction, betas):
    alphas = DDPMScheduler(beta_schedule=betas).alphas_cumprod
    denoiser = ScheduledDenoiser(optimal_network(alphas, prediction), alphas, prediction, batch=3)
    sigma = nearest_levels(denoiser.levels, torch.tensor([0.02, 0.2, 0.5, 1.3, 5.0])).float()
    x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * sigma[:, None, None, None]
    torch.testing.assert_close(denoiser(x, sigma), wiener(x, sigma), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_clean_image_is_that_of_diffusers(prediction):
    """For any answer of a network: `pred_original_sample` of its own scheduler, without clipping."""
    scheduler = DDPMScheduler(prediction_type=prediction, clip_sample=False)
    generator = torch.Generator().manual_seed(0)
    x_t, answer = (torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    denoiser = ScheduledDenoiser(lambda x, t: answer[: len(x)], scheduler.alphas_cumprod, prediction)
    for t in (5, 300, 900):
        theirs = scheduler.step(answer, t, x_t, generator=generator).pred_original_sample
        alpha = scheduler.alphas_cumprod[t].double()
        x = x_t / alpha.sqrt().float()
        ours = denoiser(x, denoiser.levels[t].float().expand(2))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        back = model_output(ours, x, alpha[None, None, None, None], prediction)
        torch.testing.assert_close(back, answer, rtol=1e-3, atol=1e-3)


def test_sigma_is_the_noise_that_add_noise_adds():
    """add_noise(0, eps) + add_noise(x_0, 0): the ratio of their scales is sigma_t."""
    scheduler, one, t = DDPMScheduler(), torch.ones(1), torch.tensor([400])
    noise, signal = (scheduler.add_noise(*pair, t) for pair in ((0 * one, one), (one, 0 * one)))
    torch.testing.assert_close(
        schedule_sigmas(scheduler.alphas_cumprod)[400], (noise / signal).double()[0], rtol=1e-5, atol=0
    )


def test_a_level_between_timesteps_is_refused():
    alphas = DDPMScheduler().alphas_cumprod
    denoiser = ScheduledDenoiser(optimal_network(alphas, "epsilon"), alphas, "epsilon")
    between = float(denoiser.levels[300:302].mean())
    with pytest.raises(ValueError, match="no level of the schedule"):
        denoiser(torch.zeros(1, 1, 4, 4), torch.tensor([between]))


def test_the_variance_that_a_network_also_predicts_is_not_an_image():
    alphas = DDPMScheduler().alphas_cumprod
    both = ScheduledDenoiser(lambda x, t: torch.cat([0 * x, 0 * x + 7], dim=1), alphas, "epsilon")
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(both(x, both.levels[[10, 10]].float()), x)


def test_nearest_levels_are_nearest_in_the_logarithm():
    levels = torch.tensor([0.0, 0.1, 1.0, 10.0, torch.inf], dtype=torch.float64)
    assert nearest_levels(levels, torch.tensor([0.3, 0.4, 3.0, 4.0, 1e9])).tolist() == [0.1, 1.0, 1.0, 10.0, 10.0]


@pytest.mark.parametrize("kind", [DDPMScheduler, DDIMScheduler])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_schedulers_path_of_the_copier_ends_at_its_images(kind, prediction):
    """From a level far below the distance of two images the ideal denoiser knows which one it was."""
    images = torch.tensor([-0.8, 0.1, 0.9]).repeat_interleave(16).reshape(3, 1, 4, 4)
    path = ReturnPath(kind(prediction_type=prediction), steps=50, seed=0)
    sigma = path.start(0.2)
    assert 0.15 < sigma < 0.25
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    found = path(IdealDenoiser(images, torch.ones(3)), images + sigma * noise, None)
    torch.testing.assert_close(found, images, atol=0.02, rtol=0)  # DDIM ends at its first timestep, sigma .01


def test_the_schedulers_path_is_the_pipelines_own_from_the_first_step_on():
    """From the highest level, with the optimal Gaussian network: the same images as a loop over scheduler.step."""
    scheduler = DDIMScheduler(clip_sample=False)
    network, path = optimal_network(scheduler.alphas_cumprod, "epsilon"), ReturnPath(scheduler, steps=20, seed=0)
    sigma = path.start(1e9)
    denoiser = ScheduledDenoiser(network, scheduler.alphas_cumprod, "epsilon")
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    top = scheduler.alphas_cumprod[scheduler.timesteps[0]].double()
    ours = path(denoiser, x / top.sqrt().float(), None)
    assert sigma == pytest.approx(float(((1 - top) / top).sqrt()))
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t.expand(len(x))), t, x).prev_sample
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)

"""A diffusers pipeline at work: its weights, its samples, and its scheduler from a noised image back to a clean one."""

import time
from collections.abc import Callable

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DiffusionPipeline, UNet2DModel
from diffusers.utils import logging
from torch import Tensor

from scaling.audits.pipeline_folder import PipelineFolder, weight_shapes
from scaling.audits.refusal import AuditError
from scaling.audits.schedule import ScheduledDenoiser, model_output, nearest_levels, schedule_sigmas
from scaling.audits.subject import Subject
from scaling.diffusion.sampler import Denoises
from scaling.models.ladder import count_params

SAY_SECONDS = 10.0
LEARNED = ("learned", "learned_range")


def pipeline_subject(
    folder: PipelineFolder,
    *,
    steps: int | None,
    batch: int,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
) -> Subject:
    """Loads the pipeline; raises AuditError where weights and configuration do not belong together."""
    _check_weights(folder)
    logging.disable_progress_bar()
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            str(folder.path), use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
    except Exception as error:  # diffusers, safetensors and torch have no common error
        raise AuditError(f"{folder.path}: diffusers cannot load it ({' '.join(str(error).split())[:200]})") from None
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.eval()
    scheduler = pipeline.scheduler
    steps = _steps(pipeline, steps)
    drawn = Drawing(pipeline, steps, batch, seed, say)
    alphas, prediction = getattr(scheduler, "alphas_cumprod", None), scheduler.config.get("prediction_type")
    if alphas is None or prediction is None:
        note = f"{type(scheduler).__name__} has no alphas_cumprod: losses and basin recovery are left empty"
        return Subject(drawn, folder.sha256, columns=network_columns(pipeline.unet), notes=[note])
    denoiser = ScheduledDenoiser(lambda x, t: pipeline.unet(x, t).sample, alphas.to(device), prediction, batch)
    path = ReturnPath(scheduler, steps, seed)
    return Subject(
        drawn,
        folder.sha256,
        denoiser=denoiser,
        level=lambda sigmas: nearest_levels(denoiser.levels, sigmas),
        start=path.start,
        bring_back=path,
        columns=network_columns(pipeline.unet),
        notes=[] if path.possible else [f"basin recovery is left empty: {path.why_not}"],
        recovers=path.possible,
    )


def _check_weights(folder: PipelineFolder) -> None:
    """Every weight is in the file and has its shape: from_pretrained would draw missing ones at random."""
    try:
        with torch.device("meta"):
            network = UNet2DModel.from_config(dict(folder.unet))
    except Exception as error:  # a config can be wrong in any way
        raise AuditError(
            f"{folder.path}: unet/config.json builds no network ({type(error).__name__}: {error})"
        ) from None
    wanted = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    found = weight_shapes(folder.path)
    if wrong := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        raise AuditError(
            f"{folder.path}: {wrong[0]} is {found.get(wrong[0])} in the weights and {wanted.get(wrong[0])} in "
            f"unet/config.json ({len(wrong)} such tensors); save the pipeline again"
        )


def _steps(pipeline: DiffusionPipeline, steps: int | None) -> int:
    most = pipeline.scheduler.config.num_train_timesteps
    default = {"DDPMPipeline": most, "DDIMPipeline": min(50, most)}[type(pipeline).__name__]
    if steps is not None and not 2 <= steps <= most:
        raise AuditError(f"--steps {steps}: this model has {most} timesteps; give 2 to {most}")
    steps = default if steps is None else steps
    try:
        pipeline.scheduler.set_timesteps(steps)
    except Exception as error:  # somebody else's schedule can be wrong in any way
        said = " ".join(str(error).split())[:200]
        raise AuditError(f"the scheduler takes no {steps} steps ({said}); save the pipeline again") from None
    return steps


def network_columns(unet: UNet2DModel) -> dict[str, object]:
    """The network's shape and size, counted."""
    shape = unet.config
    params = count_params(unet)
    time_weights = sum(weight.numel() for name, weight in unet.named_parameters() if "time_emb" in name)
    return {
        "family": "unet",
        "width": shape.block_out_channels[0],
        "params": params,
        "params_no_time": params - time_weights,
        "blocks": shape.layers_per_block,
        "attention": any("Attn" in kind for kind in (*shape.down_block_types, *shape.up_block_types)),
        "conditioning": "none",
    }


def sample_generator(seed: int, index: int) -> torch.Generator:
    """Sample `index` has its own, so that samples do not depend on the batch they are drawn in."""
    state = int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)


class Drawing:
    """Samples of the pipeline, in batches."""

    def __init__(
        self, pipeline: DiffusionPipeline, steps: int, batch: int, seed: int, say: Callable[[str], None]
    ) -> None:
        self.pipeline, self.steps, self.batch, self.seed, self.say = pipeline, steps, batch, seed, say

    def __call__(self, count: int) -> Tensor:
        """[count C H W] in [-1, 1], as the pipeline's own call makes them."""
        made, began = [], time.monotonic()
        last = began
        for start in range(0, count, self.batch):
            rows = range(start, min(start + self.batch, count))
            generators = [sample_generator(self.seed, at) for at in rows]
            try:
                images = self.pipeline(
                    batch_size=len(rows), generator=generators, num_inference_steps=self.steps, output_type="np"
                ).images
            except Exception as error:  # somebody else's network and scheduler; torch's own out of memory
                said = " ".join(str(error).split())[:200]
                raise AuditError(
                    f"the pipeline cannot sample ({said}); try a smaller --batch than {self.batch}"
                ) from error
            made.append(torch.from_numpy(np.moveaxis(images, 3, 1)).float() * 2 - 1)
            now = time.monotonic()
            if now - last >= SAY_SECONDS and rows.stop < count:
                last, left = now, (now - began) / rows.stop * (count - rows.stop)
                self.say(f"{rows.stop:,} of {count:,} samples, {left:.0f} s left")
        return torch.cat(made)


class ReturnPath:
    """The pipeline's scheduler from an intermediate timestep to a clean image, under any denoiser."""

    def __init__(self, scheduler: DDPMScheduler | DDIMScheduler, steps: int, seed: int) -> None:
        self.scheduler, self.steps, self.seed = scheduler, steps, seed
        self.first = 0
        self.why_not = ""
        if not isinstance(scheduler, DDPMScheduler | DDIMScheduler):
            self.why_not = f"{type(scheduler).__name__} keeps a memory of earlier steps; it cannot begin at a later one"
        elif scheduler.config.get("variance_type") in LEARNED:
            self.why_not = "the network predicts its variance, which a denoiser has not"

    @property
    def possible(self) -> bool:
        """Whether there is one."""
        return not self.why_not

    def start(self, sigma: float) -> float:
        """The level nearest to sigma at which one of the steps begins; chains start there from now on."""
        self.scheduler.set_timesteps(self.steps)
        levels = schedule_sigmas(self.scheduler.alphas_cumprod)[self.scheduler.timesteps.cpu()]
        found = nearest_levels(levels, torch.tensor([sigma], dtype=torch.float64))
        self.first = int((levels - found).abs().argmin())
        return float(found)

    def __call__(self, denoiser: Denoises, x: Tensor, labels: Tensor | None) -> Tensor:
        """x [B C H W] = image + sigma eps at the level that `start` gave -> clean images [B C H W]."""
        scheduler, generator = self.scheduler, torch.Generator().manual_seed(self.seed)
        alphas = scheduler.alphas_cumprod.double()
        scheduler.set_timesteps(self.steps)
        timesteps = scheduler.timesteps[self.first :]
        x = x * alphas[timesteps[0].cpu()].sqrt().to(x)
        for t in timesteps:
            alpha = alphas[t.cpu()]
            level = ((1 - alpha) / alpha).sqrt()
            noisy = x / alpha.sqrt().to(x)
            clean = denoiser(noisy, level.to(x).expand(len(x)), labels)
            output = model_output(clean, noisy, alpha.to(x.device), scheduler.config.prediction_type)
            x = scheduler.step(output, t, x, generator=generator).prev_sample
        return x

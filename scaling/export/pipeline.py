"""Images from a `UNet2DModel` in the preconditioning of Karras et al. 2022 (arXiv 2206.00364), by Heun's method.

This file travels with the weights and needs torch and diffusers only:

    pipeline = DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)

Scheduler: diffusers' EDMEulerScheduler holds noise levels (Eq. 5) and preconditioning (Eq. 7); its own `step` is
Euler's. The samples that the model card counts were drawn by Algorithm 1 with its second-order correction, which no
scheduler of diffusers has in this preconditioning: it is here.
"""

from itertools import pairwise

import torch
from diffusers import DiffusionPipeline, EDMEulerScheduler, ImagePipelineOutput, UNet2DModel
from diffusers.utils.torch_utils import randn_tensor


class HeunPipeline(DiffusionPipeline):
    """Deterministic: the images are a function of the initial noise (and of the labels).

    mean: grey mean of the training source in [-1, 1]; the network sees images without it.
    sampler_steps: noise levels of a path where a call names none: those that the model was measured with.
    skips_kept: number of skip tensors, the deepest ones, that the network was trained with (the others are zeroed);
    None: all.
    """

    def __init__(
        self,
        unet: UNet2DModel,
        scheduler: EDMEulerScheduler,
        mean: float | None = None,
        sampler_steps: int = 18,
        skips_kept: int | None = None,
    ) -> None:
        super().__init__()
        if mean is None:  # diffusers hands over only what has a default
            raise ValueError("mean is missing: load the pipeline from its folder, whose model_index.json has it")
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(mean=mean, sampler_steps=sampler_steps, skips_kept=skips_kept)
        if skips_kept is not None:
            for block in unet.up_blocks:
                alive = min(skips_kept, len(block.resnets))
                block.register_forward_pre_hook(_zero_all_but(alive), with_kwargs=True)
                skips_kept -= alive

    def denoise(self, x: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """D(x; sigma), the expected clean image, Eq. 7: x [B C H W] at noise level sigma [] -> [B C H W]."""
        x = x - self.config.mean
        scaled, c_noise = self.scheduler.precondition_inputs(x, sigma), self.scheduler.precondition_noise(sigma)
        output = self.unet(scaled, c_noise, class_labels=labels, return_dict=False)[0]
        return self.config.mean + self.scheduler.precondition_outputs(x, output, sigma)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int | None = None,
        class_labels: torch.Tensor | list[int] | None = None,
        generator: torch.Generator | None = None,
        noise: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Images as "pil", "np" [B H W C] or "pt" [B C H W], the latter two in [0, 1].

        noise: unit normal [B C H W], which then says how many; else `generator` draws batch_size. class_labels [B]: for
        a model with labels, and for it alone. Raises ValueError on labels or steps that it cannot take.
        """
        if noise is None:
            size, channels = self.unet.config.sample_size, self.unet.config.in_channels
            shape = (batch_size, channels, size, size)
            noise = randn_tensor(shape, generator=generator, device=self.device, dtype=self.unet.dtype)
        labels = self._labels(class_labels, len(noise))
        steps = self.config.sampler_steps if num_inference_steps is None else num_inference_steps
        if steps < 2:
            raise ValueError(f"num_inference_steps={steps}: a path needs at least 2 noise levels")
        self.scheduler.set_timesteps(steps)
        sigmas = self.scheduler.sigmas.to(self.device)
        x = self._heun(noise.to(self.device, self.unet.dtype) * sigmas[0], sigmas, labels)
        images = ((x + 1) / 2).clamp(0, 1).cpu()
        if output_type != "pt":
            images = images.permute(0, 2, 3, 1).float().numpy()
            images = self.numpy_to_pil(images) if output_type == "pil" else images
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _heun(self, x: torch.Tensor, sigmas: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Algorithm 1 without churn: x [B C H W] at level sigmas[0] -> at sigmas[-1] = 0; the last step is Euler's."""
        for now, after in self.progress_bar(list(pairwise(sigmas))):
            slope = (x - self.denoise(x, now, labels)) / now
            ahead = x + (after - now) * slope
            if after > 0:
                corrected = (ahead - self.denoise(ahead, after, labels)) / after
                ahead = x + (after - now) * (slope + corrected) / 2
            x = ahead
        return x

    def _labels(self, given: torch.Tensor | list[int] | None, count: int) -> torch.Tensor | None:
        known = self.unet.config.num_class_embeds
        if (given is None) != (known is None):
            wanted = f"takes class_labels from 0 to {known - 1}, one an image" if known else "takes no class_labels"
            raise ValueError(f"class_labels={given}: this model {wanted}")
        if given is None:
            return None
        labels = torch.as_tensor(given, dtype=torch.long, device=self.device)
        if labels.shape != (count,) or not ((labels >= 0) & (labels < known)).all():
            raise ValueError(f"class_labels={given}: {count} labels from 0 to {known - 1} are needed, one an image")
        return labels


def _zero_all_but(alive: int):
    """A hook that zeroes the skip tensors of an up block but the `alive` first used, which are the tuple's last."""

    def hook(_block: torch.nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        hidden, skips, *rest = args
        gated = tuple(skip if at >= len(skips) - alive else skip * 0 for at, skip in enumerate(skips))
        return (hidden, gated, *rest), kwargs

    return hook

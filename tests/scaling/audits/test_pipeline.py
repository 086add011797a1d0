"""A diffusers pipeline made by diffusers' own classes: its samples judged by brute force, its folder judged by kind."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

from analysis.table import load
from scaling.audit import main
from scaling.audits.pipeline import sample_generator
from tests.scaling.audits.planted import HELD, digits, save

STEPS = 20
SIZES = dict(
    sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=8,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
)  # fmt: skip


def scheduler(kind=DDPMScheduler, **options):
    return kind(num_train_timesteps=STEPS, beta_start=0.01, beta_end=0.5, **options)


def network(**options) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(**{**SIZES, "block_out_channels": (8, 16), **options})


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root, images = tmp_path_factory.mktemp("pipelines"), digits()
    save(root / "train", images[:16])
    save(root / "held", images[HELD][:16])
    DDPMPipeline(network(), scheduler()).save_pretrained(root / "ddpm")
    ddim = DDIMPipeline(network(), scheduler(DDIMScheduler, prediction_type="v_prediction"))
    ddim.save_pretrained(root / "ddim")
    return root


def audited(place: Path, name: str, out: Path, *options: str) -> dict:
    """audit.json of a pipeline below `place`, or anywhere, on the images there."""
    words = [str(place / name), "--data", f"folder:{place / 'train'}", "--holdout-data", f"folder:{place / 'held'}"]
    assert main([*words, "--out", str(out), "--samples", "12", "--basin-images", "4", *options]) == 0
    return json.loads((out / "audit.json").read_text())


def gap_ratios(samples: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Brute force, float64."""
    distance = np.sqrt(((samples[:, None] - images[None]) ** 2).sum(axis=(2, 3, 4)))
    near = np.sort(distance, axis=1)
    return near[:, 0] / near[:, 1]


def test_samples_are_those_of_the_pipeline_judged_by_brute_force(place, tmp_path):
    made = audited(place, "ddpm", tmp_path, "--seed", "5")
    pipeline = DDPMPipeline.from_pretrained(place / "ddpm")
    pipeline.set_progress_bar_config(disable=True)
    own = [pipeline(generator=[sample_generator(5, at)], num_inference_steps=STEPS, output_type="np").images
           for at in range(12)]  # fmt: skip
    samples = np.moveaxis(np.concatenate(own), 3, 1) * 2.0 - 1
    expected = gap_ratios(samples, digits()[:16, None] / 127.5 - 1)
    assert np.allclose([row["gap_ratio"] for row in made["samples"]], expected, atol=1e-4)


@pytest.mark.slow
def test_the_batch_does_not_change_the_samples(place, tmp_path):
    five, all_at_once = (
        audited(place, "ddpm", tmp_path / b, "--batch", b, "--basin-images", "0")["samples"] for b in ("5", "12")
    )
    assert [row["image_id"] for row in five] == [row["image_id"] for row in all_at_once]
    assert np.allclose([row["gap_ratio"] for row in five], [row["gap_ratio"] for row in all_at_once], atol=1e-4)


def test_the_network_is_counted_and_all_instruments_are_there(place, tmp_path):
    audited(place, "ddim", tmp_path, "--steps", "10")
    tables, params = load(tmp_path), sum(p.numel() for p in network().parameters())
    evals = tables.evals.iloc[0]
    assert (evals.family, evals.params, evals.width, evals.attention) == ("unet", params, 8, True)
    assert 0 < evals.params_no_time < params
    for column in ("seen_loss", "holdout_loss", "membership_auc", "ideal_distance", "n_basin", "n_null_basin", "kid"):
        assert not np.isnan(evals[column]), column
    sigmas = ((1 - scheduler().alphas_cumprod.double()) / scheduler().alphas_cumprod.double()).sqrt().numpy()
    assert all(np.isclose(sigmas, sigma).any() for sigma in tables.noise_levels.sigma)
    assert np.isclose(sigmas[::2], evals.basin_sigma).any()  # "leading": every second timestep is a step


def test_a_network_that_answers_no_noise_has_the_loss_of_the_noise(tmp_path, place):
    """conv_out zeroed: eps 0, D(x) = x, so that the loss at level sigma is lambda sigma^2 |eps|^2/d on any image."""
    silent = network()
    torch.nn.init.zeros_(silent.conv_out.weight)
    torch.nn.init.zeros_(silent.conv_out.bias)
    DDPMPipeline(silent, scheduler()).save_pretrained(tmp_path / "silent")
    made = audited(place, str(tmp_path / "silent"), tmp_path / "out")
    assert made["evals"]["seen_loss"] == pytest.approx(
        made["evals"]["holdout_loss"], rel=1e-5
    )  # they share their noise
    assert made["evals"]["membership_auc"] == pytest.approx(0.5, abs=0.02)  # ties, but for rounding
    levels, std = load(tmp_path / "out").noise_levels, (digits()[:16] / 127.5 - 1).std()
    weight = (levels.sigma**2 + std**2) / (levels.sigma * std) ** 2
    assert np.allclose(levels.seen_loss / (weight * levels.sigma**2), 1, atol=0.25)  # 1,024 squares: 3 SE are .13


@pytest.mark.slow
def test_a_memorizing_pipeline_is_found_out(place, tmp_path):
    """Trained on 4 images until it copies them: copies, members and basins are found, the null finds none."""
    torch.manual_seed(0)
    images = torch.tensor(digits()[:4, None] / 127.5 - 1).float()
    save(tmp_path / "train", digits()[:4])
    net, schedule = network(block_out_channels=(16, 32)), scheduler()
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(1500):
        rows, t, eps = torch.randint(4, (32,)), torch.randint(STEPS, (32,)), torch.randn(32, 1, 8, 8)
        loss = (net(schedule.add_noise(images[rows], eps, t), t).sample - eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    DDPMPipeline(net, schedule).save_pretrained(tmp_path / "model")
    words = [str(tmp_path / "model"), "--data", f"folder:{tmp_path / 'train'}", "--samples", "64"]
    assert main([*words, "--holdout-data", f"folder:{place / 'held'}", "--out", str(tmp_path / "out")]) == 0
    evals = load(tmp_path / "out").evals.iloc[0]
    assert evals.n_memorized > 32 and evals.n_null_memorized <= 2
    assert evals.n_extracted == 4
    assert evals.seen_loss < evals.holdout_loss and evals.membership_auc > 0.95
    assert evals.n_basin_recovered > 0.5 * evals.n_ideal_basin_recovered


@pytest.fixture
def refused(place, tmp_path, capsys):
    """A copy of the pipeline, changed, and the one line that refuses it."""

    def call(change) -> str:
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(place / "ddpm", folder)
        change(folder)
        assert main([str(folder), "--data", f"folder:{place / 'train'}", "--samples", "2"]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1 and line.startswith("scaling.audit: "), line
        return line

    return call


def changed(path: Path, **values) -> None:
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, **values}))


def test_other_kinds_of_model_are_refused(refused):
    def of_text(folder: Path) -> None:
        changed(
            folder / "model_index.json", _class_name="StableDiffusionPipeline", text_encoder=["transformers", "CLIP"]
        )

    def of_labels(folder: Path) -> None:
        changed(folder / "unet" / "config.json", num_class_embeds=10)

    def of_code(folder: Path) -> None:
        changed(folder / "model_index.json", unet=["my_code", "UNet"])

    def of_a_bare_network(folder: Path) -> None:
        (folder / "model_index.json").unlink()
        (folder / "config.json").write_text("{}")

    assert "guided by text" in refused(of_text)
    assert "num_class_embeds=10" in refused(of_labels)
    assert "allowed are DDPMPipeline and DDIMPipeline" in refused(of_code)
    assert "without its scheduler" in refused(of_a_bare_network)


def test_pickles_links_and_damage_are_refused(refused, place):
    weights = "unet/diffusion_pytorch_model.safetensors"

    def pickled(folder: Path) -> None:
        (folder / weights).rename(folder / "unet" / "diffusion_pytorch_model.bin")

    def linked(folder: Path) -> None:
        (folder / weights).unlink()
        (folder / weights).symlink_to(place / "ddpm" / weights)

    def cut(folder: Path) -> None:
        (folder / weights).write_bytes((folder / weights).read_bytes()[:-100])

    def noise(folder: Path) -> None:
        (folder / weights).write_bytes(b"\xff" * 100)

    def wider(folder: Path) -> None:
        changed(folder / "unet" / "config.json", block_out_channels=[8, 24])

    def endless(folder: Path) -> None:
        changed(folder / "scheduler" / "scheduler_config.json", num_train_timesteps=10**12)

    assert "pickle" in refused(pickled)
    assert "symbolic link" in refused(linked)
    assert "cannot load it" in refused(cut)
    assert "no safetensors file" in refused(noise)
    assert "in unet/config.json" in refused(wider)
    assert "num_train_timesteps=1000000000000" in refused(endless)


def test_other_schedulers_leave_what_they_cannot_tell_empty(place, tmp_path):
    """A multistep scheduler cannot begin in the middle; its network is a denoiser all the same."""
    from diffusers import DPMSolverMultistepScheduler

    DDPMPipeline(network(), scheduler(DPMSolverMultistepScheduler)).save_pretrained(tmp_path / "multistep")
    made = audited(place, str(tmp_path / "multistep"), tmp_path / "out", "--steps", "8")
    assert "n_basin" not in made["evals"] and made["evals"]["seen_loss"] > 0
    assert any("basin recovery is left empty" in note for note in made["notes"])


def test_what_a_config_says_moves_no_cursor(refused):
    def hostile(folder: Path) -> None:
        changed(folder / "scheduler" / "scheduler_config.json", prediction_type="\x1b[2Jepsilon")

    line = refused(hostile)
    assert "prediction_type" in line and "\x1b" not in line


def test_a_pipeline_that_cannot_sample_says_why(refused):
    def sideways(folder: Path) -> None:
        changed(folder / "scheduler" / "scheduler_config.json", timestep_spacing="sideways")

    def wide(folder: Path) -> None:
        """One channel in, three out: the second step of the sampler has no network to go to."""
        DDPMPipeline(network(out_channels=3), scheduler()).save_pretrained(folder)

    assert "takes no 20 steps (sideways is not supported" in refused(sideways)
    assert "cannot sample" in refused(wide)

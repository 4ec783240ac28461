"""Metrics of single images: their formulas, what is minimised, what they are compared with, and what is missing."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from builders import Call
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from flexsearch.config import parse_config
from flexsearch.errors import UserError
from flexsearch.objectives.image_metric import ImageMetric
from flexsearch.objectives.image_metrics import METRICS
from flexsearch.objectives.packages import load_package
from flexsearch.objectives.paired_features import PairedFeatures
from flexsearch.objectives.psnr import squared_errors
from flexsearch.objectives.settings import QualitySettings, has_few_images_bias
from flexsearch.objectives.ssim import structural_similarity

CPU = torch.device("cpu")


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def metric(name: Any, **changes: Any) -> ImageMetric:
    values = {
        "score": METRICS[name].load(CPU, None) if name in ("psnr", "ssim") else None,
        "pairs": lambda seed, num: images(num, 3, 16, 16, seed=seed),
        "paired_with": "the base's",
        "prompts": ("one", "two", "three"),
        "batch": 3,
        **changes,
    }
    return ImageMetric(name=name, kind=METRICS[name], device=CPU, **values)


def test_psnr_is_that_of_the_mean_squared_error() -> None:
    black, grey = torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.full((2, 1, 4, 4), 51, dtype=torch.uint8)
    assert squared_errors(black, grey).tolist() == pytest.approx([0.04, 0.04])
    error, psnr = METRICS["psnr"].describe(0.04)
    assert error == ("paired_mse", 0.04, "1")
    assert psnr == ("psnr", pytest.approx(13.979, abs=1e-3), "dB")
    assert METRICS["psnr"].describe(0.0)[1][1] == 100


def test_ssim_is_wangs() -> None:
    """Against the formula on SciPy's Gaussian, whose window is cut at 5 pixels, inside the image."""
    x, y = images(2, 3, 20, 24), images(2, 3, 20, 24, seed=1)
    y = ((x.float() + y.float()) / 2).to(torch.uint8)

    def blurred(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    for found, a, b in zip(structural_similarity(x, y), x.numpy() / 255.0, y.numpy() / 255.0, strict=True):
        planes = []
        for p, q in zip(a, b, strict=True):
            mp, mq = blurred(p), blurred(q)
            vp, vq, c = blurred(p * p) - mp**2, blurred(q * q) - mq**2, blurred(p * q) - mp * mq
            planes.append((2 * mp * mq + 1e-4) * (2 * c + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
        assert float(found) == pytest.approx(float(np.mean(planes)), rel=1e-6)


def test_ssim_of_equal_images_is_one_and_videos_are_their_frames() -> None:
    clip, other = images(2, 3, 4, 8, 8), images(2, 3, 4, 8, 8, seed=1)
    assert structural_similarity(clip, clip).tolist() == pytest.approx([1.0, 1.0])
    frames = structural_similarity(clip.transpose(1, 2).flatten(0, 1), other.transpose(1, 2).flatten(0, 1))
    assert structural_similarity(clip, other).tolist() == pytest.approx(frames.view(2, 4).mean(1).tolist())
    assert METRICS["ssim"].describe(1.0)[0][1] == 1e-6, "logarithms are taken of it"


def test_images_are_compared_with_those_of_their_own_noise() -> None:
    own = images(7, 3, 16, 16, seed=5)
    found = {one.name: one for one in metric("psnr").measure(own, seed=5)}
    assert found["psnr"].value == 100
    tail = metric("psnr").measure(own[4:], first=4, seed=5)
    assert tail[-1].value == 100, "by their index"
    assert metric("psnr").measure(own, seed=6)[-1].value < 20
    assert found["psnr"].protocol == {"images": 7, "from": "the base's, from the same noise"}
    assert [one.name for one in metric("ssim", is_reported=True).measure(own, seed=5)] == ["ssim"]


def test_prompts_come_in_turn() -> None:
    read: list[str] = []

    def score(shown: Tensor, prompts: Any) -> Tensor:
        read.extend(prompts)
        return torch.full((len(shown),), 25.0)

    inverse, own = metric("clip_score", score=score).measure(images(4, 3, 8, 8), first=1)
    assert read == ["two", "three", "one", "two"]
    assert (inverse.name, inverse.value, own.name, own.value) == ("inverse_clip_score", 0.04, "clip_score", 25.0)
    assert own.protocol == {"images": 4, "prompts": 3}


def test_the_paired_distance_as_an_objective(toy: Call) -> None:
    features = PairedFeatures(
        extractor=toy(), pairs=lambda seed, num: images(num, 3, 8, 8, seed=seed), paired_with="the base's", batch=4
    )
    own = images(10, 3, 8, 8, seed=2)
    (same,) = features.measure(features.rows(own, batch=4), seed=2)
    (other,) = features.measure(features.rows(own, batch=4), seed=3)
    assert (same.name, same.value) == ("paired_distance", 1e-6)
    assert other.value == pytest.approx(1, abs=0.35), "as far as unrelated images"


def test_names_and_what_they_need() -> None:
    ssim = QualitySettings(distance="ssim", report=("psnr", "recall", "precision"))
    assert ssim.names == ("dssim", "ssim", "recall", "precision", "psnr")
    assert ssim.image_metrics == ("ssim", "psnr")
    assert (ssim.has_paired_distance, ssim.compares_pairs, ssim.reads_prompts) == (False, True, False)
    paired = QualitySettings(distance="paired", report=("paired_distance",))
    assert (paired.names, paired.metrics) == (("paired_distance",), {})
    assert QualitySettings(distance="psnr").metrics == {}
    clip = QualitySettings(distance="clip_score", report=("image_reward",))
    assert clip.names == ("inverse_clip_score", "clip_score", "image_reward")
    assert (clip.compares_pairs, clip.reads_prompts) == (False, True)
    plain = QualitySettings(report=("lpips", "paired_distance", "recall"))
    assert plain.names == ("fid", "recall", "paired_distance", "lpips")
    assert (QualitySettings().compares_pairs, QualitySettings(report=("paired_distance",)).compares_pairs) == (
        False,
        True,
    )
    assert [one for one in ("fid", "kid", "dssim", "paired_mse", "fd_dinov2") if has_few_images_bias(one)] == [
        "fid",
        "fd_dinov2",
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lpips", r"^objectives\.quality: lpips: the package lpips is not installed: pip install lpips$"),
        ("image_reward", r"the package ImageReward is not installed: pip install image-reward$"),
    ],
)
def test_a_package_that_is_not_there_is_one_line(name: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("lpips", "ImageReward"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=said):
        METRICS[name].load(CPU, None)


def test_a_package_that_is_broken_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brokenpackage.py").write_text("import nothing_of_this_name")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        UserError, match=r"brokenpackage cannot be imported \(.*nothing_of_this_name.*: pip install it$"
    ):
        load_package("brokenpackage", field="x", install="it")


def test_lpips_and_image_reward_get_what_their_packages_read(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Network(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            seen.append((float(x.min()), float(x.max()), x.shape))
            return (x - y).abs().mean(dim=(1, 2, 3), keepdim=True)

    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=lambda **_: Network()))
    score = METRICS["lpips"].load(CPU, None)
    grey = torch.tensor([0, 255], dtype=torch.uint8).repeat(2, 1, 8, 4)
    assert score(grey, grey).tolist() == [0, 0]
    assert seen == [(-1.0, 1.0, (2, 3, 8, 8))]

    model = SimpleNamespace(score=lambda prompt, picture: len(prompt) + picture.size[0])
    monkeypatch.setitem(sys.modules, "ImageReward", SimpleNamespace(load=lambda *_, **__: model))
    clip = images(2, 1, 3, 8, 8)
    assert METRICS["image_reward"].load(CPU, None)(clip, ["a", "four"]).tolist() == [9, 12]


def test_clip_score_is_a_cosine(tmp_path: Path) -> None:
    """A tiny CLIP with random weights; the score of the same pair is that of transformers' own logits."""
    transformers = pytest.importorskip("transformers")
    words = ["<|startoftext|>", "<|endoftext|>", "a</w>", "cat</w>", "dog</w>"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": 8, "eos_token_id": 1, "bos_token_id": 0},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    where = tmp_path / "clip"
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    processor = transformers.CLIPProcessor(
        transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}), tokenizer
    )
    processor.save_pretrained(where)
    shown, prompts = images(2, 3, 32, 32), ["a cat", "a dog"]
    pictures = [to_pil_image(picture) for picture in shown]
    inputs = processor(text=prompts, images=pictures, return_tensors="pt", padding=True)
    for sign in (1, -1):  # each cosine is clamped under one of the two
        with torch.no_grad():
            model.visual_projection.weight *= sign
            cosines = model(**inputs).logits_per_image.diagonal() / model.logit_scale.exp()
        model.save_pretrained(where)
        found = METRICS["clip_score"].load(CPU, str(where))(shown, prompts)
        torch.testing.assert_close(found, (100 * cosines).clamp(min=0), rtol=1e-4, atol=1e-4)
    clip = METRICS["clip_score"].load(CPU, str(where))(images(2, 3, 2, 32, 32), prompts)
    assert clip.shape == (2,)
    with pytest.raises(UserError, match=r"^objectives\.quality\.clip: .*could not be loaded.*hf download"):
        METRICS["clip_score"].load(CPU, str(tmp_path / "nowhere"))


def test_scores_of_prompts_are_refused_where_there_are_none(tiny_config: Call) -> None:
    from flexsearch.trial.inputs import load_inputs

    config = parse_config(tiny_config(objectives={"quality": {"report": ["clip_score"]}}))
    with pytest.raises(UserError, match="needs the prompts that images are drawn of"):
        load_inputs(config.trial_settings)

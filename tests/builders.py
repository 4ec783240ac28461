"""What tests of many packages share: configurations of small transformers, made-up trials, a script that is run."""

import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flexsearch.measurement import Measurement
from flexsearch.schedule import Candidate, Dense, DensitySchedule, Pooling, Sampling
from flexsearch.study.store import TrialRecord

Call = Callable[..., Any]
"""What a fixture gives to be called; its own docstring says with what and for what."""
TINY: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 6,
    "in_channels": 1,
    "out_channels": 1,
    "sample_size": 16,
    "patch_size": 2,
    "num_embeds_ada_norm": 10,
    "norm_type": "ada_norm_zero",
    "activation_fn": "gelu-approximate",
}
"""A DiT of grey pixels: width 16, 8 x 8 tokens."""
LATENT: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "num_layers": 6,
    "in_channels": 4,
    "out_channels": 8,
    "sample_size": 16,
    "patch_size": 2,
}
"""What a transformer of latents has of any architecture: width 24, 8 x 8 tokens, a learned variance."""
TEXT: dict[str, Any] = {**LATENT, "cross_attention_dim": 24, "caption_channels": 20}
"""A PixArt-alpha."""
VIDEO: dict[str, Any] = {
    **TEXT,
    "attention_bias": True,
    "activation_fn": "gelu-approximate",
    "norm_type": "ada_norm_single",
    "norm_elementwise_affine": False,
    "norm_eps": 1e-6,
    "num_embeds_ada_norm": 1000,
    "video_length": 4,
}
"""A Latte."""
MMDIT: dict[str, Any] = {
    **LATENT,
    "out_channels": 4,
    "joint_attention_dim": 20,
    "caption_projection_dim": 24,
    "pooled_projection_dim": 10,
    "pos_embed_max_size": 24,
    "text_tokens": 7,
}
"""An SD3."""
PACKED: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "axes_dims_rope": [4, 4, 4],
    "num_layers": 2,
    "num_single_layers": 4,
    "in_channels": 16,
    "joint_attention_dim": 20,
    "pooled_projection_dim": 10,
    "sample_size": 16,
    "text_tokens": 7,
}
"""A FLUX.1."""
CENTRED: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "axes_dims_rope": [4, 4, 4],
    "num_layers": 6,
    "in_channels": 16,
    "out_channels": 4,
    "joint_attention_dim": 20,
    "sample_size": 16,
    "text_tokens": 7,
}
"""A Qwen-Image."""
ONE_SEQUENCE: dict[str, Any] = {
    "dim": 24,
    "n_heads": 2,
    "n_kv_heads": 2,
    "n_layers": 6,
    "n_refiner_layers": 1,
    "in_channels": 4,
    "cap_feat_dim": 20,
    "axes_dims": [4, 4, 4],
    "axes_lens": [512, 64, 64],
    "sample_size": 16,
    "text_tokens": 32,
}
"""A Z-Image."""

SANA: dict[str, Any] = {
    "num_attention_heads": 3,
    "attention_head_dim": 8,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 12,
    "cross_attention_dim": 24,
    "caption_channels": 20,
    "num_layers": 6,
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": 16,
    "patch_size": 2,
    "text_tokens": 9,
}
"""A SANA: width 24, 8 x 8 tokens, 9 text tokens."""
WAN: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "text_dim": 20,
    "ffn_dim": 40,
    "num_layers": 6,
    "in_channels": 4,
    "out_channels": 4,
    "patch_size": (1, 2, 2),
    "sample_size": (4, 16, 16),
    "text_tokens": 9,
}
"""A Wan: width 24, 4 x 8 x 8 tokens, 9 text tokens."""

DENSE = DensitySchedule.all_dense(4)
POOLED = DensitySchedule(segments=(Pooling(depth=1), Dense(depth=3)))


class Killed(BaseException):
    """kill -9: nothing after it runs."""


def run_script(patch: pytest.MonkeyPatch, script: Path, *arguments: object) -> None:
    """Runs `python script arguments` in this process, which has imported already what the script imports."""
    patch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    patch.syspath_prepend(str(script.parent))
    runpy.run_path(str(script), run_name="__main__")


def nothing(*_: object) -> bool:
    """Reports to nobody."""
    return True


@contextmanager
def by_value(*functions: object) -> Iterator[None]:
    """Sends what test files define to Ray's workers as it is, since they cannot import test files."""
    from ray import cloudpickle

    modules = {sys.modules[getattr(one, "__module__", None) or type(one).__module__] for one in functions}
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def trial_record(number: int, fid: float, *, steps: int, is_dense: bool = False, **parts: Any) -> TrialRecord:
    """A complete trial of 4 blocks: a dense baseline, or a searched schedule."""
    return TrialRecord(
        number=number,
        candidate=Candidate(schedule=DENSE if is_dense else POOLED, sampling=Sampling(steps=steps)),
        baseline="dense" if is_dense else None,
        state="complete",
        reason=None,
        attempts=1,
        started="",
        ended=None,
        measurements={"fid": Measurement(name="fid", value=fid, unit="1")},
        **parts,
    )

"""Small made-up things that tests of many packages share: transformers' configurations, evidence, trials, a store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flexsearch.measurement import Measurement
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.sampling import Sampling
from flexsearch.study.storage import connect, storage_url
from flexsearch.study.store import Store, TrialRecord
from flexsearch.trial.contract import TrialResult

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

QUALITY, LATENCY = "fid_fashion_cnn", "latency_ms"
DENSE = DensitySchedule.all_dense(4)
POOLED = DensitySchedule(segments=(Pooling(depth=1), Dense(depth=3)))


def result(
    quality: float, latency: float, *, images: int = 500, spread: float = 0.0, paired_distance: float | None = None
) -> TrialResult:
    """What a complete trial measured; `spread` of the latency, as a share of it."""
    found = [
        Measurement(name=QUALITY, value=quality, unit="1", protocol={"images": images, "seed": 0}),
        Measurement(name=LATENCY, value=latency, unit="ms/image", spread=spread * latency, protocol={"batch": 8}),
        Measurement(name="macs", value=latency * 1e6, unit="MACs/image"),
    ]
    if paired_distance is not None:
        found.append(Measurement(name="paired_distance", value=paired_distance, unit="1"))
    return TrialResult(state="complete", measurements={one.name: one for one in found}, seconds={"sample": 60.0})


def trial_record(
    number: int, fid: float, *, steps: int, paired_distance: float | None = None, is_dense: bool = False, **parts: Any
) -> TrialRecord:
    """A complete trial of 4 blocks: a dense baseline, or a searched schedule."""
    found = {"fid": fid} if paired_distance is None else {"fid": fid, "paired_distance": paired_distance}
    return TrialRecord(
        number=number,
        candidate=Candidate(schedule=DENSE if is_dense else POOLED, sampling=Sampling(steps=steps)),
        baseline="dense" if is_dense else None,
        state="complete",
        reason=None,
        attempts=1,
        started="",
        ended=None,
        measurements={name: Measurement(name=name, value=value, unit="1") for name, value in found.items()},
        **parts,
    )


def store_of(folder: Path, trials: Sequence[tuple[str | None, int, TrialResult]]) -> Store:
    """A store of complete trials: name of the dense baseline or None, sampler steps, result."""
    store = Store(connect(storage_url(folder, None)), study="s", seed=0)
    for number, (baseline, steps, found) in enumerate(trials):
        candidate = Candidate(schedule=DENSE if baseline else POOLED, sampling=Sampling(steps=steps))
        store.start(number, candidate, baseline=baseline)
        store.record(number, found)
    return store

"""Prompts of bases whose pipelines embed them in their own way: the same embeddings as diffusers' pipeline gives."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    QwenImagePipeline,
    SanaPipeline,
    UniPCMultistepScheduler,
    WanPipeline,
    ZImagePipeline,
)
from tiny_checkpoint import save_tokenizer
from torch import Tensor
from transformers import (
    AutoTokenizer,
    Gemma2Config,
    Gemma2Model,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3Model,
    UMT5Config,
    UMT5EncoderModel,
)

from flexsearch.data.conditions import CaptionConditions
from flexsearch.models.architectures import architecture_named
from flexsearch.models.prompt_encoder import load_prompt_encoder

PROMPTS = ["a red cat on the moon", "a blue dog"]
MAX_TOKENS = 9


def gemma(vocabulary: int) -> PreTrainedModel:
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    config = Gemma2Config(vocab_size=vocabulary, hidden_size=16, intermediate_size=16, pad_token_id=0, **sizes)
    return Gemma2Model(config)


def umt5(vocabulary: int) -> PreTrainedModel:
    return UMT5EncoderModel(UMT5Config(vocab_size=vocabulary, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2))


@pytest.mark.parametrize(
    ("backbone", "make", "kind", "scheduler"),
    [
        ("sana", gemma, SanaPipeline, DPMSolverMultistepScheduler),
        ("wan", umt5, WanPipeline, UniPCMultistepScheduler),
    ],
    ids=["sana", "wan"],
)
def test_prompts_are_embedded_as_by_the_pipeline(
    backbone: str, make: Callable[[int], PreTrainedModel], kind: Any, scheduler: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = make(save_tokenizer(tmp_path)).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    pipeline = kind(text_encoder=model, tokenizer=tokenizer, vae=None, transformer=None, scheduler=scheduler())
    pipeline.save_pretrained(tmp_path, safe_serialization=True)
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text("{}")
    architecture = architecture_named(backbone, field="backbone")
    encoder = load_prompt_encoder(architecture, str(tmp_path), max_tokens=MAX_TOKENS)
    empty, *found = encoder.embed(["", *PROMPTS])
    conditions = CaptionConditions(
        rows=torch.cat([one.tokens for one in found]),
        ends=torch.tensor([len(one.tokens) for one in found]).cumsum(0),
        empty=empty.tokens,
        max_tokens=MAX_TOKENS,
        has_mask=backbone == "sana",
    )
    for ours, prompts in ((conditions.of_samples([0, 1]), PROMPTS), (conditions.none(1), [""])):
        states, mask = by_pipeline(pipeline, prompts)
        assert set(ours) == {"encoder_hidden_states", *(["encoder_attention_mask"] if mask is not None else [])}
        if mask is not None:
            assert torch.equal(ours["encoder_attention_mask"], mask)
            states = states * mask[..., None]  # what is masked is not read
        torch.testing.assert_close(ours["encoder_hidden_states"], states, rtol=1e-4, atol=1e-5)
    assert 3 <= len(found[1].tokens) < len(found[0].tokens) <= MAX_TOKENS


def qwen3(vocabulary: int) -> PreTrainedModel:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    return Qwen3Model(Qwen3Config(vocab_size=vocabulary, hidden_size=16, intermediate_size=16, **sizes))


def qwen_vl(vocabulary: int) -> PreTrainedModel:
    text = {
        "vocab_size": vocabulary,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))


@pytest.mark.parametrize(
    ("backbone", "make", "kind", "options"),
    [
        ("z_image", qwen3, ZImagePipeline, {"do_classifier_free_guidance": False}),
        ("qwen_image", qwen_vl, QwenImagePipeline, {}),
    ],
    ids=["z_image", "qwen_image"],
)
def test_prompts_inside_of_a_template(
    backbone: str, make: Callable[[int], PreTrainedModel], kind: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    """Of which Qwen-Image's pipeline leaves out the beginning."""
    torch.manual_seed(0)
    model = make(save_tokenizer(tmp_path)).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    scheduler = FlowMatchEulerDiscreteScheduler()
    pipeline = kind(text_encoder=model, tokenizer=tokenizer, vae=None, transformer=None, scheduler=scheduler)
    pipeline.save_pretrained(tmp_path, safe_serialization=True)
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text("{}")
    architecture = architecture_named(backbone, field="backbone")
    encoder = load_prompt_encoder(architecture, str(tmp_path), max_tokens=MAX_TOKENS)
    for prompt, found in zip((*PROMPTS, ""), encoder.embed([*PROMPTS, ""]), strict=True):
        with torch.inference_mode():
            states, *_ = pipeline.encode_prompt(prompt, max_sequence_length=MAX_TOKENS, device="cpu", **options)
        torch.testing.assert_close(found.tokens, states[0], rtol=1e-4, atol=1e-5)
        assert 1 <= len(found.tokens) <= MAX_TOKENS
    other = load_prompt_encoder(architecture, str(tmp_path), max_tokens=MAX_TOKENS - 1)
    assert other.digest() != encoder.digest() == load_prompt_encoder(architecture, str(tmp_path), max_tokens=9).digest()


@torch.inference_mode()
def by_pipeline(pipeline: Any, prompts: list[str]) -> tuple[Tensor, Tensor | None]:
    """As `__call__` of the pipeline embeds prompts, or, of one that is empty, a negative prompt."""
    options: dict[str, Any] = {"max_sequence_length": MAX_TOKENS}
    if isinstance(pipeline, SanaPipeline):
        asked = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
        options["complex_human_instruction"] = asked if prompts != [""] else None
    states, mask, *_ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False, device="cpu", **options)
    return states, mask

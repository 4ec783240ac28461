"""CLIP score (Hessel et al. 2021, arXiv 2104.08718): 100 times the cosine of an image's and its prompt's embeddings, at
least 0. The model is one of transformers: `objectives.quality.clip`, a folder or a name on the hub. Scores of unlike
models do not compare. What is minimised is 1 / score."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from flexsearch.errors import reading
from flexsearch.objectives.image_metric import Kind, Score, as_pictures, in_colour, per_item
from flexsearch.objectives.packages import load_package

FIELD = "objectives.quality.clip"
MODEL = "openai/clip-vit-base-patch16"
_LEAST = 1e-3


def load_clip(device: torch.device, where: str | None) -> Score:
    """Load model and processor.

    Raises:
        UserError: transformers or the weights are not there; says how to get them.
    """
    where = where or MODEL
    package = load_package("transformers", field="objectives.quality: clip_score", install="flexsearch[text]")
    advice = f"`hf download {where} --local-dir DIR`, and {FIELD}=DIR"
    with reading(f"{FIELD}: {where}", rule="could not be loaded", advice=advice):
        model = package.CLIPModel.from_pretrained(where, use_safetensors=True).eval().to(device)
        processor = package.CLIPProcessor.from_pretrained(where)

    @torch.no_grad()
    def score(images: Tensor, prompts: Sequence[str]) -> Tensor:
        pictures, frames = as_pictures(images)
        shown = [to_pil_image(picture) for picture in in_colour(pictures).cpu()]
        inputs = processor(text=list(prompts), images=shown, return_tensors="pt", padding=True, truncation=True).to(
            device
        )
        found = model(**inputs)
        seen = found.image_embeds / found.image_embeds.norm(dim=1, keepdim=True)
        read = (found.text_embeds / found.text_embeds.norm(dim=1, keepdim=True)).repeat_interleave(frames, dim=0)
        cosines: Tensor = (seen * read).sum(dim=1)
        return per_item((100 * cosines).clamp(min=0), frames)

    return score


def _describe(score: float) -> Sequence[tuple[str, float, str]]:
    return ("inverse_clip_score", 1 / max(score, _LEAST), "1"), ("clip_score", score, "1")


CLIP_SCORE = Kind(load=load_clip, compares="prompts", describe=_describe)

"""The metrics of single images, by name."""

from collections.abc import Mapping

from flexsearch.objectives.clip_score import CLIP_SCORE
from flexsearch.objectives.image_metric import Kind
from flexsearch.objectives.image_reward import IMAGE_REWARD
from flexsearch.objectives.lpips import LPIPS
from flexsearch.objectives.psnr import PSNR
from flexsearch.objectives.settings import ImageMetricName
from flexsearch.objectives.ssim import SSIM

METRICS: Mapping[ImageMetricName, Kind] = {
    "psnr": PSNR,
    "ssim": SSIM,
    "lpips": LPIPS,
    "clip_score": CLIP_SCORE,
    "image_reward": IMAGE_REWARD,
}

"""A network with one layer of features, under torch-fidelity's interface."""

from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase


class FeatureNetwork(FeatureExtractorBase):  # type: ignore[misc]
    """Base of our own extractors: subclasses give `features`."""

    def __init__(self) -> None:
        super().__init__(type(self).__name__, ["features"])

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features",)

    def features(self, images: Tensor) -> Tensor:
        """(B, D) features of uint8 images (B, C, H, W), or videos (B, C, F, H, W)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.features(images),)

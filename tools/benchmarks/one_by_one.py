"""Embeddings and label maps by the published steps taken literally, one image after the other.

PIL and torchvision transforms, one image a forward pass, attention on enlarged and normalised
features, cosine to every centroid, one PNG written after the other. No loading processes.
"""

from collections.abc import Sequence
from pathlib import Path

from luss_mm.models import PixelAttentionModel

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms

NORMALISE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class OneByOne:
    """The loop. Each step is a method, so that its time can be taken.

    Args:
        model: In eval mode; its weights are put into torch's usual memory order.
        centroids: Unit rows. Shape (K, C).
        side: Short side of the resized images.
        crop: Side of what is embedded.
        threshold: Threshold of the foreground score.
        device: Device of the model.
    """

    def __init__(
        self,
        model: PixelAttentionModel,
        centroids: Tensor,
        side: int,
        crop: int,
        threshold: float,
        device: torch.device,
    ) -> None:
        self.model = model.to(device, memory_format=torch.contiguous_format)
        self.centroids = centroids.to(device)
        self.resize = transforms.Resize(side)
        self.tensor = transforms.Compose([transforms.ToTensor(), NORMALISE])
        self.crop = crop
        self.threshold = threshold
        self.device = device

    @torch.no_grad()
    def embed(self, paths: Sequence[Path], out: Path) -> None:
        """Write the embeddings of images, `.npy`."""
        rows = []
        for path in paths:
            picture, _ = self.load(path)
            picture = transforms.functional.center_crop(self.resized(picture), self.crop)
            enlarged, gates = self.attention(self.backbone(self.normalised(picture)))
            rows.append(self.pooled(enlarged, gates))
        np.save(out, np.concatenate(rows))

    @torch.no_grad()
    def label(self, paths: Sequence[Path], folder: Path) -> None:
        """Write the label maps of images."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            picture, size = self.load(path)
            enlarged, gates = self.attention(self.backbone(self.normalised(self.resized(picture))))
            self.write(folder / f'{path.stem}.png', self.assigned(enlarged, gates, size))

    def load(self, path: Path) -> tuple[Image.Image, tuple[int, int]]:
        """Decoded image and its (height, width)."""
        with Image.open(path) as image:
            return image.convert('RGB'), (image.height, image.width)

    def resized(self, picture: Image.Image) -> Image.Image:
        """Picture of the short side."""
        return self.resize(picture)

    def normalised(self, picture: Image.Image) -> Tensor:
        """Batch of one image on the device."""
        return self.tensor(picture)[None].to(self.device)

    def backbone(self, images: Tensor) -> Tensor:
        """Deep features (1, C, h, w)."""
        return self.model.backbone(images)[-1]

    def attention(self, deep: Tensor) -> tuple[Tensor, Tensor]:
        """Enlarged features and their gates."""
        enlarged = F.interpolate(deep, scale_factor=4, mode='bilinear', align_corners=False)
        attention = self.model.attention
        return enlarged, torch.sigmoid(
            attention.layers(F.normalize(enlarged, dim=1)) + attention.offset
        )

    def pooled(self, features: Tensor, gates: Tensor) -> np.ndarray:
        """Embedding. Shape (1, C)."""
        return F.normalize((features * gates).mean((2, 3))).cpu().numpy()

    def assigned(self, features: Tensor, gates: Tensor, size: tuple[int, int]) -> np.ndarray:
        """Label map at the size of the file."""
        similarity = torch.einsum('chw,kc->khw', F.normalize(features, dim=1)[0], self.centroids)
        labels = similarity.argmax(0) + 1
        labels = F.interpolate(labels[None, None].float(), size)[0, 0]
        score = F.interpolate(gates.mean(1, keepdim=True), size, mode='bilinear')
        labels[score[0, 0] < self.threshold] = 0
        return labels.cpu().numpy().astype(np.int64)

    def write(self, path: Path, ids: np.ndarray) -> None:
        """PNG in the ImageNet-S coding."""
        rgb = np.stack([ids % 256, ids // 256, 0 * ids], axis=-1).astype(np.uint8)
        Image.fromarray(rgb).save(path)

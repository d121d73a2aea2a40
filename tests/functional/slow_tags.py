"""What an image's tags teach, pixel by pixel in Python's floats."""

import math

import torch

from tests.models.slow_segmentation import IGNORED, slow_maps


def random_batch(images=3, classes=6, size=(12, 10), cells=(5, 4), seed=0):
    """Logits, tags (an unequal number an image) and labels of which some pixels are ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, classes, *cells, generator=generator)
    tags = torch.zeros(images, classes, dtype=torch.bool)
    labels = torch.empty(images, *size, dtype=torch.int64)
    for i in range(images):
        present = torch.randperm(classes, generator=generator)[: min(classes, 1 + i % 4)]
        tags[i, present] = True
        labels[i] = present[torch.randint(len(present), size, generator=generator)]
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = IGNORED
    return logits, tags, labels


def slow_pixel_losses(logits, tags, labels):
    """Losses of every pixel that counts, image by image, from the definition."""
    for image_logits, image_tags, image_labels in zip(logits, tags, labels, strict=True):
        maps = slow_maps(image_logits, image_labels.shape)
        allowed = [c for c in range(len(maps)) if image_tags[c]]
        losses = []
        for y in range(image_labels.shape[0]):
            for x in range(image_labels.shape[1]):
                label = int(image_labels[y, x])
                if label in allowed:
                    shift = max(maps[c, y, x].item() for c in allowed)
                    total = math.fsum(math.exp(maps[c, y, x].item() - shift) for c in allowed)
                    losses.append(shift + math.log(total) - maps[label, y, x].item())
        yield losses


def slow_cross_entropy(logits, tags, labels, weights=None):
    images = list(slow_pixel_losses(logits, tags, labels))
    weights = [1.0] * len(images) if weights is None else weights.tolist()
    count = sum(map(len, images))
    return math.fsum(w * math.fsum(i) for w, i in zip(weights, images, strict=True)) / max(1, count)


def slow_tag_loss(logits, tags, valid):
    losses = []
    for i in range(len(logits)):
        if not valid[i].any():
            continue
        terms = []
        for c in range(logits.shape[1]):
            m = logits[i, c][valid[i]].max().item()
            terms.append(math.log1p(math.exp(-m if tags[i, c] else m)))
        losses.append(math.fsum(terms) / len(terms))
    return math.fsum(losses) / max(1, len(losses))

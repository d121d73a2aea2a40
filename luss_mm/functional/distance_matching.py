"""Distance matching: a pixel takes the vote of the most similar parts of a few labelled images."""

import torch
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.pixel_assignment import resize_nearest

IGNORE_INDEX = 1000
NEIGHBOURS = 10
TEMPERATURE = 0.07
MAX_BYTES = 256 * 2**20
# A similarity takes 4 bytes, and 20 more in a row that must be sorted because of ties.
SIMILARITY_BYTES = 24
VOTE_BYTES = 12  # of each pair of neighbours
CHANNEL_BYTES = 8  # a feature, wide and normalised


@torch.no_grad()
def reference_vectors(
    features: Tensor, mask: Tensor, ignore_index: int = IGNORE_INDEX
) -> tuple[Tensor, Tensor]:
    """A direction for each category of a labelled image.

    The mean over all positions of features that are set to 0 outside the category, over its length.
    (The length takes away the number of positions, so a sum will do.) The mask comes to the
    features' resolution by nearest neighbour, see `resize_nearest`: a category without a cell there
    has no direction.

    Args:
        features: Enlarged feature map, any float dtype, not normalised. Shape (C, h, w).
        mask: Category ids, 0 included, any integer dtype and size. Shape (H, W).
        ignore_index: Id of pixels that belong to no category.

    Returns:
        Unit rows, float32 (R, C), and their categories, int64 ascending (R,). R is 0 where all
        cells are ignored; features that are all 0 leave a row of zeros.

    Source: Gao et al., TPAMI 2022 (ImageNet-S), distance matching.
    """
    cells = resize_nearest(mask.to(features.device).long(), features.shape[1:])
    categories, members = cells.flatten().unique(return_inverse=True)
    kept = categories != ignore_index
    with torch.autocast(features.device.type, enabled=False):
        belongs = F.one_hot(members, len(categories)).T.float()  # (R, h * w)
        sums = belongs @ features.flatten(1).T.float()  # (R, C)
    return F.normalize(sums, dim=1)[kept], categories[kept]


@torch.no_grad()
def vote_of_neighbours(
    features: Tensor,
    directions: Tensor,
    categories: Tensor,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
    max_bytes: int = MAX_BYTES,
) -> Tensor:
    """Category of every pixel by its most similar references.

    Each of the `neighbours` references with the largest cosine votes for its category with weight
    exp(cos / temperature). Of equal cosines the earlier reference counts, of equal votes the lowest
    category wins. Similarities are float32, also under autocast; pixels go in chunks, each of which
    takes up to `max_bytes`, however many categories there are.

    Args:
        features: Enlarged feature maps, any float dtype and length (a zero vector is equally far
            from all references). Shape (B, C, h, w).
        directions: Unit rows. Shape (R, C).
        categories: Categories of the references, integer. Shape (R,).
        neighbours: How many vote; all where there are fewer.
        temperature: Temperature of the weights, > 0.
        max_bytes: Budget of a chunk (at least one pixel).

    Returns:
        Categories, int64. Shape (B, h, w).

    Raises:
        ValueError: If there is no reference, neighbour or temperature.

    Source: Gao et al., TPAMI 2022 (ImageNet-S): 10 neighbours, temperature .07.
    """
    if len(directions) == 0:
        raise ValueError('no references: no labelled image has a pixel of any category')
    if neighbours < 1 or temperature <= 0:
        raise ValueError(
            f'neighbours and temperature are positive, not {neighbours} and {temperature}'
        )
    device = features.device
    directions, categories = directions.to(device).float(), categories.to(device).long()
    pixels = features.permute(0, 2, 3, 1).flatten(0, 2)  # (B * h * w, C)
    labels = torch.empty(len(pixels), dtype=torch.int64, device=device)
    pixel_bytes = (
        SIMILARITY_BYTES * len(directions)
        + VOTE_BYTES * neighbours**2
        + CHANNEL_BYTES * features.shape[1]
    )
    chunk = max(1, max_bytes // pixel_bytes)
    with torch.autocast(device.type, enabled=False):
        for some, voted in zip(pixels.split(chunk), labels.split(chunk), strict=True):
            similarity = F.normalize(some.float(), dim=1) @ directions.T  # (n, R)
            values, places = _most_similar(similarity, neighbours)
            voted.copy_(_weighted_vote(values, categories[places], temperature))
    return labels.view(len(features), *features.shape[2:])


def _most_similar(similarity: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """The largest similarities (n, k) in falling order and their columns; the earlier of equals."""
    if similarity.shape[1] <= neighbours:
        return similarity.sort(dim=1, descending=True, stable=True)
    values, places = similarity.topk(neighbours + 1, dim=1)
    # Which of equals topk takes is left open: it matters where the last and the next are equal.
    tied = (values[:, -2] == values[:, -1]).nonzero().flatten()
    if len(tied):
        ordered = similarity[tied].sort(dim=1, descending=True, stable=True)
        values[tied] = ordered.values[:, : neighbours + 1]
        places[tied] = ordered.indices[:, : neighbours + 1]
    return values[:, :-1], places[:, :-1]


def _weighted_vote(values: Tensor, voters: Tensor, temperature: float) -> Tensor:
    """Category with the largest sum of weights, of equals the lowest. (n, k), (n, k) to (n,)."""
    # Less the largest: the same factor for all of a pixel's votes, which cannot overflow.
    weights = ((values - values[:, :1]) / temperature).exp()
    agree = voters[:, :, None] == voters[:, None, :]  # (n, k, k)
    votes = (agree * weights[:, None, :]).sum(dim=2)  # (n, k)
    won = votes == votes.amax(dim=1, keepdim=True)
    return voters.masked_fill(~won, torch.iinfo(voters.dtype).max).amin(dim=1)

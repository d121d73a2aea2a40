"""Where CutMix will paste: drawn with the view, pasted by the model, which has both batches."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


def draw_box(
    height: int, width: int, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Draw a box of random area and shape that lies wholly inside an image.

    The area comes first and is kept. The shape is drawn among those that fit, which is what drawing
    again until one fits would give. Where no allowed shape fits (very long images), the box spans
    the short side.

    Args:
        height: Of the image in pixels.
        width: Of the image in pixels.
        area: Bounds of the box's share of the image area; uniform.
        ratio: Bounds of box width / box height; log-uniform, so wide and tall ones are alike.

    Returns:
        left, top, box width, box height in pixels; the place is uniform. At least one pixel.
    """
    pixels = height * width * np.random.uniform(*area)
    fitting = np.clip(ratio, pixels / height**2, width**2 / pixels)
    aspect = np.exp(np.random.uniform(*np.log(fitting)))
    box_width = min(width, max(1, round(np.sqrt(pixels * aspect))))
    box_height = min(height, max(1, round(np.sqrt(pixels / aspect))))
    left = np.random.randint(width - box_width + 1)
    top = np.random.randint(height - box_height + 1)
    return left, top, box_width, box_height


def draw_box_anywhere(
    height: int, width: int, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Draw a box as the code of DSSN does: shape and corner again until the box lies inside.

    box height / box width is uniform, so more boxes are tall than wide, and large boxes, which fit
    in few places, keep the shapes that fit in most. Arguments and result as of `draw_box`, but for
    the ratio, which is height / width here; sizes are rounded down, a box may have no pixel.
    """
    pixels = height * width * np.random.uniform(*area)
    fitting = np.clip(ratio, pixels / width**2, height**2 / pixels)  # others never lie inside
    while True:
        aspect = np.random.uniform(*fitting)
        box_width, box_height = int(np.sqrt(pixels / aspect)), int(np.sqrt(pixels * aspect))
        left, top = np.random.randint(width), np.random.randint(height)
        if left + box_width <= width and top + box_height <= height:
            return left, top, box_width, box_height


SHAPES = dict(log_uniform=draw_box, uniform=draw_box_anywhere)


@TRANSFORMS.register_module()
class DrawCutMixBox(BaseTransform):
    """Draws where another image will be pasted into this view; see `functional.cutmix`.

    It comes after the last transform that moves pixels, since the box is in pixels of the view.
    Every view draws its own.

    Args:
        prob: Of a box.
        area: Bounds of the box's share of the view's area, padding included; uniform.
        ratio: Bounds of box width / box height; log-uniform.
        shapes: 'log_uniform', or 'uniform' as DSSN's code draws them (`draw_box_anywhere`), where
            `ratio` bounds box height / box width.

    Sets:
        cutmix_box: (left, top, width, height) in pixels, or None.

    Raises:
        ValueError: If the bounds are no shares or ratios, or there are no such shapes.

    Source: Yun et al. 2019, CutMix; the bounds are those of DSSN.
    """

    def __init__(
        self,
        prob: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
        shapes: str = 'log_uniform',
    ) -> None:
        if not 0 < area[0] <= area[1] <= 1:
            raise ValueError(f'area={tuple(area)}: expected 0 < smallest <= largest <= 1.')
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f'ratio={tuple(ratio)}: expected 0 < smallest <= largest.')
        if shapes not in SHAPES:
            raise ValueError(f'shapes is one of {", ".join(SHAPES)}, not {shapes!r}')
        self.draw = SHAPES[shapes]
        self.prob = prob
        self.area = tuple(area)
        self.ratio = tuple(ratio)

    def transform(self, results: dict) -> dict:
        """Set results['cutmix_box']."""
        drawn = np.random.rand() < self.prob
        height, width = results['img'].shape[:2]
        results['cutmix_box'] = self.draw(height, width, self.area, self.ratio) if drawn else None
        return results

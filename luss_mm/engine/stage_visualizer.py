"""The visualizer of a finished stage, for mmseg's own tools and functions."""

from mmseg.registry import VISUALIZERS
from mmseg.visualization import SegLocalVisualizer

MOST_IDS = 256  # that 8 bits hold


@VISUALIZERS.register_module()
class StageVisualizer(SegLocalVisualizer):
    """mmseg's visualizer, which does not let its inferencer write label maps that 8 bits cut.

    `MMSegInferencer(..., out_dir=DIR)` saves ids as bytes, so that id 256 becomes 0. It draws each
    picture into a file before it saves the label map, and nobody else in mmseg names a file to a
    visualizer from a config.
    """

    def add_datasample(self, *args: object, out_file: str | None = None, **kwargs: object) -> None:
        """Draw, see `SegLocalVisualizer`.

        Raises:
            ValueError: If a file is named and the model has more than 256 ids.
        """
        ids = len((self.dataset_meta or {}).get('classes') or ())
        if out_file is not None and ids > MOST_IDS:
            raise ValueError(
                f'out_dir: MMSegInferencer saves label maps of 8 bits, which cannot hold the {ids} '
                'ids of this model. Leave out_dir out and save what it returns, or run '
                'tools/infer.py, which writes id = R + 256 G.'
            )
        super().add_datasample(*args, out_file=out_file, **kwargs)

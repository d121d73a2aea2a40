"""Images of several data sets under label maps that a run has made for them."""

from collections.abc import Sequence
from pathlib import Path

from mmseg.registry import DATASETS

from luss_mm.datasets.seeded_dataset import IGNORE_INDEX, SeededDataset, make_entry


@DATASETS.register_module()
class RelabelledDataset(SeededDataset):
    """The images of several data sets, each with a label map of one folder.

    Of images with one relative path the first counts, as the label maps know only one: `train-semi`
    may hold copies of images of `train`.

    Args:
        parts: Configs of the data sets; their masks, tags and pipelines are left aside.
        data_prefix: `seg_map_path`: folder with the label maps `<relative path without
            suffix>.png` in the ImageNet-S coding, or '' for none. They may be made later.
        seed: Of the run; sample i of epoch e draws from (seed, e, i).
        ignore_index: Id of pixels that do not count.
        metainfo: Instead of that of the first part.
        **kwargs: As mmseg's BaseSegDataset: pipeline, indices, test_mode ...
    """

    def __init__(
        self,
        parts: Sequence[dict],
        data_prefix: dict,
        seed: int = 0,
        ignore_index: int = IGNORE_INDEX,
        metainfo: dict | None = None,
        **kwargs: object,
    ) -> None:
        self.parts = [DATASETS.build(dict(part, pipeline=[])) for part in parts]
        self.image_folders = [folder for part in self.parts for folder in part.image_folders]
        self.given_folders = [folder for part in self.parts for folder in part.given_folders]
        folder = data_prefix.get('seg_map_path')
        self.label_folder = Path(folder) if folder else None
        known = {k: v for k, v in self.parts[0].metainfo.items() if k in ('classes', 'palette')}
        super().__init__(
            names=None,
            seed=seed,
            ignore_index=ignore_index,
            metainfo=known | dict(metainfo or {}),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """One small dict an image, part by part."""
        entries: dict[str, dict] = {}
        for part in self.parts:
            for index in range(len(part)):
                relative = part.relative_path(index)
                if relative not in entries:
                    image = part.get_data_info(index)['img_path']
                    entries[relative] = make_entry(image, self._label_map(relative))
        return list(entries.values())

    def _label_map(self, relative: str) -> Path | None:
        return self.label_folder and (self.label_folder / relative).with_suffix('.png')

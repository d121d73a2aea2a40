"""Images and masks in."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    class_labels=('ClassLabelDataset',),
    coarse_classes=('Cityscapes27Dataset', 'COCOStuff27Dataset', 'Potsdam3Dataset'),
    endless_samplers=('IterationSampler', 'SemiSampler'),
    image_list=(
        'CityscapesListDataset',
        'COCOListDataset',
        'ImageListDataset',
        'VOCListDataset',
    ),
    label_map_file=('IGNORE_INDEX',),
    luss_dataset=('LUSSDataset',),
    sample_seed=('EpochIndex', 'EpochSampler', 'sample_randomness'),
    seeded_dataset=('SeededDataset',),
    semi_dataset=('RelabelledDataset', 'SemiDataset'),
    transforms=(),
)

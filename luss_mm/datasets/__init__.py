"""Images and masks in."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    cached_maps=('CropCachedMaps', 'FlipCachedMaps', 'LoadCachedMaps', 'PackCachedMaps'),
    luss_dataset=('ClassLabelDataset', 'LUSSDataset'),
    mask_files=('IGNORE_INDEX',),
    published_classes=(
        *('CityscapesListDataset', 'COCOListDataset', 'ImageListDataset', 'VOCListDataset'),
        *('Cityscapes27Dataset', 'COCOStuff27Dataset', 'Potsdam3Dataset'),
    ),
    samplers=(
        *('EpochIndex', 'EpochSampler', 'IterationSampler', 'SemiSampler'),
        'sample_randomness',
    ),
    seeded_dataset=('SeededDataset',),
    semi_dataset=('RelabelledDataset', 'SemiDataset'),
    transforms=(),
)

"""Images and masks in."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    cityscapes=('CityscapesListDataset',),
    class_labels=('ClassLabelDataset',),
    coarse_classes=('Cityscapes27Dataset', 'COCOStuff27Dataset', 'Potsdam3Dataset'),
    coco=('COCOListDataset',),
    endless_passes=('IterationSampler',),
    image_list=('ImageListDataset',),
    label_map_file=('IGNORE_INDEX',),
    luss_dataset=('LUSSDataset',),
    relabelled=('RelabelledDataset',),
    sample_seed=('EpochIndex', 'EpochSampler', 'sample_randomness'),
    seeded_dataset=('SeededDataset',),
    semi_dataset=('SemiDataset',),
    semi_sampler=('SemiSampler',),
    transforms=(),
    voc=('VOCListDataset',),
)

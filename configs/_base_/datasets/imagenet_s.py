# ImageNet-S: as any folder, with the official category names.
_base_ = './luss.py'
loading = dict(stored_pixels=True)  # no EXIF orientation, as masks and official toolbox
validation_dataset = dict(
    _delete_=True,
    type='ImageNetSDataset',
    subset='${num_categories}',
    data_root='${data_root}',
    data_prefix=dict(img_path='validation', seg_map_path='validation-segmentation'),
    ignore_index='${ignore_index}',
    seed='${seed}',
    test_mode=True,
    pipeline='${validation_pipeline}',
)

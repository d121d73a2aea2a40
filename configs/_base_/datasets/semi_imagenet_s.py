# ImageNet-S: as any folder, with the official category names. The masks of train-semi are 1 %.
_base_ = './semi_own_folder.py'
data_root = 'data/ImageNetS50'
resize_side = 256
loading = dict(stored_pixels=True)  # no EXIF orientation, as masks and official toolbox
labelled_dataset = dict(type='ImageNetSDataset', subset='${num_categories}')
unlabelled_dataset = dict(type='ImageNetSDataset', subset='${num_categories}')
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

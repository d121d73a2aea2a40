# ImageNet-S with the masks of `train-semi`, about 1 % of the training images.
data_root = 'data/ImageNetS919'
num_categories = 919
resize_side = 256  # short side for inference
crop_size = 224
evaluate = True  # needs the validation masks

stored_pixels = True  # no EXIF orientation, as masks and official toolbox

loading = dict(type='LoadBoundedImage', max_side='${max_side}', stored_pixels='${stored_pixels}')
packing = dict(
    type='PackSegInputs',
    meta_keys=('img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'flip', 'flip_direction'),
)
validation_pipeline = [
    '${loading}',
    dict(type='ResizeShortSide', side='${resize_side}'),
    dict(type='LoadLabelMap', match_image=False),
    '${packing}',
]
training_dataset = dict(
    type='ImageNetSDataset',
    subset='${num_categories}',
    data_root='${data_root}',
    data_prefix=dict(img_path='train-semi', seg_map_path='train-semi-segmentation'),
    ignore_index='${ignore_index}',
    seed='${seed}',
    pipeline='${training_pipeline}',
)
validation_dataset = dict(
    type='ImageNetSDataset',
    subset='${num_categories}',
    data_root='${data_root}',
    data_prefix=dict(img_path='validation', seg_map_path='validation-segmentation'),
    ignore_index='${ignore_index}',
    seed='${seed}',
    test_mode=True,
    pipeline='${validation_pipeline}',
)

# A folder in the ImageNet-S layout: masks of train-semi, images of train, scores on validation.
data_root = 'data/images'
num_categories = 50
num_classes = '${num_categories + 1}'  # id 0 is everything else
max_side = 2048  # larger images are shrunk on loading
resize_side = 96  # short side for inference
evaluate = True  # needs the validation masks
inference = dict(mode='whole')
image_tags = None  # of unlabelled images: 'folders'

loading = dict(type='LoadBoundedImage', max_side='${max_side}')
label_loading = dict(type='LoadLabelMap')
validation_pipeline = [
    '${loading}',
    dict(type='ResizeShortSide', side='${resize_side}'),
    dict(type='LoadLabelMap', match_image=False),
    dict(
        type='PackSegInputs',
        meta_keys=('img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'flip', 'flip_direction'),
    ),
]
labelled_dataset = dict(
    type='LUSSDataset',
    data_root='${data_root}',
    data_prefix=dict(img_path='train-semi', seg_map_path='train-semi-segmentation'),
    ignore_index='${ignore_index}',
    seed='${seed}',
    pipeline='${labelled_pipeline}',
)
unlabelled_dataset = dict(
    type='LUSSDataset',
    data_root='${data_root}',
    data_prefix=dict(img_path='train', seg_map_path=''),
    tags='${image_tags}',
    ignore_index='${ignore_index}',
    seed='${seed}',
    pipeline='${unlabelled_pipeline}',
)
validation_dataset = dict(
    type='LUSSDataset',
    data_root='${data_root}',
    data_prefix=dict(img_path='validation', seg_map_path='validation-segmentation'),
    categories='folders',
    ignore_index='${ignore_index}',
    seed='${seed}',
    test_mode=True,
    pipeline='${validation_pipeline}',
)
metric = dict(
    type='CategoryIoUMetric', num_categories='${num_categories}', ignore_index='${ignore_index}'
)

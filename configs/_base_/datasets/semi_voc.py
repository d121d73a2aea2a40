# PASCAL VOC 2012 with lists `image mask` a line, relative to data_root: the labelled and the
# unlabelled images of a split, and val.txt. Masks are palette PNGs; their void pixels do not count.
data_root = 'data/VOC2012'
split_root = 'data/splits/voc'
split = '1_8'
num_classes = 21
max_side = 2048  # larger images are shrunk on loading
evaluate = True  # needs the validation masks
inference = dict(mode='whole')
image_tags = None  # of unlabelled images: 'masks', or a file with lines `image id id ...`

loading = dict(type='LoadBoundedImage', max_side='${max_side}')
label_loading = dict(type='LoadIndexedLabelMap', ignore_index='${ignore_index}')
validation_pipeline = [
    '${loading}',
    dict(type='LoadIndexedLabelMap', ignore_index='${ignore_index}', match_image=False),
    dict(
        type='PackSegInputs',
        meta_keys=('img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'flip', 'flip_direction'),
    ),
]
labelled_dataset = dict(
    type='VOCListDataset',
    data_root='${data_root}',
    image_list='${split_root}/${split}/labeled.txt',
    ignore_index='${ignore_index}',
    seed='${seed}',
    pipeline='${labelled_pipeline}',
)
unlabelled_dataset = dict(
    type='VOCListDataset',
    data_root='${data_root}',
    image_list='${split_root}/${split}/unlabeled.txt',
    masks=False,
    tags='${image_tags}',
    ignore_index='${ignore_index}',
    seed='${seed}',
    pipeline='${unlabelled_pipeline}',
)
validation_dataset = dict(
    type='VOCListDataset',
    data_root='${data_root}',
    image_list='${split_root}/val.txt',
    ignore_index='${ignore_index}',
    seed='${seed}',
    test_mode=True,
    pipeline='${validation_pipeline}',
)
metric = dict(type='IoUMetric', iou_metrics=['mIoU'], ignore_index='${ignore_index}')

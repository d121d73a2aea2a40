# A folder in the ImageNet-S layout: train/, validation/, validation-segmentation/.
data_root = 'data/images'
num_categories = 50  # kinds of objects to tell apart; None, for folders: found by a rule of thumb
train_split = 'train'  # folder of data_root with the images that are clustered
pretrain_splits = ['${train_split}']
max_side = 2048  # larger images are shrunk on loading
resize_side = 256  # short side for label maps and inference
crop_size = 224
evaluate = True  # needs the validation masks

loading = dict(type='LoadBoundedImage', max_side='${max_side}')
# True: every image becomes a square, as PDSO's Jittor makes it, and DFF sees the whole of it
square_resize = False
resizing_type = "${'ResizeSquare' if square_resize else 'ResizeShortSide'}"  # resizes images
resizing = dict(type='${resizing_type}', side='${resize_side}')
label_loading = dict(type='LoadLabelMap', match_image=False)  # of validation masks
packing = dict(
    type='PackSegInputs',
    meta_keys=(
        'img_path',
        'sample_idx',
        'seg_map_path',
        'ori_shape',
        'img_shape',
        'flip',
        'flip_direction',
    ),
)
validation_pipeline = [
    '${loading}',
    '${resizing}',
    '${label_loading}',
    '${packing}',
]
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
unscored_dataset = dict(  # drawn where evaluate is False
    type='LUSSDataset',
    data_root='${data_root}',
    data_prefix=dict(img_path='${train_split}'),
    pipeline=['${loading}', '${resizing}', '${packing}'],
)

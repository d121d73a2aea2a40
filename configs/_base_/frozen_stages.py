# PDSO without DFF on a frozen backbone: its maps of the training images are computed once and kept,
# and clustering, pixel labels and the training of the head read them. A recipe sets crop_size to
# resize_side, a multiple of the coarsest of `map_strides`, and `output_channels` to the channels of
# `map_outputs`. finetune_epochs=None there finds the epochs from the number of images.
_base_ = './foreground_stages.py'

use_dff = False  # it trains the backbone, of which the maps then are
use_csd = False  # its clusters were no better, see docs/results.md
spo_prompts = 'score'
sigma = 4.0  # the largest squared distance there is: every category of the label map is prompted
segmenter = dict(_delete_=True, type='GrabCutSegmenter')

cache_maps = True  # False keeps nothing on the disk and runs the backbone in every step
feature_maps = '${work_dir}/feature_maps'  # may be deleted when the run is finished
map_outputs = [0, 1, 2]  # of the backbone, for the head; in_index is one of them
map_strides = [8, 16, 16]  # pixels between cells of these outputs
maps_hook = '${feature_maps_hook if cache_maps else None}'
feature_maps_hook = dict(type='FeatureMapsHook', source='${feature_source}')
feature_source = dict(maps='${feature_maps if cache_maps else None}', map_outputs='${map_outputs}')
embedding_dataset = dict(pipeline=['${loading}', '${resizing}', dict(type='PackImage')])

# Two more heads, each of which learns every other image, contradict labels of the images that they
# have not learnt (object or background). These pixels teach the head only which object it is.
check_labels = True
check_labels_from = 0.3  # share of the iterations that come before
checking_hook = dict(type='SelfTrainingHook', start='${check_labels_from}')
label_check_hook = '${checking_hook if check_labels else None}'

use_pyramid_head = True
category_window = '${label_window}'  # of predictions: a pixel takes the category around it
pyramid_head = dict(
    type='PooledCategoryHead',
    in_index='${map_outputs}',
    channels=64,
    category_window='${category_window}',
)
cached_samples = [
    dict(
        type='LoadCachedMaps',
        directory='${feature_maps}',
        side='${resize_side}',
        channels='${output_channels}',
        strides='${map_strides}',
    ),
    dict(type='LoadLabelMap', match_image=False),
    dict(
        type='CropCachedMaps',
        size='${crop_size}',
        strides='${map_strides}',
        ignore_index='${ignore_index}',
    ),
    dict(type='FlipCachedMaps', prob=0.5),
    dict(type='PackCachedMaps'),
]
image_samples = [
    '${loading}',
    dict(type='LoadLabelMap'),
    dict(type='RandomResizedSegCrop', size='${crop_size}', scale='${finetune_scale}'),
    dict(type='RandomFlip', prob=0.5),
    '${packing}',
]

stages = dict(
    finetune=dict(
        # The very backbone whose maps are kept: batch statistics may have changed in `attention`.
        load_from='${feature_source.checkpoint}',
        model=dict(
            type='FrozenSegmentor',
            map_outputs='${map_outputs}',
            check_labels='${check_labels}',
            data_preprocessor=dict(type='MapsPreprocessor'),
        ),
        train_dataloader=dict(
            dataset=dict(pipeline='${cached_samples if cache_maps else image_samples}')
        ),
    ),
)

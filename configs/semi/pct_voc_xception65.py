"""Learning Pseudo Labels on PASCAL VOC 2012 (aug), DeepLabv3+ on Xception-65.

Run     python tools/train.py configs/semi/pct_voc_xception65.py --cfg-options \
            data_root=VOC2012 split_root=LISTS split=92 checkpoint=FILE.pth
        (LISTS/92/labeled.txt and unlabeled.txt, LISTS/val.txt: lines `image mask`)
        (FILE.pth: timm's weights, converted by tools/convert_checkpoint.py timm-xception)
Time    not measured
Score   none published; ours not measured
Labels  masks of the labelled images: training, copied into the label maps; image tags of all other
        training images (from their masks; image_tags=FILE takes lines `image id id ...`): training;
        image tags of the validation images (from their masks; or validation_tags=FILE): H and P
        predict nothing else; validation masks: scoring. The pretrained weights have seen the
        image-level labels of ImageNet
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/semi_voc.py',
    '../_base_/models/deeplabv3plus_xception65.py',
    '../_base_/schedules/schedule_pct_voc.py',
    '../_base_/pct_published.py',
]

split = '92'
image_tags = 'masks'
validation_dataset = dict(tags='${validation_tags}')
validation_pipeline = '${whole_labelled_pipeline}'
checkpoint_interval = 1000  # iterations
decode_head = dict(shallow_kernel=3, aspp_dropout=0.5)

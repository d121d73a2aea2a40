"""Learning Pseudo Labels on COCO 2017, DeepLabv3+ on ResNet-101.

Run     python tools/train.py configs/semi/pct_coco_resnet101.py --cfg-options \
            data_root=COCO split_root=LISTS split=1_128 checkpoint=FILE.pth
        (LISTS/1_128/labeled.txt and unlabeled.txt, LISTS/val.txt: lines `image mask`)
        (FILE.pth: a ResNet with a stem of three convolutions, converted by
        tools/convert_checkpoint.py deep-stem-resnet)
Time    not measured
Score   none published; ours not measured
Labels  masks of the labelled images: training, copied into the label maps; image tags of all other
        training images (from their masks; image_tags=FILE takes lines `image id id ...`): training;
        image tags of the validation images (from their masks; or validation_tags=FILE): H and P
        predict nothing else; validation masks: scoring. The pretrained weights have seen the
        image-level labels of ImageNet

The authors have published no run on COCO: the settings are those of VOC.
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/semi_coco.py',
    '../_base_/models/deeplabv3plus_v1c_resnet101.py',
    '../_base_/schedules/schedule_pct_voc.py',
    '../_base_/pct_published.py',
]

image_tags = 'masks'
validation_dataset = dict(tags='${validation_tags}')
validation_pipeline = '${whole_labelled_pipeline}'
checkpoint_interval = 1000  # iterations
backbone = dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
decode_head = dict(shallow_kernel=3, aspp_dropout=0.5)

"""RF-ConvNeXt-T, merge: the branches of multiple as one larger kernel each.

Run     bash tools/dist_train.sh configs/imagenet_s/rf_convnext_tiny_merge.py 8 --cfg-options \
            data_root=DATA/ImageNetS919 multiple=work_dirs/rf_convnext_tiny_multiple/finetune
Time    not measured
Score   51.3 / 51.1 mIoU val / test, quoted from ImageNetSegModel; ours not measured
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi). The pretrained weights have seen
        the image-level labels of ImageNet

Run rf_convnext_tiny_multiple first. Only the norm, the head and the convolutions whose dilation is
over 1 are trained. Layer decay .55 (1 for those convolutions) is that of the authors' command.
"""

_base_ = './convnext_tiny.py'

multiple = 'work_dirs/rf_convnext_tiny_multiple/finetune'
checkpoint = '${work_dir}/merge/merged.pth'
structure = '${work_dir}/merge/receptive_fields.json'
# Changed convolutions train at 10 x base_lr, which does not fall.
layer_decay = 0.55
searched_rates = dict(layer_decay=1.0, multiplier=10)
stage_order = ['merge', 'finetune']
stages = dict(
    merge=dict(
        task=dict(
            type='MergeReceptiveFields',
            checkpoint='${multiple}/final.pth',
            num_branches=3,
            expansion=0.5,
        )
    ),
    finetune=dict(
        model=dict(
            type='ReceptiveFieldSegmentor',
            mode='merge',
            structure='${structure}',
            num_branches=3,
            expansion=0.5,
        )
    ),
)

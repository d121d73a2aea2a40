"""A linear layer on the deepest map of a frozen backbone: the plain thing beside supervised_photos.

Run     python tools/train.py configs/semi/linear_photos.py --cfg-options data_root=DIR \
            num_categories=13
Time    see docs/results.md
Score   see docs/results.md
Labels  ImageNet's labels trained the backbone; train-semi masks: training; validation masks:
        scoring. Predicted ids are category ids: nothing is matched (protocol semi)
"""

_base_ = './supervised_photos.py'

decode_head = dict(
    _delete_=True,
    type='LinearHead',
    in_index=2,
    in_channels=320,
    num_classes='${num_classes}',
    align_corners=False,
    ignore_index='${ignore_index}',
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
)

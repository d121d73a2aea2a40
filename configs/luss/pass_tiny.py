"""PASS on images that it renders itself: the five-minute tour and the end-to-end test.

Run     python tools/train.py configs/luss/pass_tiny.py
Time    see docs/results.md
Score   see docs/results.md
Labels  validation masks for matching and scoring only
"""

_base_ = './pass_folder.py'

stage_order = ['data', 'pretrain', 'attention', 'finetune']
data_root = '${work_dir}/data'
num_categories = 7
stages = dict(
    data=dict(
        task=dict(
            type='RenderTinyShapes', num_train=1000, num_validation=210, image_size=96, seed='${seed}'
        )
    )
)

# A narrow network on small views: minutes on two CPU cores.
backbone = dict(base_channels=16, stem_channels=16)
feature_channels = 128
hidden_channels = 128
resize_side = 96
crop_size = 96
pretrain_epochs = 50
pretrain_views = [
    dict(num=2, size=64, scale=(0.3, 1.0)),
    dict(num=2, size=40, scale=(0.08, 0.3)),
]
attention_epochs = 5
finetune_epochs = 10

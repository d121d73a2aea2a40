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
            type='RenderTinyShapes',
            num_train=1000,
            num_validation=210,
            image_size=96,
            seed='${seed}',
        )
    )
)

"""Learning Pseudo Labels on a folder: masks of train-semi, category folders of train as image tags.

Run     python tools/train.py configs/semi/pct_folder.py --cfg-options data_root=DIR \
            num_categories=14 checkpoint=work_dirs/pass_folder/pretrain/final.pth
Time    caltech13: 600 iterations of 0.4 s, then 1881 of 0.3 s, on one core (AMD EPYC), no
        GPU, 2026-11-21
Score   see docs/results.md
Labels  train-semi masks: training, copied into the label maps; category folders of train: image
        tags for training; image tags of the validation images (from their masks; or
        validation_tags=folders): H and P predict nothing else; validation masks: scoring. Predicted
        ids are category ids: nothing is matched. The tags make this protocol free, not semi
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/semi_own_folder.py',
    '../_base_/models/deeplabv3plus_small.py',
    '../_base_/schedules/schedule_pct_folder.py',
    '../_base_/pct_stages.py',
]

image_tags = 'folders'
validation_dataset = dict(tags='${validation_tags}')
validation_pipeline = '${whole_labelled_pipeline}'
checkpoint_interval = 100  # iterations
num_workers = 2

"""PASS on images that it renders itself: the five-minute tour and the end-to-end test.

Run     python tools/train.py configs/luss/pass_tiny.py
Time    see docs/results.md
Score   see docs/results.md
Labels  validation masks for matching and scoring only
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/resnet18_small.py',
    '../_base_/datasets/luss.py',
    '../_base_/schedules/schedule_pass_folder.py',
    '../_base_/pdso_stages.py',
]

stage_order = ['data', 'pretrain', 'attention', 'finetune']
data_root = '${work_dir}/data'
num_categories = 7
evaluate = True
resize_side = 96
crop_size = 96
num_workers = 2
checkpoint_interval = 5
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

# What a pixel of these images is shows in the texture close by: three stages at stride 8. (Smooth
# objects need the wider view of stage 4, see docs/results.md.)
backbone = dict(num_stages=3, out_indices=(0, 1, 2), strides=(1, 2, 1), dilations=(1, 1, 1))
in_index = 2
feature_channels = 128
attention_epochs = 6
attention_upsample = 2
shallow_heads = [
    dict(
        type='DeepToShallowHead',
        in_index=1,
        in_channels='${feature_channels // 2}',
        hidden_channels='${hidden_channels}',
        embedding_channels='${embedding_channels}',
    )
]

kmeans_iterations = 20
kmeans_restarts = 30
kmeans_initialization = 'random'  # as PASS
kmeans_components = None
kmeans_neighbours = 0
foreground_threshold = 'otsu'
label_batch_size = 32
finetune_epochs = 10
finetune_batch_size = 32
finetune_lr = 0.001
finetune_optimizer = dict(type='AdamW', lr='${finetune_lr}', weight_decay=0.05)

"""PDSO on images that it renders itself, with GrabCut in the place of SAM.

Run     python tools/train.py configs/luss/pdso_tiny.py
Time    see docs/results.md
Score   see docs/results.md
Labels  validation masks for matching and scoring only
"""

_base_ = './pdso_folder.py'

stage_order = ['data', 'pretrain', 'attention', 'dff_f', 'dff_g', 'dff_h', 'finetune']
data_root = '${work_dir}/data'
num_categories = 7
evaluate = True
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

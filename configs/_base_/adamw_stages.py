# For transformers and ConvNeXt, which SGD and LARS train badly from scratch: AdamW, a warm-up,
# clipped gradients, and no weight decay of norms, biases and position embeddings.
_base_ = './any_backbone_stages.py'

pretrain_warmup_epochs = 10  # as DINO
finetune_warmup_epochs = 1
largest_gradient = 3.0  # norm beyond which gradients are clipped; as DINO
dff_lr = 0.0001
dff_min_lr = 1e-6
dff_optimizer = dict(_delete_=True, type='AdamW', lr='${dff_lr}', weight_decay=0.05)
weight_decay_rules = dict(
    flat_decay_mult=0.0,  # norms, biases, layer scale
    custom_keys=dict(
        pos_embed=dict(decay_mult=0.0),
        cls_token=dict(decay_mult=0.0),
        relative_position_bias_table=dict(decay_mult=0.0),
    ),
)


def warmed_up(stage):
    """What a stage with a warm-up changes; the cosine takes the epochs that are left."""
    warmup, epochs = f'{stage}_warmup_epochs', f'{stage}_epochs'
    return dict(
        optim_wrapper=dict(
            clip_grad=dict(max_norm='${largest_gradient}'), paramwise_cfg='${weight_decay_rules}'
        ),
        param_scheduler=[
            dict(
                type='LinearLR',
                start_factor=0.001,
                end=f'${{{warmup}}}',
                by_epoch=True,
                convert_to_iter_based=True,
            ),
            dict(
                type='CosineAnnealingLR',
                begin=f'${{{warmup}}}',
                T_max=f'${{{epochs} - {warmup}}}',
                end=f'${{{epochs}}}',
                eta_min=f'${{{stage}_min_lr}}',
                by_epoch=True,
                convert_to_iter_based=True,
            ),
        ],
    )


stages = dict(pretrain=warmed_up('pretrain'), finetune=warmed_up('finetune'))

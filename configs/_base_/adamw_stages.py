# For transformers and ConvNeXt, which SGD and LARS train badly from scratch: AdamW, a warm-up,
# clipped gradients, and no weight decay of norms, biases and position embeddings.
_base_ = './any_backbone_stages.py'

pretrain_warmup_epochs = 10  # as DINO
pretrain_warmup_start = 0.001
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


def regularized():
    """What the optimizer wrapper of a training has besides its optimizer."""
    return dict(
        clip_grad=dict(max_norm='${largest_gradient}'), paramwise_cfg='${weight_decay_rules}'
    )


stages = dict(
    pretrain=dict(optim_wrapper=regularized()),
    finetune=dict(
        optim_wrapper=regularized(),
        param_scheduler=[
            dict(
                type='LinearLR',
                start_factor=0.001,
                end='${finetune_warmup_epochs}',
                by_epoch=True,
                convert_to_iter_based=True,
            ),
            dict(
                type='CosineAnnealingLR',
                begin='${finetune_warmup_epochs}',
                T_max='${finetune_epochs - finetune_warmup_epochs}',
                end='${finetune_epochs}',
                eta_min='${finetune_min_lr}',
                by_epoch=True,
                convert_to_iter_based=True,
            ),
        ],
    ),
)

# The baseline of a semi-supervised recipe: the same network, weak view and schedule on the labelled
# images alone, for `iterations`. A stage of the same recipe, so that nothing else differs.
runner_type = 'StagedRunner'

rescaling = dict(
    type='RandomResize', scale='${resize_scale}', ratio_range=(0.5, 2.0), keep_ratio=True
)
padding = dict(
    type='Pad', size=('${crop_size}', '${crop_size}'), pad_val=dict(img=0, seg='${ignore_index}')
)
cropping = dict(
    type='RandomCrop', crop_size=('${crop_size}', '${crop_size}'), ignore_index='${ignore_index}'
)
flipping = dict(type='RandomFlip', prob=0.5)

optimizer = dict(type='SGD', lr='${base_lr}', momentum=0.9, weight_decay=1e-4)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer='${optimizer}',
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult='${head_lr_factor}'))),
)
val_dataloader = dict(
    batch_size=1,
    num_workers='${num_workers}',
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset='${validation_dataset}',
)
test_dataloader = dict(
    batch_size=1,
    num_workers='${num_workers}',
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset='${validation_dataset}',
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
needed_files = dict(checkpoint='${checkpoint}')

stages = dict(
    supervised=dict(
        enabled='${0 if semi_supervised else 1}',
        labels_used=dict(
            train_dataloader='masks of the labelled images: training',
            val_evaluator='validation masks: scoring',
        ),
        model=dict(
            type='EncoderDecoder',
            data_preprocessor=dict(
                type='SegDataPreProcessor',
                mean='${image_mean}',
                std='${image_std}',
                bgr_to_rgb=True,
                size=('${crop_size}', '${crop_size}'),
                pad_val=0,
                seg_pad_val='${ignore_index}',
                test_cfg=dict(size_divisor=1),
            ),
            backbone='${backbone}',
            decode_head='${decode_head}',
            train_cfg=dict(),
            test_cfg='${inference}',
        ),
        train_dataloader=dict(
            batch_size='${labelled_batch}',
            num_workers='${num_workers}',
            persistent_workers='${num_workers > 0}',
            drop_last=True,
            sampler=dict(type='IterationSampler'),
            dataset='${labelled_dataset}',
        ),
        val_evaluator='${metric}',
        test_evaluator='${metric}',
        param_scheduler=[dict(type='PolyLR', power=0.9, end='${iterations}', by_epoch=False)],
        train_cfg=dict(
            type='IterBasedTrainLoop', max_iters='${iterations}', val_interval='${iterations}'
        ),
        default_hooks=dict(
            logger=dict(log_metric_by_epoch=False),
            checkpoint=dict(by_epoch=False, interval='${checkpoint_iterations}'),
        ),
        log_processor=dict(by_epoch=False),
        custom_hooks=[
            dict(type='FinalValidationHook'),
            dict(type='PretrainedWeightsHook', files='${needed_files}'),
        ],
    ),
)

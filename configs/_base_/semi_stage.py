# Semi-supervised fine-tuning: one training, on the masks of train-semi, from pretrained weights.
runner_type = 'StagedRunner'
stage_order = ['finetune']

base_lr = 5e-4  # for 256 images a step; other batches scale it
auto_scale_lr = dict(enable=True, base_batch_size=256)
batch_size = 32  # images on each of 8 GPUs
drop_last = True  # the last, smaller batch of a pass
min_lr = 1e-6
weight_decay = 0.05
layer_decay = 0.5
searched_rates = dict()  # of the convolutions whose dilations are searched for
optimizer = dict(type='AdamW', lr='${base_lr}', weight_decay='${weight_decay}')

stages = dict(
    finetune=dict(
        load_from='${checkpoint}',
        labels_used=dict(
            train_dataloader='train-semi masks: training',
            val_evaluator='validation masks: scoring',
        ),
        model=dict(
            type='LUSSSegmentor',
            data_preprocessor=dict(
                type='SegDataPreProcessor',
                mean='${image_mean}',
                std='${image_std}',
                bgr_to_rgb=True,
                size=('${crop_size}', '${crop_size}'),
                pad_val=0,
                seg_pad_val='${ignore_index}',
                test_cfg=dict(size_divisor='${size_divisor}'),
            ),
            backbone='${backbone}',
            decode_head='${decode_head}',
            loss_stride='${loss_stride}',
            train_cfg=dict(),
            test_cfg=dict(mode='whole'),
        ),
        train_dataloader=dict(
            batch_size='${batch_size}',
            num_workers='${num_workers}',
            persistent_workers='${num_workers > 0}',
            drop_last='${drop_last}',
            sampler='${training_sampler}',
            dataset='${training_dataset}',
        ),
        val_dataloader=dict(
            batch_size=1,
            num_workers='${num_workers}',
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset='${validation_dataset}',
        ),
        test_dataloader=dict(
            batch_size=1,
            num_workers='${num_workers}',
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset='${validation_dataset}',
        ),
        val_evaluator='${metric}',
        test_evaluator='${metric}',
        val_cfg=dict(type='ValLoop'),
        test_cfg=dict(type='TestLoop'),
        optim_wrapper=dict(
            type='OptimWrapper',
            constructor='LayerDecayConstructor',
            paramwise_cfg=dict(layer_decay='${layer_decay}', searched='${searched_rates}'),
            optimizer='${optimizer}',
        ),
        param_scheduler='${schedule}',
        train_cfg='${training_loop}',
        default_hooks=dict(
            logger=dict(log_metric_by_epoch='${by_epoch}'),
            checkpoint=dict(by_epoch='${by_epoch}'),
        ),
        log_processor=dict(by_epoch='${by_epoch}'),
        custom_hooks=[
            dict(type='FinalValidationHook'),
            dict(type='PretrainedWeightsHook', files='${needed_files}'),
        ],
    ),
)
needed_files = dict(checkpoint='${checkpoint}')
metric = dict(
    type='CategoryIoUMetric',
    num_categories='${num_categories}',
    ignore_index='${ignore_index}',
    output_dir='${stage_dir}/evaluation',
)

# Learning Pseudo Labels: progressive cross training of two networks on masks and image tags, label
# maps of all training images from one of them, and a plain network retrained on these.
runner_type = 'StagedRunner'
stage_order = ['pct', 'retrain']

tagged_labels = '${work_dir}/tagged_labels'
shard_size = 256  # images that an interruption loses at most

cropping = dict(
    type='RandomCrop', crop_size=('${crop_size}', '${crop_size}'), ignore_index='${ignore_index}'
)
tagging = dict(type='SetImageTags', background=True, ignore_index='${ignore_index}')
distorting = dict(
    type='RandomStrongOperations', num='${strong_operations}', ignore_index='${ignore_index}'
)
labelled_pipeline = [
    '${loading}',
    '${training_resizing}',
    '${label_loading}',
    '${tagging}',
    '${distorting}',
    '${cropping}',
    dict(type='PackViews', views=dict(labelled=[])),
]
unlabelled_pipeline = [
    '${loading}',
    '${training_resizing}',
    '${tagged_label_loading}',
    '${tagging}',
    dict(type='MarkValidPixels'),
    '${cropping}',
    dict(type='PackViews', views=dict(tagged=[])),
]
retrain_pipeline = [
    '${loading}',
    '${training_resizing}',
    dict(type='LoadLabelMap'),
    '${distorting}',
    '${cropping}',
    '${packing}',
]
packing = dict(
    type='PackSegInputs',
    meta_keys=(
        'img_path',
        'seg_map_path',
        'ori_shape',
        'img_shape',
        'flip',
        'flip_direction',
        'has_mask',
        'image_tags',
    ),
)
# Whole images, masks as large as in their files: for validation and for label maps.
whole_labelled_pipeline = [
    '${loading}',
    '${whole_resizing}',
    '${whole_label_loading}',
    '${tagging}',
    '${packing}',
]
whole_tagged_pipeline = [
    '${loading}',
    '${whole_resizing}',
    '${whole_tagged_label_loading}',
    '${tagging}',
    dict(type='MarkValidPixels'),
    '${packing}',
]
training_images = dict(
    type='SemiDataset', labelled='${labelled_dataset}', unlabelled='${unlabelled_dataset}'
)

network_metrics = [
    dict(type='PredictionMetric', metric='${metric}', prediction=f'pred_{network}', prefix=network)
    for network in ('hybrid', 'pseudo')
]
needed_files = dict(checkpoint='${checkpoint}')
optimizer = dict(type='SGD', lr='${base_lr}', momentum=0.9, weight_decay='${weight_decay}')
retrain_optimizer = dict(
    type='SGD', lr='${retrain_lr}', momentum=0.9, weight_decay='${weight_decay}'
)

stages = dict(
    pct=dict(
        labels_used=dict(
            train_dataloader='masks of the labelled images: training',
            image_tags='image tags of the tagged images: training',
            val_dataloader='image tags of the validation images (from their masks, or as '
            'validation_tags says): H and P predict nothing else',
            val_evaluator='validation masks: scoring',
        ),
        model=dict(
            type='PCTSegmentor',
            data_preprocessor=dict(
                type='SemiPreprocessor',
                mean='${image_mean}',
                std='${image_std}',
                bgr_to_rgb=True,
                size=('${crop_size}', '${crop_size}'),
                pad_val=0,
                seg_pad_val='${ignore_index}',
                test_cfg=dict(size_divisor=1),
            ),
            segmentor='${segmentor}',
            ignore_index='${ignore_index}',
            loss_stride='${loss_stride}',
            predict_with='${label_network}',
            restrict_to_tags=True,
        ),
        train_dataloader=dict(
            batch_size='${labelled_batch + tagged_batch}',
            num_workers='${num_workers}',
            persistent_workers='${num_workers > 0}',
            drop_last=True,
            sampler=dict(
                type='SemiSampler',
                labelled='${labelled_batch}',
                unlabelled='${tagged_batch}',
                epoch_iterations='${iterations}',
            ),
            collate_fn=dict(type='collate_views'),
            dataset='${training_images}',
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
        val_evaluator='${network_metrics}',
        test_evaluator='${network_metrics}',
        val_cfg=dict(type='ValLoop'),
        test_cfg=dict(type='TestLoop'),
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer='${optimizer}',
            paramwise_cfg=dict(custom_keys=dict(conv_seg=dict(lr_mult='${classifier_lr_factor}'))),
        ),
        param_scheduler=[
            dict(type='PolyLR', power=0.9, eta_min=0.0, end='${iterations}', by_epoch=False)
        ],
        train_cfg=dict(
            type='IterBasedTrainLoop', max_iters='${iterations}', val_interval='${iterations}'
        ),
        default_hooks=dict(logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False)),
        log_processor=dict(by_epoch=False),
        custom_hooks=[
            dict(type='FinalValidationHook'),
            dict(type='PretrainedWeightsHook', files='${needed_files}'),
        ],
    ),
    retrain=dict(
        labels_used=dict(
            train_dataloader='masks of the labelled images: copied into the label maps',
            image_tags='image tags of the tagged images: label maps',
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
                test_cfg=dict(size_divisor=1),
            ),
            backbone='${backbone}',
            decode_head='${decode_head}',
            loss_stride='${loss_stride}',
            train_cfg=dict(),
            test_cfg=dict(mode='whole'),
        ),
        train_dataloader=dict(
            batch_size='${retrain_batch_size}',
            num_workers='${num_workers}',
            persistent_workers='${num_workers > 0}',
            drop_last=True,
            sampler=dict(type='IterationSampler'),
            dataset=dict(
                type='RelabelledDataset',
                parts=['${labelled_dataset}', '${unlabelled_dataset}'],
                data_prefix=dict(seg_map_path='${tagged_labels}'),
                ignore_index='${ignore_index}',
                seed='${seed}',
                pipeline='${retrain_pipeline}',
            ),
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
            optimizer='${retrain_optimizer}',
            paramwise_cfg=dict(custom_keys=dict(conv_seg=dict(lr_mult='${classifier_lr_factor}'))),
        ),
        param_scheduler=[
            dict(type='PolyLR', power=0.9, eta_min=0.0, end='${retrain_iterations}', by_epoch=False)
        ],
        train_cfg=dict(
            type='IterBasedTrainLoop',
            max_iters='${retrain_iterations}',
            val_interval='${retrain_iterations}',
        ),
        default_hooks=dict(logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False)),
        log_processor=dict(by_epoch=False),
        custom_hooks=[
            dict(type='FinalValidationHook'),
            dict(
                type='TaggedLabelHook',
                directory='${work_dir}',
                config='${work_dir}/pct/config.py',
                checkpoint='${work_dir}/pct/final.pth',
                dataset='${training_images}',
                replaced=dict(
                    labelled=dict(pipeline='${whole_labelled_pipeline}'),
                    unlabelled=dict(pipeline='${whole_tagged_pipeline}'),
                ),
                network='${label_network}',
                scales='${label_scales}',
                flip='${label_flip}',
                average='${label_average}',
                batch_size='${label_batch_size}',
                shard_size='${shard_size}',
                num_workers='${num_workers}',
            ),
        ],
    ),
)

# DSSN: a student learns from masks, from the labels of its averaged teacher on strong views, and
# from its own labels on perturbed features. Beside it the supervised baseline.
_base_ = './supervised_stage.py'
stage_order = ['supervised', 'dssn']
semi_supervised = True  # False: the baseline

plain_packing = dict(type='PackSegInputs')
labelled_views = dict(type='PackViews', views=dict(labelled=[]))
labelled_pipeline = [
    '${loading}',
    '${label_loading}',
    '${rescaling}',
    '${padding}',
    '${cropping}',
    '${flipping}',
    '${labelled_views if semi_supervised else plain_packing}',
]
strong_view = [
    dict(type='DistortColours', jitter=(0.5, 0.5, 0.5, 0.25)),
    dict(type='RandomColourOperations', num=(1, 3)),
    dict(type='DrawCutMixBox', prob=0.5),
]
unlabelled_pipeline = [
    '${loading}',
    dict(type='MarkValidPixels'),
    '${rescaling}',
    '${padding}',
    '${cropping}',
    '${flipping}',
    dict(type='PackViews', views=dict(weak=[], strong1='${strong_view}', strong2='${strong_view}')),
]
network_metrics = [
    dict(type='PredictionMetric', metric='${metric}', prediction=f'pred_{network}', prefix=network)
    for network in ('student', 'teacher')
]

stages = dict(
    dssn=dict(
        enabled='${semi_supervised}',
        labels_used=dict(
            train_dataloader='masks of the labelled images: training',
            val_evaluator='validation masks: scoring',
        ),
        model=dict(
            type='DSSNSegmentor',
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
            selection='${selection}',
            strong_from_epoch='${strong_from_epoch}',
            ignore_index='${ignore_index}',
            loss_stride='${loss_stride}',
        ),
        train_dataloader=dict(
            batch_size='${labelled_batch + unlabelled_batch * 2}',
            num_workers='${num_workers}',
            persistent_workers='${num_workers > 0}',
            drop_last=True,
            sampler=dict(
                type='SemiSampler',
                labelled='${labelled_batch}',
                unlabelled='${unlabelled_batch}',
                partners=True,
            ),
            collate_fn=dict(type='collate_views'),
            dataset=dict(
                type='SemiDataset',
                labelled='${labelled_dataset}',
                unlabelled='${unlabelled_dataset}',
            ),
        ),
        val_evaluator='${network_metrics}',
        test_evaluator='${network_metrics}',
        param_scheduler=[
            dict(
                type='PolyLR',
                power=0.9,
                end='${epochs}',
                by_epoch=True,
                convert_to_iter_based=True,
            )
        ],
        train_cfg=dict(by_epoch=True, max_epochs='${epochs}', val_interval='${epochs}'),
        custom_hooks=[
            dict(type='TeacherHook'),
            dict(type='FinalValidationHook'),
            dict(type='PretrainedWeightsHook', files='${needed_files}'),
        ],
    ),
)

# The three trainings of PASS. '${name}' refers to a setting; the runner fills it in after the
# command line was read.
runner_type = 'StagedRunner'
stage_order = ['pretrain', 'attention', 'finetune']

# True changes the views' colours in batches on the GPU, for machines with few CPU cores a GPU.
colours_on_device = False
pretrain_cropping = dict(
    type='MultiCrop', views='${pretrain_views}', colours_on_device='${colours_on_device}'
)
attention_cropping = dict(
    type='MultiCrop', views='${attention_views}', colours_on_device='${colours_on_device}'
)
prototype_head = dict(
    type='PrototypeHead',
    in_channels='${feature_channels}',
    hidden_channels='${hidden_channels}',
    embedding_channels='${embedding_channels}',
    num_prototypes='${num_prototypes}',
)
views_preprocessor = dict(type='ViewsPreprocessor', mean='${image_mean}', std='${image_std}')
p2p_points = 'edge'  # to edge of the overlap of two crops, as in the authors' code; or 'centre'
train_loader_sampler = dict(type='EpochSampler', shuffle=True)

# As SwAV, from which PASS has the option (its scripts: 0): the rate rises from that share of it.
pretrain_warmup_epochs = 0
pretrain_warmup_start = 1e-6  # share of the rate that a warm-up begins with
warmup = dict(
    type='LinearLR',
    start_factor='${pretrain_warmup_start}',
    end='${pretrain_warmup_epochs}',
    by_epoch=True,
    convert_to_iter_based=True,
)

pass_pretrainer = dict(
    type='PASSPretrainer',
    data_preprocessor='${views_preprocessor}',
    backbone='${backbone}',
    in_index='${in_index}',
    head='${prototype_head}',
    queue_length='${queue_length}',
    deep_to_shallow='${shallow_heads}',
    pixel_to_pixel=dict(
        type='PixelToPixelHead',
        in_channels='${feature_channels}',
        hidden_channels='${hidden_channels}',
        embedding_channels='${embedding_channels}',
        placement='${p2p_points}',
    ),
)

stages = dict(
    pretrain=dict(
        model='${pass_pretrainer}',
        train_dataloader=dict(
            batch_size='${batch_size}',
            num_workers='${num_workers}',
            persistent_workers='${num_workers > 0}',
            drop_last=True,
            sampler='${train_loader_sampler}',
            collate_fn=dict(type='default_collate'),
            dataset=dict(
                type='LUSSDataset',
                data_root='${data_root}',
                data_prefix=dict(img_path='${pretrain_splits}'),
                seed='${seed}',
                pipeline=['${loading}', '${pretrain_cropping}'],
            ),
        ),
        optim_wrapper=dict(type='OptimWrapper', optimizer='${pretrain_optimizer}'),
        param_scheduler=[
            '${warmup if pretrain_warmup_epochs else None}',
            dict(
                type='CosineAnnealingLR',
                begin='${pretrain_warmup_epochs}',
                T_max='${pretrain_epochs - pretrain_warmup_epochs}',
                end='${pretrain_epochs}',
                eta_min='${pretrain_min_lr}',
                by_epoch=True,
                convert_to_iter_based=True,
            ),
        ],
        train_cfg=dict(by_epoch=True, max_epochs='${pretrain_epochs}'),
        custom_hooks=[
            dict(type='FeatureQueueHook', start_epoch='${queue_start_epoch}'),
            dict(type='PrototypesHook', frozen_iters='${frozen_prototype_iters}'),
        ],
    ),
    attention=dict(
        load_from='${work_dir}/pretrain/final.pth',
        model=dict(
            type='PixelAttentionModel',
            data_preprocessor='${views_preprocessor}',
            backbone='${backbone}',
            in_index='${in_index}',
            channels='${feature_channels}',
            upsample='${attention_upsample}',
            head='${prototype_head}',
            queue_length='${attention_queue_length}',
        ),
        train_dataloader=dict(
            batch_size='${batch_size}',
            num_workers='${num_workers}',
            persistent_workers='${num_workers > 0}',
            drop_last=True,
            sampler='${train_loader_sampler}',
            collate_fn=dict(type='default_collate'),
            dataset=dict(
                type='LUSSDataset',
                data_root='${data_root}',
                data_prefix=dict(img_path='${train_split}'),
                seed='${seed}',
                pipeline=['${loading}', '${attention_cropping}'],
            ),
        ),
        optim_wrapper=dict(type='OptimWrapper', optimizer='${attention_optimizer}'),
        param_scheduler=[
            dict(
                type='CosineAnnealingLR',
                T_max='${attention_epochs}',
                end='${attention_epochs}',
                eta_min='${attention_min_lr}',
                by_epoch=True,
                convert_to_iter_based=True,
            )
        ],
        train_cfg=dict(by_epoch=True, max_epochs='${attention_epochs}'),
        custom_hooks=[
            dict(type='FeatureQueueHook', start_epoch=0),
            dict(type='PrototypesHook'),
        ],
    ),
    finetune=dict(
        load_from='${work_dir}/pretrain/final.pth',
        labels_used=dict(val_evaluator='validation masks: matching and scoring'),
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
            ),
            backbone='${backbone}',
            decode_head=dict(
                type='FCNHead',
                in_index='${in_index}',
                in_channels='${feature_channels}',
                channels='${feature_channels}',
                num_convs=0,
                concat_input=False,
                dropout_ratio=0.0,
                num_classes='${num_categories + 1}',
                align_corners=False,
                ignore_index='${ignore_index}',
                loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
            ),
            train_cfg=dict(),
            test_cfg=dict(mode='whole'),
        ),
        train_dataloader=dict(
            batch_size='${finetune_batch_size}',
            num_workers='${num_workers}',
            persistent_workers='${num_workers > 0}',
            drop_last=True,
            sampler='${train_loader_sampler}',
            dataset=dict(
                type='LUSSDataset',
                data_root='${data_root}',
                data_prefix=dict(img_path='${train_split}', seg_map_path='${pseudo_labels}'),
                ignore_index='${ignore_index}',
                seed='${seed}',
                pipeline=[
                    '${loading}',
                    dict(type='LoadLabelMap'),
                    dict(
                        type='RandomResizedSegCrop', size='${crop_size}', scale='${finetune_scale}'
                    ),
                    dict(type='RandomFlip', prob=0.5),
                    '${packing}',
                ],
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
        optim_wrapper=dict(type='OptimWrapper', optimizer='${finetune_optimizer}'),
        param_scheduler=[
            dict(
                type='CosineAnnealingLR',
                T_max='${finetune_epochs}',
                end='${finetune_epochs}',
                eta_min='${finetune_min_lr}',
                by_epoch=True,
                convert_to_iter_based=True,
            )
        ],
        train_cfg=dict(
            by_epoch=True, max_epochs='${finetune_epochs}', val_interval='${finetune_epochs}'
        ),
        custom_hooks=[  # in the order in which their steps are run
            '${maps_hook}',
            '${clustering_hook}',
            dict(
                type='PseudoLabelHook',
                directory='${work_dir}',
                source='${feature_source}',
                label_dataset='${label_dataset}',
                label_transform='${label_transform}',
                foreground_threshold='${foreground_threshold}',
                certain_quantiles='${certain_quantiles}',
                sweep_dataset='${sweep_dataset}',
                features='${feature_folder}',
                clusters='${cluster_folder}',
            ),
            dict(type='FinalValidationHook'),
            dict(
                type='PicturesHook',
                directory='${work_dir}',
                source='${feature_source}',
                label_transform='${label_transform}',
                unscored_dataset='${unscored_dataset}',
                features='${feature_folder}',
                clusters='${cluster_folder}',
            ),
            '${label_check_hook}',
        ],
    ),
)

# Between the trainings: what is clustered, and how its pixels are labelled.
feature_folder = 'features'
cluster_folder = 'clusters'
pseudo_labels = '${work_dir}/pseudo_labels'
shard_size = 256  # images that an interruption loses at most
feature_stage = 'attention'  # whose backbone and attention are clustered
# of features and label maps: bfloat16 where the machine is fast in it, which gives .1 to .4 % of
# the pixels another label (docs/performance.md); or 'float32', 'bfloat16'
inference_precision = 'auto'
feature_source = dict(
    config='${work_dir}/${feature_stage}/config.py',
    checkpoint='${work_dir}/${feature_stage}/final.pth',
    dataset='${embedding_dataset}',
    batch_size='${label_batch_size}',
    shard_size='${shard_size}',
    num_workers='${num_workers}',
    precision='${inference_precision}',
)
cluster_hook = dict(
    type='ClusterHook',
    directory='${work_dir}',
    source='${feature_source}',
    num_clusters='${num_categories}',
    kmeans_iterations='${kmeans_iterations}',
    kmeans_restarts='${kmeans_restarts}',
    kmeans_initialization='${kmeans_initialization}',
    kmeans_components='${kmeans_components}',
    kmeans_neighbours='${kmeans_neighbours}',
    seed='${seed}',
    features='${feature_folder}',
    clusters='${cluster_folder}',
)
clustering_hook = '${cluster_hook}'
maps_hook = None  # set by frozen_stages.py
label_check_hook = None  # likewise
label_transform = dict(type='GeneratePseudoLabel')
# of the training foreground scores: surely background, surely object; for spo_prompts = 'score'
certain_quantiles = (0.4, 0.9)
embedding_dataset = dict(
    type='LUSSDataset',
    data_root='${data_root}',
    data_prefix=dict(img_path='${train_split}'),
    pipeline=[
        '${loading}',
        '${resizing}',
        dict(type='CenterCrop', crop_size='${crop_size}'),
        dict(type='PackImage'),
    ],
)
label_dataset = dict(
    type='LUSSDataset',
    data_root='${data_root}',
    data_prefix=dict(img_path='${train_split}'),
    pipeline=['${loading}', '${resizing}', dict(type='PackImage')],
)
sweep_dataset = dict(  # read only by foreground_threshold='validation_sweep'
    type='LUSSDataset',
    data_root='${data_root}',
    data_prefix=dict(img_path='validation', seg_map_path='validation-segmentation'),
    categories='folders',
    ignore_index='${ignore_index}',
    pipeline=['${loading}', '${resizing}', '${label_loading}', dict(type='PackImage')],
)
metric = dict(
    type='UnsupervisedIoUMetric',
    num_clusters='${num_categories}',
    ignore_index='${ignore_index}',
    output_dir='${stage_dir}/evaluation',
)

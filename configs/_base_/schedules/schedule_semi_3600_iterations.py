# MMSegmentation's schedule and augmentation for 1 % of ImageNet-S.
by_epoch = False
training_sampler = dict(type='IterationSampler')
iterations = 3600
warmup_iterations = 180
max_side = 1000  # mmseg shrinks images over 1000 x 1000 pixels to this longest side
training_pipeline = [
    '${loading}',
    dict(type='LoadLabelMap'),
    dict(
        type='RandomResize',
        scale=('${resize_side * 8}', '${resize_side}'),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    dict(
        type='RandomCrop',
        crop_size=('${crop_size}', '${crop_size}'),
        cat_max_ratio=0.75,
        ignore_index='${ignore_index}',
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    '${packing}',
]
schedule = [
    dict(type='LinearLR', start_factor=1e-6, end='${warmup_iterations}', by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        begin='${warmup_iterations}',
        T_max='${iterations - warmup_iterations}',
        end='${iterations}',
        # A ratio: an absolute bound would lie above the rates of the deepest layers and raise them.
        eta_min_ratio='${min_lr / base_lr}',
        by_epoch=False,
    ),
]
training_loop = dict(
    type='IterBasedTrainLoop', max_iters='${iterations}', val_interval='${iterations}'
)

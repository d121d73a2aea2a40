# ImageNetSegModel's schedule and augmentation for 1 % of ImageNet-S.
by_epoch = True
training_sampler = dict(type='EpochSampler', shuffle=True)
epochs = 100
warmup_epochs = 5
max_side = 2048  # larger images are shrunk on loading
training_pipeline = [
    '${loading}',
    dict(type='LoadLabelMap'),
    dict(type='RandomResizedSegCrop', size='${crop_size}', scale=(0.14, 1.0)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='DistortColours'),
    '${packing}',
]
schedule = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        end='${warmup_epochs}',
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        begin='${warmup_epochs}',
        T_max='${epochs - warmup_epochs}',
        end='${epochs}',
        # A ratio: an absolute bound would lie above the rates of the deepest layers and raise them.
        eta_min_ratio='${min_lr / base_lr}',
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
training_loop = dict(by_epoch=True, max_epochs='${epochs}', val_interval='${epochs}')

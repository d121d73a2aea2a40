# Shared by all stages of all recipes.
default_scope = 'mmseg'
custom_imports = dict(imports=['luss_mm'], allow_failed_imports=False)

seed = 0  # of all random draws: runs with the same one repeat each other
ignore_index = 1000  # the one place: 255 is an ordinary category
image_mean = [123.675, 116.28, 103.53]  # RGB, that of the backbone's weights: here ImageNet's
image_std = [58.395, 57.12, 57.375]
num_workers = 8
checkpoint_interval = 1  # epochs
on_change = 'redo'  # what other settings made: 'redo', 'keep' or 'stop'; see docs/reliability.md
on_bad_image = 'error'  # or 'skip': training leaves it out; see docs/reliability.md
amp = True  # mixed precision where there is a GPU

randomness = dict(seed='${seed}')
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=True),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Atomic, and two of them: mmengine removes the old one before the new one exists.
    checkpoint=dict(
        type='CheckpointHook',
        interval='${checkpoint_interval}',
        max_keep_ckpts=2,
        backend_args=dict(backend='atomic_local'),
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    epoch_seed=dict(type='EpochSeedHook'),
    finite_loss=dict(type='FiniteLossHook'),
    preflight=dict(type='PreflightHook'),
    backend_pictures=dict(type='BackendPicturesHook'),
)
visualizer = dict(type='StageVisualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(by_epoch=True)
log_level = 'INFO'

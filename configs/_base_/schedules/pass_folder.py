# Small sets need steps rather than epochs. With SGD or LARS the image loss stays at log P for
# hundreds of steps; AdamW and many prototypes leave it within a hundred (docs/results.md).
batch_size = 64
pretrain_epochs = 40
pretrain_views = [
    dict(num=2, size=96, scale=(0.3, 1.0)),
    dict(num=2, size=56, scale=(0.08, 0.3)),
]
num_prototypes = 300
queue_length = 1024
queue_start_epoch = 3
frozen_prototype_iters = 100
pretrain_lr = 0.002
pretrain_min_lr = 1e-5
pretrain_optimizer = dict(type='AdamW', lr='${pretrain_lr}', weight_decay=0.05)

attention_epochs = 8
attention_views = [dict(num=2, size=96, scale=(0.3, 1.0))]
attention_queue_length = 1024
attention_lr = 0.001
attention_min_lr = 1e-5
attention_optimizer = dict(type='AdamW', lr='${attention_lr}', weight_decay=0.05)

kmeans_iterations = 20
kmeans_restarts = 30
foreground_threshold = 'otsu'  # or a number, or 'validation_sweep' (looks at masks)
label_batch_size = 32

finetune_epochs = 20
finetune_batch_size = 32
finetune_scale = (0.3, 1.0)
finetune_lr = 0.001
finetune_min_lr = 1e-5
finetune_optimizer = dict(type='AdamW', lr='${finetune_lr}', weight_decay=0.05)

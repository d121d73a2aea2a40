# Small sets need steps rather than epochs.
batch_size = 64
pretrain_epochs = 40
pretrain_views = [
    dict(num=2, size=96, scale=(0.3, 1.0)),
    dict(num=4, size=56, scale=(0.08, 0.3)),
]
num_prototypes = 60
queue_length = 1024
queue_start_epoch = 5
frozen_prototype_iters = 50
pretrain_lr = 0.2
pretrain_min_lr = 0.0002
pretrain_optimizer = dict(type='SGD', lr='${pretrain_lr}', momentum=0.9, weight_decay=1e-4)

attention_epochs = 8
attention_views = [dict(num=2, size=96, scale=(0.3, 1.0))]
attention_queue_length = 1024
attention_lr = 0.2
attention_min_lr = 0.0002
attention_optimizer = dict(type='SGD', lr='${attention_lr}', momentum=0.9, weight_decay=1e-6)

kmeans_iterations = 20
kmeans_restarts = 30
foreground_threshold = 'otsu'
label_batch_size = 32

finetune_epochs = 20
finetune_batch_size = 32
finetune_scale = (0.3, 1.0)
finetune_lr = 0.02
finetune_min_lr = 0.0002
finetune_optimizer = dict(type='SGD', lr='${finetune_lr}', momentum=0.9, weight_decay=1e-4)

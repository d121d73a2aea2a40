# The schedule of PASS on ImageNet-S50, 8 GPUs of 32 images.
batch_size = 32  # images on each GPU
pretrain_epochs = 200
pretrain_views = [
    dict(num=2, size=224, scale=(0.14, 1.0)),
    dict(num=6, size=96, scale=(0.05, 0.14)),
]
num_prototypes = 500
queue_length = 2048
queue_start_epoch = 15
frozen_prototype_iters = 1001
pretrain_lr = 0.6
pretrain_min_lr = 0.0006
pretrain_optimizer = dict(type='LARS', lr='${pretrain_lr}', momentum=0.9, weight_decay=1e-6)

attention_epochs = 20
attention_views = [dict(num=2, size=224, scale=(0.08, 1.0))]
attention_upsample = 4
attention_queue_length = 3840
attention_lr = 6.0
attention_min_lr = 0.0006
attention_optimizer = dict(type='LARS', lr='${attention_lr}', momentum=0.9, weight_decay=1e-6)

kmeans_iterations = 20
kmeans_restarts = 30
kmeans_initialization = 'random'  # as PASS; 'k-means++' ends more evenly over seeds
kmeans_components = None  # or how many principal directions are clustered
kmeans_neighbours = 0  # or how many are averaged with each image before k-means
foreground_threshold = 'otsu'  # or a number, or 'validation_sweep' (looks at masks)
label_batch_size = 64

finetune_epochs = 20
finetune_batch_size = '${batch_size}'
finetune_scale = (0.08, 1.0)  # inferred: the default of RandomResizedCrop
finetune_lr = 0.6
finetune_min_lr = 0.0006
finetune_optimizer = dict(type='LARS', lr='${finetune_lr}', momentum=0.9, weight_decay=1e-6)

# Small sets need steps rather than epochs: with SGD the image loss stayed at log P for hundreds of
# steps where AdamW and many prototypes left it within a hundred.
batch_size = 64
pretrain_epochs = 30
pretrain_views = [
    dict(num=2, size=64, scale=(0.3, 1.0)),
    dict(num=2, size=40, scale=(0.08, 0.3)),
]
num_prototypes = 300
queue_length = 1024
queue_start_epoch = 3
frozen_prototype_iters = 100
pretrain_lr = 0.002
pretrain_min_lr = 1e-5
pretrain_optimizer = dict(type='AdamW', lr='${pretrain_lr}', weight_decay=0.05)

attention_epochs = 20  # where gates are trained (foreground='attention')
attention_views = [dict(num=2, size=64, scale=(0.3, 1.0))]
attention_upsample = 1
attention_queue_length = 1024
attention_lr = 4.0
attention_min_lr = 0.0006
attention_optimizer = dict(type='SGD', lr='${attention_lr}', momentum=0.9, weight_decay=1e-6)

kmeans_iterations = 50
kmeans_restarts = 500  # of 452 photographs all seeds end equally well then; 100 did not do
kmeans_initialization = 'k-means++'  # PASS: 'random'
kmeans_components = '${4 * num_categories}'  # principal directions that are clustered; PASS: None
kmeans_neighbours = 3  # are averaged with each image before k-means; PASS: 0
# .5 is each image's own threshold; otherwise 'otsu' of all images, a number, or
# 'validation_sweep' (looks at masks)
foreground_threshold = "${0.5 if image_threshold else 'otsu'}"
label_batch_size = 16

finetune_epochs = None  # a rule for the number of images
finetune_batch_size = 16
finetune_scale = (0.3, 1.0)  # of crops, where no maps are cached
finetune_lr = 0.002
finetune_min_lr = 1e-5
finetune_optimizer = dict(type='AdamW', lr='${finetune_lr}', weight_decay=0.01)

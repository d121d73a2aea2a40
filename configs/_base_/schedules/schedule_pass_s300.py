# The schedule of PASS on ImageNet-S300 and -S919, 8 GPUs of 32 images.
_base_ = './schedule_pass_s50.py'
pretrain_epochs = 100
pretrain_views = [dict(num=2, size=224, scale=(0.08, 1.0))]
num_prototypes = 3000
queue_length = 3840
frozen_prototype_iters = 5005
attention_lr = 0.6

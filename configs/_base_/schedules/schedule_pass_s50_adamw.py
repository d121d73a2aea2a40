# The schedule of PASS on ImageNet-S50 for networks that AdamW trains; 8 GPUs of 32 images.
# Rates are DINO's for 256 images (pretraining) and those of common fine-tuning: not tuned here.
_base_ = './schedule_pass_s50.py'
pretrain_lr = 0.0005
pretrain_min_lr = 1e-6
pretrain_optimizer = dict(_delete_=True, type='AdamW', lr='${pretrain_lr}', weight_decay=0.05)
# The attention stage keeps LARS: it trains 1x1 convolutions and batch norm alone.
finetune_lr = 0.0001
finetune_min_lr = 1e-6
finetune_optimizer = dict(_delete_=True, type='AdamW', lr='${finetune_lr}', weight_decay=0.05)

# For a frozen backbone that was trained before: only a head learns (continue_pretraining=False).
_base_ = './schedule_pass_folder.py'

pretrain_epochs = 10
pretrain_lr = 0.0002
pretrain_min_lr = 1e-6

# Learning Pseudo Labels for a head on a frozen backbone that was trained before.
_base_ = './schedule_pct_folder.py'
crop_size = 160
iterations = 456
retrain_iterations = 456
base_lr = 3e-3
weight_decay = 0.05
classifier_lr_factor = 1
retrain_lr = 3e-3

# Learning Pseudo Labels for a head on a frozen backbone that was trained before.
_base_ = './schedule_pct_folder.py'
crop_size = 160
iterations = 456
retrain_iterations = 456

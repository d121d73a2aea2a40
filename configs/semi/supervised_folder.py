"""The supervised baseline of dssn_folder: the images of train-semi alone.

Run     python tools/train.py configs/semi/supervised_folder.py --cfg-options data_root=DIR \
            num_categories=13 checkpoint=work_dirs/pass_folder/pretrain/final.pth
Time    caltech13: 1881 iterations of 0.2 s on one core, measured on 2 CPU cores (AMD EPYC), no GPU,
        2026-11-21
Score   see docs/results.md
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi)

The same network, weak view and schedule, for the 1881 iterations that DSSN makes in 33 passes over
452 images. With n images set iterations = 33 ceil(n / 8).
"""

_base_ = './dssn_folder.py'

semi_supervised = False

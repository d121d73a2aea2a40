"""The supervised baseline of dssn_photos: the images of train-semi alone.

Run     python tools/train.py configs/semi/supervised_photos.py --cfg-options data_root=DIR \
            num_categories=13
Time    see docs/results.md
Score   see docs/results.md
Labels  ImageNet's labels trained the backbone; train-semi masks: training; validation masks:
        scoring. Predicted ids are category ids: nothing is matched (protocol semi)

The same network, weak view and schedule, for the 456 iterations that DSSN makes in 8 passes over
452 images. With n images set iterations = 8 ceil(n / 8).
"""

_base_ = './dssn_photos.py'

semi_supervised = False

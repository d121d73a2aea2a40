# Learning Pseudo Labels as its authors train: their operations on images with masks, and all images
# as images with tags, those with masks too (whose masks teach there as well).
_base_ = './pct_stages.py'
training_images = dict(revisit_labelled=True)
distorting = dict(
    type='PCTOperations',
    fill=(103, 116, 123),  # the mean colour, BGR
)

# Testing as the authors do, by mmseg's `tools/test.py --tta` on the finished stage's config.py.
dense_crf = False  # needs the extra `crf`: pip install -e '.[crf]'
stages = dict(
    retrain=dict(
        tta_model=dict(type='LUSSTTAModel', average='${label_average}', dense_crf='${dense_crf}'),
        tta_pipeline=[
            '${loading}',
            dict(
                type='TestTimeAug',
                transforms=[
                    [
                        dict(type='Resize', scale_factor=s, keep_ratio=True)
                        for s in (0.5, 0.75, 1.0, 1.25, 1.5)
                    ],
                    [dict(type='RandomFlip', prob=p, direction='horizontal') for p in (0.0, 1.0)],
                    ['${whole_label_loading}'],
                    ['${tagging}'],
                    ['${packing}'],
                ],
            ),
        ],
    )
)

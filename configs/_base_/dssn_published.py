# DSSN as its authors train: operations and CutMix boxes drawn as their code draws them, and no
# strong losses in the first iteration, whose teacher has learnt nothing.
#
# Their scores are those of the best validation pass of student or teacher. To have them so:
# validation_interval=1 save_best=student/mIoU (or teacher/mIoU); the validation masks then choose
# the checkpoint `best_*.pth`, and the labels of the stage say so.
_base_ = './dssn_stage.py'
validation_interval = '${epochs}'  # passes over the unlabelled images
save_best = None  # or the score whose best pass is kept as best_*.pth
strong_view = [
    dict(type='DistortColours', jitter=(0.5, 0.5, 0.5, 0.25)),
    dict(type='RandomColourOperations', num=(1, 3), pool='dssn'),
    dict(type='DrawCutMixBox', prob=0.5, shapes='uniform'),
]
stages = dict(
    dssn=dict(
        labels_used=dict(
            val_evaluator="${'validation masks: scoring and choosing the best checkpoint' "
            "if save_best else 'validation masks: scoring'}"
        ),
        model=dict(strong_from_iteration=1),
        train_cfg=dict(val_interval='${validation_interval}'),
        default_hooks=dict(checkpoint=dict(save_best='${save_best}', rule='greater')),
    )
)

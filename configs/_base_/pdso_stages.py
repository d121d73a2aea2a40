# PASS with the parts of PDSO, each behind a switch: denoising-based feature fine-tuning (DFF),
# clustering-based sample denoising (CSD) and SAM prompt optimisation (SPO). What a part needs from
# one that is off is taken from PASS.
_base_ = './pass_stages.py'

use_dff = False  # the recipes of PDSO turn all three on
use_csd = False
use_spo = False
stage_order = ['pretrain', 'attention', 'dff_f', 'dff_g', 'dff_h', 'finetune']

# DFF. The rates, epochs and batches are the authors'. Which loss counts as small is not published.
dff_lr = 0.01
dff_min_lr = 0.0006
dff_optimizer = dict(type='SGD', lr='${dff_lr}', momentum=0.9, weight_decay=1e-6)
dff_f_epochs = 15
dff_f_batch_size = 64
dff_epochs = 50  # of g and of h
dff_batch_size = 32
small_loss = dict(rule='mean')  # or dict(rule='quantile', value=.6), dict(rule='absolute', value=1)
relabel_epoch = None  # of g, whose labels are taken; None: the last (the authors: 36 of 50)
relabel_loss = 'predicted'  # loss of g against its own labels; 'given': the k-means labels

# CSD. The authors' published clustering keeps 66.5 % of the images; cap and floor, in multiples of
# the median cluster size, are not published.
csd_rule = 'margin'  # or 'ratio', 'distance'
csd_keep_fraction = 0.665
csd_limit = None  # instead of csd_keep_fraction: a bound on the margin, ratio or distance itself
csd_cap = 2.0
csd_floor = 0.5

# SPO. sigma bounds the squared distance of an image to the further categories that it may show.
sigma = 0.8
min_box_area = 0  # pixels; not published
label_refinement = 'spo'  # or 'uo_sam': UO-SAM in its place
spo_prompts = 'region'  # published; 'score' (ours): the foreground score of the whole image
segmenter = dict(
    type='SAMSegmenter', model_type='vit_b', checkpoint='checkpoints/sam_vit_b_01ec64.pth'
)

feature_stage = "${'dff_h' if use_dff else 'attention'}"
feature_folder = "${'dff_features' if use_dff else 'features'}"
kmeans_folder = "${'dff_clusters' if use_dff else 'clusters'}"
cluster_folder = "${'csd_clusters' if use_csd else kmeans_folder}"
csd_hook = dict(
    type='CSDHook',
    directory='${work_dir}',
    source='${feature_source}',
    num_clusters='${num_categories}',
    rule='${csd_rule}',
    keep_fraction='${csd_keep_fraction}',
    limit='${csd_limit}',
    cap='${csd_cap}',
    floor='${csd_floor}',
    kmeans_iterations='${kmeans_iterations}',
    kmeans_restarts='${kmeans_restarts}',
    kmeans_initialization='${kmeans_initialization}',
    kmeans_components='${kmeans_components}',
    kmeans_neighbours='${kmeans_neighbours}',
    seed='${seed}',
    features='${feature_folder}',
    clusters='${kmeans_folder}',
    denoised='${cluster_folder}',
)
clustering_hook = '${csd_hook if use_csd else cluster_hook}'
chosen_segmenter = '${segmenter if use_spo else None}'
spo_labels = dict(
    type='GeneratePseudoLabel',
    sigma='${sigma}',
    min_area='${min_box_area}',
    segmenter='${chosen_segmenter}',
    prompts='${spo_prompts}',
)
# UO-SAM, with its authors' numbers: points and boxes of each large category, then a vote of all
# pixels in every mask that SAM finds. points_per_side squared decides its time.
uo_sam_labels = dict(
    type='OrganizePseudoLabel',
    sigma='${sigma}',
    min_share=0.1,
    min_overlap=0.4,
    points_per_side=64,
    segmenter='${chosen_segmenter}',
)
label_transform = "${uo_sam_labels if label_refinement == 'uo_sam' else spo_labels}"
keep_image = dict(type='KeepLoadedImage')
label_dataset = dict(
    pipeline=[
        '${loading}',
        '${keep_image if use_spo else None}',
        '${resizing}',
        dict(type='PackImage'),
    ]
)

classifier_pipeline = [
    '${loading}',
    dict(type='${resizing_type}', side='${crop_size if square_resize else resize_side}'),
    # A batch holds images of one size: a long, thin one is continued mirrored.
    dict(
        type='CenterCrop',
        crop_size='${crop_size}',
        auto_pad=True,
        pad_cfg=dict(
            type='Pad', padding_mode='reflect', pad_val=dict(img=0, seg='${ignore_index}')
        ),
    ),
    dict(type='PackImage'),
]
kmeans_labels = '${work_dir}/clusters/assignment.npy'
classified_images = dict(  # all training images with their k-means cluster
    type='ClassLabelDataset',
    data_root='${data_root}',
    data_prefix=dict(img_path='${train_split}'),
    class_labels='${kmeans_labels}',
    seed='${seed}',
    pipeline='${classifier_pipeline}',
)
attention_source = dict(
    config='${work_dir}/attention/config.py',
    checkpoint='${work_dir}/attention/final.pth',
    dataset='${embedding_dataset}',
    batch_size='${label_batch_size}',
    shard_size='${shard_size}',
    num_workers='${num_workers}',
    precision='${inference_precision}',
)
relabelling = dict(
    type='DFFHook',
    dataset='${classified_images}',
    labels='predicted',
    loss_labels='${relabel_loss}',
    flip_average=True,
    batch_size='${label_batch_size}',
    shard_size='${shard_size}',
    num_workers='${num_workers}',
)
early_relabelling = dict(relabelling, epoch='${relabel_epoch}')
average_classifier = dict(
    type='ImageClassifier',
    data_preprocessor='${views_preprocessor}',
    backbone='${backbone}',
    in_index='${in_index}',
    channels='${feature_channels}',
    num_classes='${num_categories}',
)
attended_classifier = dict(
    type='AttendedClassifier',
    data_preprocessor='${views_preprocessor}',
    backbone='${backbone}',
    in_index='${in_index}',
    channels='${feature_channels}',
    upsample='${attention_upsample}',
    num_classes='${num_categories}',
)


def classifier_stage(model, epochs, batch_size, selected, custom_hooks):
    """A classifier that starts from the attention checkpoint and trains wholly."""
    return dict(
        enabled='${use_dff}',
        load_from='${work_dir}/attention/final.pth',
        model=model,
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers='${num_workers}',
            persistent_workers='${num_workers > 0}',
            drop_last=True,
            sampler='${train_loader_sampler}',
            collate_fn=dict(type='default_collate'),
            dataset=dict(
                type='ClassLabelDataset',
                data_root='${data_root}',
                data_prefix=dict(img_path='${train_split}'),
                seed='${seed}',
                pipeline='${classifier_pipeline}',
                **selected,
            ),
        ),
        optim_wrapper=dict(type='OptimWrapper', optimizer='${dff_optimizer}'),
        param_scheduler=[
            dict(
                type='CosineAnnealingLR',
                T_max=epochs,
                end=epochs,
                eta_min='${dff_min_lr}',
                by_epoch=True,
                convert_to_iter_based=True,
            )
        ],
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        custom_hooks=custom_hooks,
    )


stages = dict(
    dff_f=classifier_stage(
        '${average_classifier}',
        '${dff_f_epochs}',
        '${dff_f_batch_size}',
        dict(class_labels='${kmeans_labels}'),
        [
            dict(
                type='ClusterHook',
                directory='${work_dir}',
                source='${attention_source}',
                num_clusters='${num_categories}',
                kmeans_iterations='${kmeans_iterations}',
                kmeans_restarts='${kmeans_restarts}',
                kmeans_initialization='${kmeans_initialization}',
                kmeans_components='${kmeans_components}',
                kmeans_neighbours='${kmeans_neighbours}',
                seed='${seed}',
            ),
            dict(
                type='DFFHook',
                dataset='${classified_images}',
                labels='given',
                loss_labels='given',
                batch_size='${label_batch_size}',
                shard_size='${shard_size}',
                num_workers='${num_workers}',
            ),
        ],
    ),
    dff_g=classifier_stage(
        '${average_classifier}',
        '${dff_epochs}',
        '${dff_batch_size}',
        dict(
            class_labels='${kmeans_labels}',
            losses='${work_dir}/dff_f/image_scores/losses.npy',
            small_loss='${small_loss}',
        ),
        [
            dict(type='SelectionHook', num_categories='${num_categories}'),
            '${early_relabelling if relabel_epoch else relabelling}',
        ],
    ),
    dff_h=classifier_stage(
        '${attended_classifier}',
        '${dff_epochs}',
        '${dff_batch_size}',
        dict(
            class_labels='${work_dir}/dff_g/image_scores/labels.npy',
            losses='${work_dir}/dff_g/image_scores/losses.npy',
            small_loss='${small_loss}',
        ),
        [dict(type='SelectionHook', num_categories='${num_categories}')],
    ),
)

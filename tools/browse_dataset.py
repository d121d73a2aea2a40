"""Pictures of the samples that a stage trains on, drawn as the training draws them.

python tools/browse_dataset.py configs/luss/pass_folder.py --cfg-options data_root=DIR
python tools/browse_dataset.py RECIPE --stage finetune --work-dir work_dirs/NAME
python tools/browse_dataset.py work_dirs/NAME/pretrain/config.py --epoch 3
"""

from luss_mm.cli.runs import browse as main

if __name__ == '__main__':
    main()

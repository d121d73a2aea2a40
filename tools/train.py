"""Train a recipe of several stages, or any mmseg config.

python tools/train.py configs/luss/pass_folder.py --cfg-options data_root=DIR num_categories=14
"""

from luss_mm.cli.train import main

if __name__ == '__main__':
    main()

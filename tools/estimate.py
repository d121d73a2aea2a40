"""What a recipe will cost: iterations, memory, disk and time of every part.

python tools/estimate.py configs/luss/pdso_folder.py --cfg-options data_root=DIR
python tools/estimate.py configs/luss/pass_s919.py              (without the images, too)
"""

from luss_mm.cli.runs import estimate as main

if __name__ == '__main__':
    main()

"""Write a trained segmentor as one file for other programs, checked against PyTorch.

python tools/export_segmentor.py work_dirs/pass_s50 --out pass.onnx
python tools/export_segmentor.py work_dirs/pass_s50 --out pass.pt2 --output labels
"""

from luss_mm.cli.export import main

if __name__ == '__main__':
    main()

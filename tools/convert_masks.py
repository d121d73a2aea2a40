"""Look at a folder of masks, say what coding they have, and write them as this project reads them.

    python tools/convert_masks.py DIR/masks
    python tools/convert_masks.py DIR/masks --images DIR/images --out DIR/validation-segmentation

Understood: palettes (PASCAL VOC), one channel of 8 or 16 bits, 0 and 255 for object masks, grey
stored as colours, colours of PASCAL VOC or any others, names with `_mask`, `_seg`, `_labelTrainIds`
and the like. 255 (65535 of 16 bits) and VOC's border become 1000, which does not count. Without
--out nothing is written. docs/own_folder.md tells where the masks belong.
"""

from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops

SHOWN_VALUES = 30


@one_line_stops()
def main() -> None:
    """Print the coding and a table of values; write the masks if a place is named."""
    parser = new_parser(__doc__)
    parser.add_argument('masks', type=Path, help='folder, also with sub-folders')
    parser.add_argument('--images', type=Path, help='folder with the photographs of these masks')
    parser.add_argument('--out', type=Path, help='gets <relative path of the photograph>.png')
    parser.add_argument(
        '--zero-is-category', action='store_true', help='the masks have no background: ids + 1'
    )
    arguments = parser.parse_args()
    if (arguments.out is None) != (arguments.images is None):
        parser.error('--out and --images go together')

    from luss_mm.datasets.mask_files import convert_masks, look_at_masks

    coding = look_at_masks(arguments.masks)
    print(f'{arguments.masks}: {coding.told}')
    print(f'{"value":>18}  {"id":>6}  masks')
    for value, number in list(coding.ids.items())[:SHOWN_VALUES]:
        print(f'{value!s:>18}  {number:>6}  {coding.masks[value]}')
    if len(coding.ids) > SHOWN_VALUES:
        print(f'... {len(coding.ids)} values in all')
    if arguments.out is None:
        return
    count = convert_masks(
        arguments.masks, arguments.images, arguments.out, coding, arguments.zero_is_category
    )
    print(f'{count} masks written to {arguments.out}')


if __name__ == '__main__':
    main()

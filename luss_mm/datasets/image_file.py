"""Image files: their size and orientation, whether they are whole, and how they are decoded."""

import os
import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

JPEG_FORMATS = ('JPEG', 'MPO')
# OpenCV decodes these; whatever else Pillow reads is left to it.
OPENCV_FORMATS = (*JPEG_FORMATS, 'PNG', 'BMP', 'WEBP')
HEIC_BRANDS = (b'heic', b'heix', b'hevc', b'heim', b'heis', b'mif1', b'msf1')  # behind `ftyp`
SIXTEEN_BIT = 'I;16'  # how the modes of Pillow with 16 bits a pixel begin
UNSCALED = ('I', 'F')  # modes whose black and white nobody knows
JPEG_END, JPEG_SCAN = b'\xff\xd9', b'\xff\xda'  # within a scan, 255 is followed by 0 or a restart
UNREAD_FOLDER = 'a folder that may not be read, change its permissions'
ORIENTATION_TAG, UPRIGHT = 274, 1  # of EXIF; 5 to 8 exchange height and width
REDUCED_FLAGS = {  # factor by which a JPEG is decoded smaller
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
COLOUR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

try:  # optional: photographs of phones
    from pillow_heif import register_heif_opener
except ModuleNotFoundError:
    pass
else:
    register_heif_opener()

# Large is no reason to refuse an image; far beyond, at 179 million pixels, Pillow does.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)


class ImageFileError(ValueError):
    """An image file that cannot be used.

    Args:
        message: Names the file, the reason and the fix.
        reason: The reason alone.
    """

    def __init__(self, message: str, reason: str = '') -> None:
        super().__init__(message)
        self.reason = reason


class ImageHeader(NamedTuple):
    """What the header of an image file says.

    Attributes:
        format: As Pillow names it.
        height: Height of the stored pixels.
        width: Width of the stored pixels.
        orientation: By which viewers turn them, 1 to 8 (EXIF).
    """

    format: str
    height: int
    width: int
    orientation: int

    def turned(self) -> 'ImageHeader':
        """Header of the image as people see it."""
        if self.orientation < 5:
            return self._replace(orientation=UPRIGHT)
        return ImageHeader(self.format, self.width, self.height, UPRIGHT)


def read_image_size(path: str | Path, stored_pixels: bool = False) -> tuple[int, int]:
    """Height and width of a whole image file, from its header, as people see it.

    See `read_header` for what is refused.

    Args:
        path: Path of the file.
        stored_pixels: Return the size of the stored pixels, whatever the EXIF orientation says.
    """
    header = read_header(path)
    header = header if stored_pixels else header.turned()
    return header.height, header.width


def read_image(path: str | Path, stored_pixels: bool = False) -> np.ndarray:
    """A whole image as people see it, BGR uint8 (H, W, 3).

    Args:
        path: Path of the file; see `read_header` and `decode_image` for what is refused.
        stored_pixels: As stored instead, whatever the EXIF orientation says.
    """
    header = read_header(path)
    image = decode_image(path, header.format)
    return image if stored_pixels else turn_upright(image, header.orientation)


def turn_upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels as people see them.

    Args:
        image: Stored pixels. Shape (H, W, 3).
        orientation: EXIF, 1 to 8.

    Returns:
        Shape (H, W, 3), or (W, H, 3) for 5 to 8.

    Source: Exif 2.3, tag 274.
    """
    if orientation >= 5:
        image = cv2.transpose(image)
    flips = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # OpenCV: 1 left and right, 0 up and down
    return cv2.flip(image, flips[orientation]) if orientation in flips else image


def read_header(path: str | Path) -> ImageHeader:
    """Header of a whole image file.

    A JPEG without its end marker is refused: OpenCV would fill up what is missing with grey. So is
    a PNG with a chunk beyond its end: OpenCV would take memory, up to 4 GB, for all of the chunk.
    Other formats do not decode when they are cut off. Cost: docs/reliability.md.

    Raises:
        ImageFileError: If it is empty, truncated, no image, or has a name that is not UTF-8.
        OSError: If it cannot be opened or read; it names the file.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # OpenCV crashes on these
        raise _refusal(path, 'its name is not UTF-8') from error
    with open(path, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise _refusal(path, 'empty, it has 0 bytes')
        try:
            with Image.open(file) as image:
                header = ImageHeader(image.format, image.height, image.width, _orientation(image))
        except UnidentifiedImageError as error:
            reason = 'not a readable image, its format is unknown'
            file.seek(4)
            if file.read(4) == b'ftyp' and file.read(4) in HEIC_BRANDS:
                reason = "HEIC, which pillow-heif reads: pip install -e '.[heic]'"
            raise _refusal(path, reason) from error
        except MemoryError:
            raise
        except Exception as error:  # damaged headers make the parser stumble over anything
            if getattr(error, 'errno', None) is not None:
                raise  # of the disk, not of the image
            raise _refusal(path, f'not a readable image ({error})') from error
        is_cut = (header.format in JPEG_FORMATS and not _has_jpeg_end(file)) or (
            header.format == 'PNG' and _has_chunk_beyond_end(file, size)
        )
        if is_cut:
            raise _refusal(path, f'truncated after {size:,} bytes')
    return header


def decode_image(path: str | Path, kind: str, flags: int = COLOUR) -> np.ndarray:
    """Stored pixels; the first picture of an animation or of several pages.

    Args:
        path: Path of a file that `read_header` has accepted.
        kind: Its format, from the header.
        flags: OpenCV's, with IMREAD_IGNORE_ORIENTATION or IMREAD_UNCHANGED, for the formats that
            OpenCV decodes. The others always become 8-bit colours.

    Returns:
        uint8 BGR (H, W, 3) unless `flags` ask for something else. Of 16 bits the upper 8 are taken.

    Raises:
        ImageFileError: If it cannot be decoded.
    """
    if kind not in OPENCV_FORMATS:
        return _decode_by_pillow(path)
    try:
        image = cv2.imread(str(path), flags)
    except cv2.error as error:
        raise _refusal(path, f'cannot be decoded ({error.err})') from error
    if image is None:
        raise _refusal(path, 'cannot be decoded')
    return image


def _decode_by_pillow(path: str | Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            mode = image.mode
            if mode.startswith(SIXTEEN_BIT):
                grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
                return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
            if mode not in UNSCALED:
                return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make the decoders stumble over anything
        raise _refusal(path, f'cannot be decoded ({error})') from error
    raise _refusal(path, f'pixels of mode {mode}, whose range is unknown: save it with 8 bits')


def find_image_problem(path: str | Path) -> str | None:
    """Why an image cannot be used, or None, at the least cost.

    A JPEG is judged by its header and its end; only other formats are decoded. Not found: wrong
    bytes within the file that the format does not notice. A path that ends with a '/' is a folder
    that could not be looked into, see `walk_images`.
    """
    if str(path).endswith('/'):
        return UNREAD_FOLDER
    try:
        kind = read_header(path).format
        if kind not in JPEG_FORMATS:
            decode_image(path, kind)
    except ImageFileError as error:
        return error.reason
    except OSError as error:
        return f'cannot be read ({error.strerror})'
    return None


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; 1 where there is none that viewers would follow."""
    content = image.info.get('exif')
    if not content:
        return UPRIGHT
    tags = Image.Exif()
    try:
        tags.load(content)
        found = tags.get(ORIENTATION_TAG, UPRIGHT)
    except MemoryError:
        raise
    except Exception:  # malformed blocks, as some of ImageNet's, turn no image
        return UPRIGHT
    return found if found in range(1, 9) else UPRIGHT


def _has_jpeg_end(file) -> bool:
    """Whether a JPEG ends with its end marker, or has one after its last scan."""
    file.seek(-len(JPEG_END), os.SEEK_END)
    if file.read() == JPEG_END:
        return True
    file.seek(0)  # some programs append bytes of their own
    content = file.read()
    return content.rfind(JPEG_END) > content.rfind(JPEG_SCAN)


def _has_chunk_beyond_end(file, size: int) -> bool:
    place = 8  # behind the signature; a chunk is its length, its kind, its data and a checksum
    while place + 8 <= size:
        # without a buffer: half the time, and a large PNG has a thousand chunks
        length, kind = struct.unpack('>I4s', os.pread(file.fileno(), 8, place))
        if kind == b'IEND':
            return False
        place += length + 12
    return place > size


def _refusal(path: str | Path, reason: str) -> ImageFileError:
    shown = str(path).encode('utf-8', 'backslashreplace').decode()
    return ImageFileError(f'{shown}: {reason}. Delete or replace it.', reason)

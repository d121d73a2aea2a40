"""Dense CRF on the probabilities of an image, by pydensecrf2, an optional package."""

import numpy as np

COMPATIBILITY = dict(position=3, colour=10)
POSITION_SPREAD = 3  # pixels, of the kernel without colour
COLOUR_SPREADS = dict(sxy=32, srgb=13)  # pixels and levels of 255, of the kernel with colour


def require_pydensecrf() -> None:
    """Refuse to begin without the package.

    Raises:
        ModuleNotFoundError: Naming what to install.
    """
    try:
        import pydensecrf.densecrf  # noqa: F401
    except ImportError as error:
        raise ModuleNotFoundError(
            "dense_crf=True needs pydensecrf2: pip install -e '.[crf]' (it compiles C++)"
        ) from error


def dense_crf(probabilities: np.ndarray, image: np.ndarray, iterations: int = 1) -> np.ndarray:
    """Move the borders of classes to edges of colour.

    Args:
        probabilities: Summing to 1 over the classes. float32 (K, H, W).
        image: RGB uint8 (H, W, 3).
        iterations: Of the mean field approximation.

    Returns:
        Probabilities, float32 (K, H, W).

    Source: Kraehenbuehl and Koltun 2011; kernels and one iteration as in Learning Pseudo Labels.
    """
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    num_classes, height, width = probabilities.shape
    field = DenseCRF2D(width, height, num_classes)
    field.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(probabilities)))
    field.addPairwiseGaussian(sxy=POSITION_SPREAD, compat=COMPATIBILITY['position'])
    field.addPairwiseBilateral(
        rgbim=np.ascontiguousarray(image), compat=COMPATIBILITY['colour'], **COLOUR_SPREADS
    )
    return np.array(field.inference(iterations), np.float32).reshape(probabilities.shape)

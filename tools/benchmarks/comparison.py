"""What every benchmark writes under `comparisons`, and `run.py` makes a table of.

    {"comparisons": {"k-means, K = 50": {"ours": 1.13, "unit": "s",
                                         "alternative": 1.71, "against": "scikit-learn",
                                         "ratio": 1.51}}}

The ratio is how many times better ours is, so above 1 is faster or smaller. Without an alternative,
`alternative`, `against` and `ratio` are null.
"""


def rate(
    ours: float, alternative: float | None, unit: str, against: str | None = None
) -> dict[str, float | str | None]:
    """A comparison where more is better.

    Args:
        ours: Our figure.
        alternative: That of the alternative, or None.
        unit: Of both.
        against: What the alternative is.
    """
    ratio = ours / alternative if alternative else None
    return _comparison(ours, alternative, unit, against, ratio)


def cost(
    ours: float, alternative: float | None, unit: str, against: str | None = None
) -> dict[str, float | str | None]:
    """A comparison where less is better; see `rate`."""
    ratio = alternative / ours if alternative and ours else None
    return _comparison(ours, alternative, unit, against, ratio)


def _comparison(
    ours: float, alternative: float | None, unit: str, against: str | None, ratio: float | None
) -> dict[str, float | str | None]:
    return dict(
        ours=three_digits(ours),
        alternative=three_digits(alternative),
        ratio=three_digits(ratio),
        unit=unit,
        against=against,
    )


def three_digits(value: float | None) -> float | None:
    """Rounded; what is above 1,000 loses its fraction only."""
    if value is None:
        return None
    return float(f'{value:.3g}') if abs(value) < 1000 else float(round(value))

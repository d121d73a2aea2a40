"""The mathematics of luss_mm: pure functions of tensors and arrays."""

"""Names in a work directory."""

FINAL_CHECKPOINT = 'final.pth'

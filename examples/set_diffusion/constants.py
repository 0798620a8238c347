"""The constants of today's training script. SAMPLE_SIZE was 6 when the run in question was trained."""

PATCH_SIZE = 2
CHANNELS = 3
SAMPLE_SIZE = 5
IMAGE_SIZE = 8
WIDTH = 32
DEPTH = 2
HEADS = 4
LEARNING_RATE = 3e-3
